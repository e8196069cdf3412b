"""Whether a model fits the memory, checked before the kernel kills the process for it."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import CheckpointError
from harness.local.checkpoints import model_files
from harness.local.checkpoints.checkpoint import Checkpoint
from harness.local.checkpoints.devices import gpu_of

_GROUPS = Path("/sys/fs/cgroup")
_STORED_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1}
# What the engine and one small batch take beside the weights.
_ENGINE_BYTES = 300 * 2**20
_MARGIN = 1.1
# The part of a GPU's memory that driver and engine leave free.
_GPU_SHARE = 0.92


def require_memory(
    checkpoint: Checkpoint, bytes_per_weight: float, device: str, *, advice: str = ""
) -> None:
    """Check that a model's estimated memory is free.

    Args:
        bytes_per_weight: 4 for float32, 2 for float16 and bfloat16, 1 for int8, 0.5 for 4 bit.
        device: ``cpu`` or ``cuda[:N]``, as :func:`~harness.local.checkpoints.pick_device` gives it.
        advice: the choices that the user has, one or more sentences.

    Raises:
        CheckpointError: it does not fit; the message has both figures and ``advice``.
    """
    needed = estimate_bytes(checkpoint, bytes_per_weight)
    if device == "cpu":
        free, what = available(), "of memory are free"
    else:
        free, what = int(gpu_of(device).memory * _GPU_SHARE), f"of memory are on {device}"
    if free is not None and needed > free:
        raise CheckpointError(
            f"Model '{checkpoint.name}' needs about {_gigabytes(needed)} to be loaded, and "
            f"{_gigabytes(free)} {what}. {advice}".rstrip()
        )


def estimate_bytes(checkpoint: Checkpoint, bytes_per_weight: float) -> int:
    """The bytes that a loaded model takes: its weights in their type, and the engine."""
    return int(weights(checkpoint) * bytes_per_weight * _MARGIN) + _ENGINE_BYTES


def weights(checkpoint: Checkpoint) -> int:
    """The approximate number of weights of a checkpoint, by its size and stored type."""
    stored = model_files.stored_type(checkpoint.weights)
    named = str(checkpoint.config.get("dtype") or checkpoint.config.get("torch_dtype") or "")
    size = 4 if named == "float32" else 2
    return int(checkpoint.weight_bytes / (_STORED_BYTES.get(stored, size) if stored else size))


def available() -> int | None:
    """The bytes of memory that this process can still take, ``None`` where that is unknown.

    It is the kernel's figure of available memory, or what the control groups of this process
    leave if that is less.
    """
    free = _of_machine()
    limits = [left for left in (_of_group(folder) for folder in _groups()) if left is not None]
    known = [value for value in (free, *limits) if value is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:  # not Linux: the memory in all
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _groups() -> list[Path]:
    """The folders of the control groups that this process is in, innermost first."""
    folders: list[Path] = []
    for line in _lines_of_groups():
        _, controllers, name = line.split(":", 2)
        if controllers in ("", "memory"):
            root = _GROUPS / controllers
            inner = root / name.lstrip("/")
            # In a container the name may be the host's, and only the root is visible.
            folders += [inner, *inner.parents[: len(inner.parts) - len(root.parts)], root]
    return list(dict.fromkeys(folders))


def _lines_of_groups() -> list[str]:
    try:
        return Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []


def _of_group(folder: Path) -> int | None:
    """The bytes that one group leaves: its limit less the used memory that is no file cache."""
    names = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for limit, used in names:
        try:
            most = (folder / limit).read_text().strip()
            if not most.isdigit():  # "max"
                return None
            now = int((folder / used).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        cached = int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
        return int(most) - now + cached
    return None


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
