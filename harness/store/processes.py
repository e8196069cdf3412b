"""Whether other processes that use the store are still there."""

from __future__ import annotations

import os
import socket
import sqlite3
import time

# A holder of claims that has not been heard of for so long is gone, or sleeps as soundly as if it
# were.
_SILENCE_S = 60.0


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


def bury(db: sqlite3.Connection) -> None:
    """Forget the claims of holders that are gone."""
    for name, host, pid, seen in db.execute("SELECT * FROM holders").fetchall():
        # A clock that was set back makes the last sign of life one of the future.
        if abs(time.time() - seen) > _SILENCE_S or has_ended(host, pid):
            db.execute("DELETE FROM claims WHERE holder = ?", (name,))
            db.execute("DELETE FROM holders WHERE name = ?", (name,))
