"""The devices of this machine and the types to compute in, without importing an engine."""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from harness.errors import CheckpointError

#: What CTranslate2 can compute in; ``auto`` is exact.
ComputeType = Literal[
    "auto",
    "float32",
    "float16",
    "bfloat16",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
]
#: What a ``device`` key may say.
DEVICE_PATTERN = r"^(auto|cpu|cuda|cuda:\d+)$"
_SMALL = 10_000_000
_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
# Of CUDA's driver interface: CUdevice_attribute.
_MAJOR, _MINOR = 75, 76


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: its memory in bytes, and its compute capability (8, 0 is Ampere)."""

    memory: int
    capability: tuple[int, int]


def pick_device(device: str) -> str:
    """``cpu`` or ``cuda`` (or ``cuda:N``, as written) for ``auto``, ``cpu``, ``cuda``, ``cuda:N``.

    Raises:
        CheckpointError: another word, or a GPU that is not there.
    """
    if not re.fullmatch(DEVICE_PATTERN, device):
        raise CheckpointError(
            f"device = '{device}' is not known. Choices: auto, cpu, cuda, cuda:N."
        )
    if device == "auto":
        return "cuda" if gpus() else "cpu"
    if device != "cpu" and _index(device) >= len(gpus()):
        raise CheckpointError(
            f'device = "{device}": the driver of this machine shows {len(gpus()) or "no"} GPU'
            f'{"s" * (len(gpus()) > 1)}. Choices: "auto", "cpu"'
            + "".join(f', "cuda:{i}"' for i in range(len(gpus())))
        )
    return device


def exact_type(device: str) -> str:
    """The type that is exact enough by default on a device (``cpu``, ``cuda[:N]``).

    float32 on a CPU; on a GPU bfloat16, as the models were trained, and float16 before Ampere,
    which has no bfloat16.
    """
    if device == "cpu":
        return "float32"
    return "bfloat16" if gpu_of(device).capability >= (8, 0) else "float16"


def gpu_of(device: str) -> Gpu:
    """The GPU that ``cuda`` or ``cuda:N`` names."""
    return gpus()[_index(device)]


def _index(device: str) -> int:
    """The number of the GPU that ``cuda`` or ``cuda:N`` names; ``cuda`` is the first."""
    return int(device.partition(":")[2] or 0)


def threads(weights: int) -> int:
    """The number of threads for CTranslate2 to run a model of ``weights`` weights with.

    It is one a core that this process may use, because CTranslate2's default is four on any
    machine. A small model gets one thread: more would mostly wait for each other, for long on a
    busy machine. With ``OMP_NUM_THREADS`` set it is 0, which leaves the number to CTranslate2,
    and that reads the variable.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return 0
    if weights < _SMALL:
        return 1
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 0


@cache
def gpus() -> tuple[Gpu, ...]:
    """The GPUs that the CUDA driver shows, none where there is no driver.

    ``CUDA_VISIBLE_DEVICES`` applies, as it does to every engine. Interface:
    https://docs.nvidia.com/cuda/cuda-driver-api
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return ()
    driver = _driver()
    if driver is None or driver.cuInit(0) != 0:
        return ()
    count = ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    return tuple(_gpu(driver, index) for index in range(count.value))


def _driver() -> ctypes.CDLL | None:
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    device, memory, value = ctypes.c_int(), ctypes.c_size_t(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    capability = []
    for attribute in (_MAJOR, _MINOR):
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        capability.append(value.value)
    return Gpu(memory.value, (capability[0], capability[1]))
