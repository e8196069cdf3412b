"""Where a pinned corpus file lies: a folder of one's own, or the cache, filled over HTTP.

``--data-dir`` (the argument ``data_dir``) is final: a file missing there is an error. In the folder
that ``HARNESS_DATA`` names, a missing file is fetched instead. Files in either folder are used as
they are; ``harness check datasets`` says which of them differ from the pinned ones. Downloads come
from the pinned commit, are held against the pinned SHA-256 before they are put into the cache, and
again whenever they are read from it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.disk import cache_folder, replacing, sha256_of
from harness.errors import ChecksumError, DataError, DownloadError

RAW_URL = "https://raw.githubusercontent.com"
_TIMEOUT_S = 20.0

# Called as progress(path in the repository, bytes so far, bytes in all).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of a public repository at one commit."""

    repository: str
    commit: str
    path: str
    sha256: str
    bytes: int

    def url(self) -> str:
        """Its address; ``HARNESS_DATA_URL`` stands for the public host where there is a mirror."""
        base = os.environ.get("HARNESS_DATA_URL") or RAW_URL
        return f"{base.rstrip('/')}/{self.repository}/{self.commit}/{self.path}"

    def cache_path(self) -> Path:
        """Where it lies in the cache once it was fetched."""
        return cache_folder().joinpath(self.repository, self.commit, self.path)


def local_folder(data_dir: Path | str | None) -> Path | None:
    """The folder of local corpora: ``data_dir``, else what ``HARNESS_DATA`` names, else none.

    Raises:
        DataError: it is named and is no folder.
    """
    name = data_dir or os.environ.get("HARNESS_DATA")
    if not name:
        return None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        what = "--data-dir" if data_dir else "HARNESS_DATA"
        raise DataError(
            f"{what}: {folder} is not a folder. Name the folder that holds the corpora, "
            f"or leave it out to download them."
        )
    return folder


def existing_copy(
    pinned: PinnedFile, relative: str, data_dir: Path | str | None
) -> tuple[Path, str] | None:
    """Where a file lies already, and in what: ``local`` folder or ``cache``."""
    folder = local_folder(data_dir)
    if folder is not None and (folder / relative).is_file():
        return folder / relative, "local"
    if data_dir is None and pinned.cache_path().is_file():
        return pinned.cache_path(), "cache"
    return None


def locate_or_fetch(
    pinned: PinnedFile,
    relative: str,
    data_dir: Path | str | None = None,
    progress: Progress | None = None,
) -> Path:
    """The file, fetched into the cache if it is nowhere yet.

    ``relative`` is its place in a folder of local corpora.

    Raises:
        DataError: it is not in the given ``data_dir``.
        ChecksumError: the cached or the fetched file is not the pinned one.
        DownloadError: it could not be fetched.
    """
    there = existing_copy(pinned, relative, data_dir)
    if there is None:
        if data_dir is not None:
            raise DataError(
                f"{Path(data_dir).expanduser() / relative}: no such file. Put it there, or "
                f"leave out --data-dir to download it from {pinned.url()}."
            )
        fetch(pinned, relative, progress)
        return pinned.cache_path()
    path, origin = there
    if origin == "cache" and sha256_of(path) != pinned.sha256:
        raise ChecksumError(
            f"{path}: the cached file is not the pinned one (SHA-256 {sha256_of(path)}, pinned "
            f"{pinned.sha256}). Delete it and run again to fetch it anew."
        )
    return path


def fetch(pinned: PinnedFile, relative: str, progress: Progress | None = None) -> None:
    """Download a file into the cache: whole and with the pinned SHA-256, or not at all."""
    target = pinned.cache_path()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            with part.open("wb") as file:
                digest = _download(pinned, relative, file.write, progress)
            if digest != pinned.sha256:
                raise ChecksumError(
                    f"{pinned.url()}: what came is not the pinned file (SHA-256 {digest}, pinned "
                    f"{pinned.sha256}). Nothing was kept. Try again; if it stays so, "
                    f"{_by_hand(relative)}."
                )
    except OSError as error:
        raise DataError(
            f"{target.parent}: downloads cannot be written there ({error.strerror}). "
            f"Set HARNESS_CACHE to a file in a folder that can be written."
        ) from None


def _by_hand(relative: str) -> str:
    return (
        f"put the file as {relative} into a folder of your own and name that folder with "
        f"--data-dir or HARNESS_DATA"
    )


def _download(
    pinned: PinnedFile, relative: str, write: Callable[[bytes], object], progress: Progress | None
) -> str:
    import httpx

    digest = hashlib.sha256()
    done = 0
    try:
        with httpx.stream(
            "GET", pinned.url(), timeout=_TIMEOUT_S, follow_redirects=True
        ) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                write(chunk)
                digest.update(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(pinned.path, done, pinned.bytes)
                if done > pinned.bytes:
                    break  # Not the pinned file, however long it goes on.
    except httpx.HTTPStatusError as error:
        reason = f"HTTP {error.response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
    else:
        return digest.hexdigest()
    raise DownloadError(
        f"{pinned.url()}: could not be fetched ({reason}). Try again with a network, "
        f"or {_by_hand(relative)}."
    )
