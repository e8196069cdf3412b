"""The settings of malloc for engines that free and allocate memory at every decoding step."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Of glibc's malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX.
_PARAMETERS = ((-1, 2**31 - 1), (-3, 2**31 - 1), (-8, 1))


def keep_memory() -> None:
    """Have malloc keep freed memory for the next decoding step.

    By default each large tensor takes new zeroed pages from the kernel. That is up to half of the
    time where the KV cache is copied at each step, and a tenth where it is not. malloc is also
    limited to one arena, because the arena of a worker thread could not hold large blocks. Call
    this before the engine's thread starts.
    """
    with suppress(OSError, AttributeError, TypeError):  # not glibc
        libc = ctypes.CDLL(None)
        for parameter, value in _PARAMETERS:
            libc.mallopt(parameter, value)
