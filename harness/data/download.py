"""Pinned corpus files: in a user's folder, or downloaded over HTTP into the cache.

With ``--data-dir`` (the argument ``data_dir``) nothing is downloaded: a file missing there is an
error. A file missing in the folder that ``HARNESS_DATA`` names is downloaded. Files in either
folder are used whatever their hash; ``harness check datasets`` lists those that differ from the
pinned ones. Downloads come from the pinned commit. Their SHA-256 is checked before they are put
into the cache, and again whenever they are read from it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.disk import cache_folder, replacing, sha256_of
from harness.errors import ChecksumError, DataError, DownloadError

RAW_URL = "https://raw.githubusercontent.com"
_TIMEOUT_S = 20.0

#: Called as ``progress(path in the repository, bytes so far, bytes in all)``.
DownloadProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of a public repository at one commit."""

    repository: str
    commit: str
    path: str
    sha256: str
    bytes: int

    def url(self) -> str:
        """The address of the file; ``HARNESS_DATA_URL`` names a mirror of the public host."""
        base = os.environ.get("HARNESS_DATA_URL") or RAW_URL
        return f"{base.rstrip('/')}/{self.repository}/{self.commit}/{self.path}"

    def cache_path(self) -> Path:
        """The path of the file in the cache."""
        return cache_folder().joinpath(self.repository, self.commit, self.path)


def local_folder(data_dir: Path | str | None) -> Path | None:
    """The folder of local corpora: ``data_dir``, else the one in ``HARNESS_DATA``, else ``None``.

    Raises:
        DataError: the name is not that of a folder.
    """
    name = data_dir or os.environ.get("HARNESS_DATA")
    if not name:
        return None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        setting = "--data-dir" if data_dir else "HARNESS_DATA"
        raise DataError(
            f"{setting}: {folder} is not a folder. Name the folder with the corpora, "
            f"or leave it out to download them."
        )
    return folder


class FileCopy(NamedTuple):
    """A file that exists; ``origin`` is ``local`` (a user's folder), ``cache`` or ``packaged``."""

    path: Path
    origin: str


def existing_copy(
    pinned: PinnedFile, relative: str, data_dir: Path | str | None
) -> FileCopy | None:
    """The copy of a pinned file that is used, if there is one: local, else in the cache.

    ``relative`` is the path in a folder of local corpora.

    Raises:
        DataError: the folder of local corpora is named and is not a folder.
    """
    folder = local_folder(data_dir)
    if folder is not None and (folder / relative).is_file():
        return FileCopy(folder / relative, "local")
    if data_dir is None and pinned.cache_path().is_file():
        return FileCopy(pinned.cache_path(), "cache")
    return None


def locate_or_fetch(
    pinned: PinnedFile,
    relative: str,
    data_dir: Path | str | None = None,
    progress: DownloadProgress | None = None,
) -> Path:
    """The path of a pinned file, downloaded into the cache if there is no copy yet.

    ``relative`` is the path in a folder of local corpora.

    Raises:
        DataError: it is not in the given ``data_dir``, or the cache cannot be written.
        ChecksumError: the cached or the fetched file is not the pinned one.
        DownloadError: it could not be downloaded.
    """
    copy = existing_copy(pinned, relative, data_dir)
    if copy is None:
        if data_dir is not None:
            raise DataError(
                f"{Path(data_dir).expanduser() / relative}: no such file. Put it there, or "
                f"leave out --data-dir to download it from {pinned.url()}."
            )
        fetch(pinned, relative, progress)
        return pinned.cache_path()
    if copy.origin == "cache" and (digest := sha256_of(copy.path)) != pinned.sha256:
        raise ChecksumError(
            f"{copy.path}: the cached file is not the pinned one (SHA-256 {digest}, pinned "
            f"{pinned.sha256}). Delete it and run again to download it again."
        )
    return copy.path


def fetch(pinned: PinnedFile, relative: str, progress: DownloadProgress | None = None) -> None:
    """Download a file into the cache. A partial or wrong file is never put there.

    Raises:
        ChecksumError: the downloaded file does not have the pinned SHA-256.
        DownloadError: it could not be downloaded.
        DataError: the cache cannot be written.
    """
    target = pinned.cache_path()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            with part.open("wb") as file:
                digest = _download(pinned, relative, file.write, progress)
            if digest != pinned.sha256:
                raise ChecksumError(
                    f"{pinned.url()}: the download is not the pinned file "
                    f"(SHA-256 {digest}, pinned {pinned.sha256}). Nothing was kept. Try again; "
                    f"if the error stays, {_manual_way(relative)}."
                )
    except OSError as error:
        raise DataError(
            f"{target.parent}: downloads cannot be written there ({error.strerror}). "
            f"Set HARNESS_CACHE to a file in a folder that can be written."
        ) from None


def _manual_way(relative: str) -> str:
    return (
        f"put the file as {relative} into a folder of your own and name that folder with "
        f"--data-dir or HARNESS_DATA"
    )


def _download(
    pinned: PinnedFile,
    relative: str,
    write: Callable[[bytes], object],
    progress: DownloadProgress | None,
) -> str:
    import httpx

    digest = hashlib.sha256()
    received = 0
    try:
        with httpx.stream(
            "GET", pinned.url(), timeout=_TIMEOUT_S, follow_redirects=True
        ) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                write(chunk)
                digest.update(chunk)
                received += len(chunk)
                if progress is not None:
                    progress(pinned.path, received, pinned.bytes)
                if received > pinned.bytes:
                    break  # Too long for the pinned file: a stream without end must stop.
    except httpx.HTTPStatusError as error:
        reason = f"HTTP {error.response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
    else:
        return digest.hexdigest()
    raise DownloadError(
        f"{pinned.url()}: could not be downloaded ({reason}). Try again with a network, "
        f"or {_manual_way(relative)}."
    )
