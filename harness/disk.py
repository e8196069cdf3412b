"""Files: whole or not at all, hashes, and the folders in which named files are found.

A name is looked up in the user's own folder first, then in the copy that ships.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The folder of the installed package.
PACKAGE = Path(__file__).resolve().parent


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new name beside ``path``, for a file or a folder that takes its place at the end.

    A reader never sees half of it. The new file is moved onto ``path`` when the block ends
    without an error, and removed when it does not. A folder replaces nothing but an empty folder.

    Raises:
        OSError: it cannot be written or moved.
    """
    part = path.with_name(f".part-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield part
        part.replace(path)
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def cache_folder() -> Path:
    """The folder of downloads: beside the answer store, wherever that is."""
    if store := os.environ.get("HARNESS_CACHE"):
        return Path(store).expanduser().parent / "datasets"
    import platformdirs

    return platformdirs.user_cache_path("harness") / "datasets"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shipped(kind: str) -> Path:
    """The shipped folder of a kind (``prompts`` or ``runs``).

    In a wheel it lies inside the package; in a checkout it is the top-level folder itself.
    """
    packaged = PACKAGE / "_shipped" / kind
    return packaged if packaged.is_dir() else PACKAGE.parent / kind


def roots(kind: str) -> tuple[Path, ...]:
    """The folders in which a name of this kind is looked up, in order."""
    own = Path.cwd() / kind
    ships = shipped(kind)
    return (own, ships) if own.is_dir() and own.resolve() != ships.resolve() else (ships,)


def find(kind: str, name: str) -> Path | None:
    """The first file called ``name`` (a relative path, with its suffix) under the roots."""
    for root in roots(kind):
        path = root / name
        # A name may not climb out of its folder; a path of one's own is given as a path.
        if path.is_file() and path.resolve().is_relative_to(root.resolve()):
            return path
    return None
