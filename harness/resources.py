"""Where named files are found: the user's folder first, then the copy that ships."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(kind: str) -> Path:
    """The shipped folder of a kind (``prompts`` or ``runs``).

    In a wheel it lies inside the package; in a checkout it is the top-level folder itself.
    """
    packaged = _PACKAGE / "_shipped" / kind
    return packaged if packaged.is_dir() else _PACKAGE.parent / kind


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
