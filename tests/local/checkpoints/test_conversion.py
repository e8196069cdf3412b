from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import CheckpointError
from harness.local.checkpoints import converted_folder, find_checkpoint
from harness.local.checkpoints.conversion import stored_type
from tests.helpers import tiny_models


def test_a_model_is_converted_once_without_loss(llama: Path, own_cache: Path) -> None:
    from safetensors.numpy import load_file

    folder = converted_folder(find_checkpoint(str(llama)), kind="causal")
    assert folder.parent == own_cache / "converted"
    written = (folder / "model.bin").read_bytes()
    shards = sorted(llama.glob("*.safetensors"))
    tensors = {name: t for shard in shards for name, t in load_file(shard).items()}
    assert {t.dtype.name for t in tensors.values()} == {"float32"}
    # Every projection is there bit by bit.
    assert all(
        tensors[f"model.layers.{n}.mlp.{part}_proj.weight"].tobytes() in written
        for n in range(2)
        for part in ("gate", "up", "down")
    )
    before = (folder / "model.bin").stat().st_mtime_ns
    assert converted_folder(find_checkpoint(str(llama)), kind="causal") == folder
    assert (folder / "model.bin").stat().st_mtime_ns == before
    assert [f.name for f in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_type_of_the_weights_is_kept(tmp_path: Path, dtype: str) -> None:
    pytest.importorskip("torch")
    full = tiny_models.llama(tmp_path / "full")
    half = find_checkpoint(str(tiny_models.llama(tmp_path / "half", dtype=dtype)))
    assert stored_type(half) == dtype
    sizes = [
        (converted_folder(c, kind="causal") / "model.bin").stat().st_size
        for c in (find_checkpoint(str(full)), half)
    ]
    assert sizes[1] < 0.6 * sizes[0]


def test_a_converted_folder_is_used_as_it_is(llama: Path, tmp_path: Path) -> None:
    made = converted_folder(find_checkpoint(str(llama)), kind="causal")
    checkpoint = find_checkpoint(str(made))
    assert checkpoint.converted
    assert converted_folder(checkpoint, kind="causal") == made
    inner = llama / "ctranslate2"
    made.rename(inner)
    assert converted_folder(find_checkpoint(str(llama)), kind="causal") == inner.resolve()


def test_a_translation_model_keeps_its_codes_also_without_tokenizer_json(
    nllb: Path, tmp_path: Path
) -> None:
    pieces_only = tiny_models.nllb(tmp_path / "pieces-only", tokenizer="model")
    vocabularies = [
        (converted_folder(find_checkpoint(str(f)), kind="seq2seq") / "shared_vocabulary.json")
        for f in (nllb, pieces_only)
    ]
    assert vocabularies[0] != vocabularies[1]
    assert vocabularies[0].read_text() == vocabularies[1].read_text()


def test_a_model_of_the_other_kind_is_refused(llama: Path, nllb: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not a converted model that writes text"):
        converted_folder(find_checkpoint(str(nllb)), kind="causal")
    with pytest.raises(CheckpointError, match=r"not a converted model that translates"):
        converted_folder(find_checkpoint(str(llama)), kind="seq2seq")


def test_an_architecture_that_cannot_be_converted(llama: Path, own_cache: Path) -> None:
    config = llama / "config.json"
    config.write_text(config.read_text().replace('"llama"', '"cohere"'))
    with pytest.raises(CheckpointError, match="cannot be converted") as error:
        converted_folder(find_checkpoint(str(llama)), kind="causal")
    assert 'backend = "transformers"' in str(error.value)
    assert list((own_cache / "converted").iterdir()) == []


_CONVERT = """
import sys
from harness.local.checkpoints import converted_folder, find_checkpoint
from harness.errors import CheckpointError
{before}
try:
    print(converted_folder(find_checkpoint({folder!r}), kind="causal"))
except CheckpointError as error:
    print(error)
"""


def _convert(folder: Path, before: str) -> str:
    code = _CONVERT.format(before=before, folder=str(folder))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_behind(llama: Path, own_cache: Path) -> None:
    # A file that may not grow fails in the middle, as a disk does that fills up.
    limit = 50_000
    said = _convert(
        llama,
        "import resource, signal, torch, transformers\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))",
    )
    assert "cannot be written" in said
    assert "Nothing was kept" in said
    assert "HARNESS_CACHE" in said
    assert list((own_cache / "converted").iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != limit


def test_too_little_room_is_said_before_anything_is_written(llama: Path, own_cache: Path) -> None:
    said = _convert(
        llama,
        "import shutil, collections\n"
        "usage = collections.namedtuple('usage', 'total used free')\n"
        "shutil.disk_usage = lambda path: usage(1, 1, 0)",
    )
    assert "and 0.0 GiB are free" in said
    assert list((own_cache / "converted").iterdir()) == []


def test_a_cache_that_is_no_folder(llama: Path, own_cache: Path) -> None:
    own_cache.parent.mkdir(exist_ok=True)
    own_cache.touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        converted_folder(find_checkpoint(str(llama)), kind="causal")


def test_converting_without_torch_says_what_to_install(llama: Path) -> None:
    said = _convert(
        llama,
        "sys.modules.update(torch=None, transformers=None)",
    )
    assert "takes torch and transformers" in said
    assert "pip install" in said


def test_a_converted_form_in_the_folder_is_part_of_what_answers_are_stored_under(
    llama: Path, tmp_path: Path
) -> None:
    alone = find_checkpoint(str(llama))
    made = converted_folder(alone, kind="causal")
    both = Path(shutil.copytree(llama, tmp_path / "both"))
    shutil.copytree(made, both / "ctranslate2")
    other = find_checkpoint(str(tiny_models.llama(tmp_path / "other", seed=7)))
    stale = Path(shutil.copytree(llama, tmp_path / "stale"))
    shutil.copytree(converted_folder(other, kind="causal"), stale / "ctranslate2")
    folders = (str(llama), str(both), str(stale))
    assert len({find_checkpoint(name).sha256 for name in folders}) == 3
