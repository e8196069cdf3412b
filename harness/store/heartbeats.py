"""Which processes ask for something at this moment, and whether they are still there."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from pathlib import Path

# A process that has not been heard of for so long is gone, or sleeps as soundly as if it were.
_SILENCE_S = 60.0


def process_space() -> str:
    """What a process id means something in: host, the boot since which, and the id's namespace."""
    boot = namespace = ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        pass  # not on Linux
    return f"{socket.gethostname()}/{boot}/{namespace}"


def has_ended(place: str, pid: int) -> bool:
    """Whether the process of this id, and of this :func:`process_space`, is certainly gone."""
    own = process_space()
    host, boot, _ = place.rsplit("/", 2) if place.count("/") >= 2 else (place, "", "")
    if host == socket.gethostname() and boot and boot != own.rsplit("/", 2)[1]:
        return True
    if place != own or os.name == "nt":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it is somebody else's
    return False


class HeartbeatMonitor:
    """An eye on the holders of claims, by this process's own clock."""

    def __init__(self) -> None:
        # The last beat of each, and when it was first seen.
        self._beats: dict[str, tuple[int, float]] = {}

    def is_expired(self, name: str, place: str, pid: int, beats: int) -> bool:
        """Whether a holder is gone: it has ended, or this watch has seen no beat for a minute."""
        now = time.monotonic()
        last, since = self._beats.get(name, (None, now))
        if last != beats:
            self._beats[name] = (beats, now)
            since = now
        return now - since > _SILENCE_S or has_ended(place, pid)

    def drop_expired(self, db: sqlite3.Connection) -> None:
        """Forget the claims of holders that are gone."""
        for holder in db.execute("SELECT name, place, pid, beats FROM holders").fetchall():
            if self.is_expired(*holder):
                db.execute("DELETE FROM claims WHERE holder = ?", holder[:1])
                db.execute("DELETE FROM holders WHERE name = ?", holder[:1])
