"""How this process treats the memory that an engine frees and takes again at every step."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Of glibc's malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX.
_PARAMETERS = ((-1, 2**31 - 1), (-3, 2**31 - 1), (-8, 1))


def keep_memory() -> None:
    """Have malloc keep freed memory for the next step rather than give it back each time.

    Otherwise each large tensor is new pages from the kernel, zeroed: up to half of the time where
    keys and values are copied at each step, a tenth where they are not. One arena, since an
    engine works on a thread, whose own arena could not hold large blocks; so this has to be
    called before that thread exists.
    """
    with suppress(OSError, AttributeError, TypeError):  # not glibc
        libc = ctypes.CDLL(None)
        for parameter, value in _PARAMETERS:
            libc.mallopt(parameter, value)
