"""Converting a checkpoint to CTranslate2, once, without loss."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from harness.disk import cache_folder, replacing
from harness.errors import CheckpointError
from harness.local.checkpoints import memory, model_files
from harness.local.checkpoints.checkpoint import Checkpoint
from harness.local.checkpoints.tokenizer import raw_tokenizer

Kind = Literal["causal", "seq2seq"]
_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
#: The vocabulary file of a converted model, by its kind.
_VOCABULARY = {"causal": "vocabulary", "seq2seq": "shared_vocabulary"}
_INSTALL = 'pip install "transfusion-harness[torch]"'


def converted_folder(checkpoint: Checkpoint, *, kind: Kind) -> Path:
    """The CTranslate2 form of a checkpoint, in the type its weights are stored in.

    It is the folder itself if that is converted, else its sub-folder ``ctranslate2`` if there is
    one, else a folder of the user's cache, which the first call fills. The engine chooses the
    type that it computes in when it loads the model.

    Raises:
        CheckpointError: torch or transformers is not installed, CTranslate2 cannot convert this
            architecture, or there is no room. Nothing half-written stays.
    """
    folder = _converted_path(checkpoint)
    if not model_files.is_converted(folder):
        require_converter(checkpoint)
        _convert(checkpoint, kind, folder)
    return _of_kind(folder, kind)


def require_converter(checkpoint: Checkpoint) -> None:
    """Check that a checkpoint is converted, or can be.

    Raises:
        CheckpointError: it is not, and torch or transformers is not installed.
    """
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing and not model_files.is_converted(_converted_path(checkpoint)):
        raise CheckpointError(
            f"Model '{checkpoint.name}' has to be converted to CTranslate2 once, which takes "
            f"{' and '.join(missing)}. Install what is missing ({_INSTALL}), or convert it on "
            f"another machine and give the converted folder as `model`."
        )


def peak_bytes(checkpoint: Checkpoint, compute_type: str) -> float:
    """The most bytes a weight takes while CTranslate2 loads a model for a compute type.

    The weights are read in their stored type and converted one after the other. Measured with
    135 million weights: float32 to int8 took 4.0 bytes a weight, float16 to int8 2.1, float16 to
    float32 4.0.
    """
    return max(_BYTES.get(compute_type, 1), _BYTES[stored_type(checkpoint)])


def _converted_path(checkpoint: Checkpoint) -> Path:
    """Where the converted form of a checkpoint is, or will be."""
    for folder in (checkpoint.folder, checkpoint.folder / "ctranslate2"):
        if model_files.is_converted(folder):
            return folder
    hashes = f"{checkpoint.sha256[:16]}-{checkpoint.tokenizer_sha256[:8]}"
    return cache_folder().parent / "converted" / f"{hashes}-{stored_type(checkpoint)}"


def stored_type(checkpoint: Checkpoint) -> str:
    """The type that a checkpoint's weights are stored in: float32, float16 or bfloat16."""
    stored = model_files.stored_type(checkpoint.weights)
    if stored in _TYPES:
        return _TYPES[stored]
    named = str(checkpoint.config.get("dtype") or checkpoint.config.get("torch_dtype"))
    return named if named in _BYTES else "float16" if checkpoint.converted else "float32"


def _of_kind(folder: Path, kind: Kind) -> Path:
    """The folder, if its model is of that kind.

    Raises:
        CheckpointError: it is not.
    """
    if not any((folder / f"{_VOCABULARY[kind]}.{end}").is_file() for end in ("json", "txt")):
        what = "writes text" if kind == "causal" else "translates"
        raise CheckpointError(
            f"{folder}: not a converted model that {what}: it has no {_VOCABULARY[kind]}.json. "
            f"Models that write text belong into [[systems]], models that translate into "
            f"[translation]."
        )
    return folder


def _convert(checkpoint: Checkpoint, kind: Kind, folder: Path) -> None:
    stored = stored_type(checkpoint)
    memory.require_memory(
        checkpoint,
        2 * _BYTES[stored],  # the model and its converted form
        "cpu",
        advice="Convert it on a larger machine and give the converted folder as `model`.",
    )
    needed = checkpoint.weight_bytes
    with _filled(folder) as part:
        free = shutil.disk_usage(part).free
        if free < needed * 1.02:
            raise CheckpointError(
                f"{folder.parent}: converting model '{checkpoint.name}' needs "
                f"{needed / 2**30:.1f} GiB of disk, and {free / 2**30:.1f} GiB are free. Free some "
                f"space, or set HARNESS_CACHE to a file on a larger disk."
            )
        _run_converter(checkpoint, stored, part)
        _write_vocabulary(checkpoint, part / f"{_VOCABULARY[kind]}.json")


@contextmanager
def _filled(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``folder`` if the block succeeds.

    Raises:
        CheckpointError: it cannot be written; nothing stays.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder) as part:
            part.mkdir()
            yield part
    except OSError as error:
        # Another process may have converted the same checkpoint meanwhile.
        if not model_files.is_converted(folder):
            raise CheckpointError(
                f"{folder}: the converted model cannot be written ({error.strerror or error}). "
                f"Nothing was kept. Free some space, or set HARNESS_CACHE to a file in a folder "
                f"that can be written."
            ) from None


def _run_converter(checkpoint: Checkpoint, stored: str, part: Path) -> None:
    from ctranslate2.converters import TransformersConverter
    from transformers import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        # The weights are loaded in the type they are stored in, and written in the same.
        converter = TransformersConverter(str(checkpoint.folder), low_cpu_mem_usage=True)
        converter.convert(str(part), quantization=stored, force=True)
    except OSError:
        raise
    except Exception as error:  # a converter of some 60 architectures raises anything
        raise CheckpointError(
            f"Model '{checkpoint.name}' cannot be converted to CTranslate2: {error} Use "
            f'backend = "transformers", or a server such as vLLM with backend = "openai".'
        ) from None
    finally:
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _write_vocabulary(checkpoint: Checkpoint, path: Path) -> None:
    """Replace the tokens that the converter wrote by those of the tokenizer in use.

    They differ where the tokenizer was made from a sentencepiece model, which the converter
    ignores. Entries beyond the tokenizer's are padding.
    """
    if not path.is_file():  # a model of the other kind, which `_of_kind` refuses
        return
    tokenizer = raw_tokenizer(checkpoint)
    written = json.loads(path.read_bytes())
    tokens = [tokenizer.id_to_token(i) or token for i, token in enumerate(written)]
    path.write_text(json.dumps(tokens, ensure_ascii=False), "utf-8")
