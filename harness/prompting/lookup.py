"""The files of schemas, templates and chat wrappers, by name or path.

A name is looked up in ``./prompts`` first, then in the files of the package. A name with a folder
or a suffix is the path of a user's own file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness import disk
from harness.errors import PromptError, UnknownNameError, unknown_name_message


def locate(kind: str, folder: str, suffix: str, name: str | Path) -> Path:
    """The path of the file that ``name`` means; ``kind`` is the word for it in messages.

    Raises:
        UnknownNameError: the name is neither in ``./prompts`` nor in the package.
    """
    if isinstance(name, Path) or name.endswith(suffix) or "/" in name or "\\" in name:
        return Path(name)
    path = disk.find("prompts", f"{folder}/{name}{suffix}")
    if path is None:
        message = unknown_name_message(kind, name, prompt_files(folder, suffix))
        raise UnknownNameError(f"{message} A file of your own is given by its path (…{suffix}).")
    return path


def prompt_files(folder: str, suffix: str) -> dict[str, Path]:
    """The files of a folder by name, sorted; a user's file hides a shipped file."""
    files = {
        path.stem: path
        for root in reversed(disk.roots("prompts"))
        for path in (root / folder).glob(f"*{suffix}")
    }
    return dict(sorted(files.items()))


def origin(path: Path) -> str:
    """``shipped`` for a file of the package, ``own`` for any other."""
    package_folder = disk.shipped("prompts").resolve()
    return "shipped" if path.resolve().is_relative_to(package_folder) else "own"


def read(path: Path, error: type[PromptError]) -> str:
    """The text of a file with ``\\n`` line ends; raises ``error`` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise error(f"{path}: no such file. Check the path.") from None
    except UnicodeDecodeError as problem:
        raise error(f"{path}: not UTF-8 text ({problem.reason}). Save it as UTF-8.") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}).") from None


def digest(text: str) -> str:
    """The SHA-256 of a text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
