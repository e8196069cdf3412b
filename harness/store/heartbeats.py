"""Heartbeats of the processes that hold leases, and how a lease expires."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from pathlib import Path

# A lease expires after this time without a heartbeat.
_SILENCE_S = 60.0


def process_space() -> str:
    """The scope of a process id, as ``host/boot id/pid namespace``."""
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
    """Decides which lease owners are gone, by the clock of this process.

    Clocks of two machines may differ, so no time is stored: an owner counts its heartbeats.
    """

    def __init__(self) -> None:
        # By owner: its last heartbeat, and when this process first saw that one.
        self._beats: dict[str, tuple[int, float]] = {}

    def is_expired(self, name: str, place: str, pid: int, beats: int) -> bool:
        """Whether an owner has ended, or sent no heartbeat for 60 seconds."""
        now = time.monotonic()
        last, since = self._beats.get(name, (None, now))
        if last != beats:
            self._beats[name] = (beats, now)
            since = now
        return now - since > _SILENCE_S or has_ended(place, pid)

    def drop_expired(self, db: sqlite3.Connection) -> None:
        """Delete expired owners and their claims."""
        for holder in db.execute("SELECT name, place, pid, beats FROM holders").fetchall():
            if self.is_expired(*holder):
                db.execute("DELETE FROM claims WHERE holder = ?", holder[:1])
                db.execute("DELETE FROM holders WHERE name = ?", holder[:1])
