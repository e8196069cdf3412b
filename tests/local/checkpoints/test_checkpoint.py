from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.errors import CheckpointError
from harness.local.checkpoints import find_checkpoint, local_name


def test_a_folder_as_the_hub_lays_it_out(llama: Path) -> None:
    checkpoint = find_checkpoint(str(llama))
    assert checkpoint.folder == llama.resolve()
    assert checkpoint.name == str(llama)
    assert checkpoint.revision is None
    assert not checkpoint.converted
    assert checkpoint.context == 2048
    assert len(checkpoint.weights) > 1
    assert checkpoint.weight_bytes == sum(f.stat().st_size for f in llama.glob("*.safetensors"))


def test_two_copies_are_one_model_and_one_weight_makes_another(llama: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(llama, tmp_path / "elsewhere"))
    one, other = find_checkpoint(str(llama)), find_checkpoint(str(copy))
    assert one.sha256 == other.sha256
    assert one.tokenizer_sha256 == other.tokenizer_sha256
    shard = sorted(copy.glob("*.safetensors"))[1]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    changed = find_checkpoint(str(copy))
    assert changed.sha256 != one.sha256
    assert changed.tokenizer_sha256 == one.tokenizer_sha256


def test_configuration_and_tokenizer_belong_to_the_identity(llama: Path) -> None:
    before = find_checkpoint(str(llama))
    known = before.sha256, before.tokenizer_sha256
    config = json.loads((llama / "config.json").read_text())
    (llama / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    flags = json.loads((llama / "tokenizer_config.json").read_text())
    (llama / "tokenizer_config.json").write_text(json.dumps(flags | {"chat_template": "x"}))
    after = find_checkpoint(str(llama))
    assert after.sha256 != known[0]
    assert after.tokenizer_sha256 != known[1]


def test_a_large_file_is_hashed_once_and_again_when_it_changes(
    llama: Path, own_cache: Path
) -> None:
    for file in llama.glob("model*"):
        file.unlink()
    big = llama / "pytorch_model.bin"
    big.write_bytes(bytes(5 * 2**20))
    first = find_checkpoint(str(llama)).sha256
    remembered = json.loads((own_cache / "file-hashes.json").read_text())
    assert list(remembered) == [str(big.resolve())]
    # What is remembered is what is used.
    (own_cache / "file-hashes.json").write_text(
        json.dumps({path: [*state[:2], "0" * 64] for path, state in remembered.items()})
    )
    assert find_checkpoint(str(llama)).sha256 != first
    big.write_bytes(bytes(6 * 2**20))
    assert find_checkpoint(str(llama)).sha256 != first
    assert len(json.loads((own_cache / "file-hashes.json").read_text())) == 1


def test_a_damaged_memory_of_hashes_is_no_harm(llama: Path, own_cache: Path) -> None:
    for file in llama.glob("model*"):
        file.unlink()
    (llama / "pytorch_model.bin").write_bytes(bytes(5 * 2**20))
    first = find_checkpoint(str(llama)).sha256
    (own_cache / "file-hashes.json").write_text("[nonsense")
    assert find_checkpoint(str(llama)).sha256 == first


def _cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def _shard(folder: Path) -> Path:
    return sorted(folder.glob("*.safetensors"))[1]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: _cut(_shard(f), _shard(f).stat().st_size - 1), "the file is cut off"),
        (lambda f: _cut(_shard(f), 100), "its header is cut off"),
        (lambda f: _cut(_shard(f), 3), "its header is cut off"),
        (lambda f: _cut(_shard(f), 0), "its header is cut off"),
        (lambda f: _shard(f).write_bytes(b"<!doctype html>" * 99), "not a safetensors file"),
        (lambda f: _shard(f).write_bytes(_shard(f).read_bytes() + b"x"), "the file is damaged"),
        (lambda f: _shard(f).unlink(), "1 of 4 weight files are missing"),
        (lambda f: [s.unlink() for s in f.glob("model*")], "there are no weights"),
        (lambda f: (f / "config.json").unlink(), "it has no config.json"),
        (lambda f: (f / "config.json").write_text('{"a": '), "not the JSON object"),
        (lambda f: (f / "config.json").write_text("[]"), "not the JSON object"),
        (lambda f: (f / "model.safetensors.index.json").write_text("{}"), "not an index"),
        (
            lambda f: (f / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "../../etc/passwd"}}'
            ),
            "not an index",
        ),
    ],
)
def test_a_damaged_folder_is_one_clear_error(llama: Path, damage: object, said: str) -> None:
    damage(llama)  # type: ignore[operator]
    with pytest.raises(CheckpointError) as error:
        find_checkpoint(str(llama))
    assert said in str(error.value)
    assert str(llama) in str(error.value)
    assert "\n" not in str(error.value)


def test_names_that_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, said in (
        ("no such model", "there is no such folder"),
        (str(tmp_path / "nowhere"), "there is no such folder"),
        (str(tmp_path / "file"), "is a file"),
        (str(tmp_path), "it has no config.json"),
    ):
        with pytest.raises(CheckpointError, match=said):
            find_checkpoint(name)


def test_a_folder_has_no_revision(llama: Path) -> None:
    with pytest.raises(CheckpointError, match="Leave it out"):
        find_checkpoint(str(llama), "main")


def test_a_folder_of_an_experiment_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, here = tmp_path / "runs", tmp_path / "here"
    (base / "beside").mkdir(parents=True)
    (here / "mine").mkdir(parents=True)
    monkeypatch.chdir(here)
    assert local_name("beside", base) == str(base / "beside")
    assert local_name("mine", base) == str(here / "mine")
    assert local_name("owner/name", base) == "owner/name"
    # A shipped model is that one, also beside a folder of the same name.
    (here / "tiny-nllb").mkdir()
    assert local_name("tiny-nllb", base) == "tiny-nllb"
    assert local_name("./tiny-nllb", base) == str(here / "tiny-nllb")
