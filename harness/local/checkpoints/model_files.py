"""The files of a model's folder, checked for completeness before an engine reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import CheckpointError

#: The weight files of the transformers layout, in order of preference, and their indexes.
SINGLE = ("model.safetensors", "pytorch_model.bin")
INDEXES = tuple(f"{name}.index.json" for name in SINGLE)
CONVERTED = "model.bin"
# The limit of the safetensors format; headers of real files are far shorter.
_LONGEST_HEADER = 100_000_000


def is_converted(folder: Path) -> bool:
    """Whether a folder is a CTranslate2 model."""
    return (folder / CONVERTED).is_file()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model's folder, empty where there is no such file.

    Raises:
        CheckpointError: it is not a JSON object, or cannot be read.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path}: not the JSON object it should be. The copy is damaged: fetch it again."
        )
    return content


def weight_files(folder: Path, *, converted: bool) -> tuple[Path, ...]:
    """The weight files of a folder, in order of their names.

    Raises:
        CheckpointError: there are none, or one that the index names is missing.
    """
    if converted:
        return (folder / CONVERTED,)
    for single, index in zip(SINGLE, INDEXES, strict=True):
        if (folder / index).is_file():
            names = shards(read_json(folder / index), folder / index)
            missing = [name for name in names if not (folder / name).is_file()]
            if missing:
                raise CheckpointError(
                    f"{folder}: {len(missing)} of {len(names)} weight files are missing (first: "
                    f"{missing[0]}), which {index} names. Copy or download them again."
                )
            return tuple(folder / name for name in names)
        if (folder / single).is_file():
            return (folder / single,)
    raise CheckpointError(
        f"{folder}: there are no weights. Looked for: {', '.join((*SINGLE, *INDEXES))}, and "
        f"{CONVERTED} of a converted model."
    )


def shards(index: Mapping[str, Any], path: Path) -> list[str]:
    """The names of the files that an index at ``path`` lists, sorted.

    Raises:
        CheckpointError: it is no index, or a name leads out of its folder.
    """
    listed = index.get("weight_map")
    names = sorted(set(map(str, listed.values()))) if isinstance(listed, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise CheckpointError(f"{path}: not an index of weight files. Fetch it again.")
    return names


def check_weights(path: Path) -> None:
    """Check that a safetensors file has the length that its header gives.

    Layout: https://github.com/huggingface/safetensors#format (eight bytes of length, a JSON
    header with the offsets of each tensor, the data). Other files must not be empty.

    Raises:
        CheckpointError: it is cut off, is no safetensors file, or cannot be read.
    """
    try:
        size = path.stat().st_size
        expected = _expected_length(path) if path.suffix == ".safetensors" else max(size, 1)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}).") from None
    if expected is None:
        raise CheckpointError(
            f"{path}: not a safetensors file, or its header is cut off. Copy or download it again."
        )
    if size != expected:
        raise CheckpointError(
            f"{path}: {size:,} bytes, but its header announces {expected:,}: the file is "
            f"{'cut off' if size < expected else 'damaged'}. Copy or download it again."
        )


def _expected_length(path: Path) -> int | None:
    """The length of a safetensors file by its own header, ``None`` where that cannot be read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _LONGEST_HEADER:
            return None
        try:
            header = json.loads(file.read(length))
            ends = [
                int(tensor["data_offsets"][1])
                for name, tensor in header.items()
                if name != "__metadata__"
            ]
        except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError):
            return None
    return 8 + length + max(ends, default=0)


def stored_type(checkpoint_files: tuple[Path, ...]) -> str | None:
    """The type of the most bytes in safetensors files: ``F32``, ``F16``, ``BF16``, …

    ``None`` for other kinds of files.
    """
    bytes_by_type: dict[str, int] = {}
    for path in checkpoint_files:
        if path.suffix != ".safetensors":
            return None
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                first, last = tensor["data_offsets"]
                stored = tensor["dtype"]
                bytes_by_type[stored] = bytes_by_type.get(stored, 0) + last - first
    return max(bytes_by_type, key=bytes_by_type.__getitem__, default=None)
