"""Whether other processes that use the store are still there."""

from __future__ import annotations

import os
import socket


def has_ended(host: str, pid: int) -> bool:
    """Whether a process is certainly gone; of another machine's nobody knows."""
    if host != socket.gethostname() or os.name == "nt":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it is somebody else's
    return False
