"""Models of the Hugging Face hub: the files that are needed, and their place in its cache.

A model in the cache is used without contacting the hub. ``HF_HUB_OFFLINE``, ``HF_HOME``,
``HF_TOKEN`` and ``HF_ENDPOINT`` have their meaning in the hub's own library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from harness.errors import CheckpointError
from harness.local.checkpoints import model_files
from harness.local.checkpoints.identity import TOKENIZER_FILES

_NAME = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}")
_SMALL = ("config.json", "generation_config.json", *model_files.INDEXES, *TOKENIZER_FILES)


def is_name(name: str) -> bool:
    """Whether a text can be the name of a model on the hub, ``owner/name``."""
    return _NAME.fullmatch(name) is not None


def snapshot(name: str, revision: str | None, *, weights: bool) -> tuple[Path, Mapping[str, str]]:
    """The folder of a hub model in the hub's cache, whose name is the commit.

    Missing files are downloaded: all that are needed, or without ``weights`` only the small ones.
    In the second case the second value has the SHA-256 of each weight file by name.

    Raises:
        CheckpointError: no such model or revision, no permission, or no connection.
    """
    import httpx
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        folder = _cached(name, revision)
        if folder is not None:
            return folder, {}
        listed = HfApi().model_info(name, revision=revision, files_metadata=True).siblings or []
        hashes = {file.rfilename: file.lfs.sha256 if file.lfs else None for file in listed}
        wanted = [file for file in _SMALL if file in hashes]
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
        heavy = _weights(name, folder, list(hashes))
        remote = {file: sha256 for file in heavy if (sha256 := hashes[file])}
        if not weights and len(remote) == len(heavy):
            return folder, remote
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted + heavy)), {}
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError) as error:
        _explain(name, revision, error)


def _cached(name: str, revision: str | None) -> Path | None:
    """The folder of a model whose files are all in the cache, else ``None``."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    try:
        model_files.weight_files(folder, converted=model_files.is_converted(folder))
    except CheckpointError:
        return None
    has_tokenizer = any((folder / file).is_file() for file in TOKENIZER_FILES)
    return folder if has_tokenizer else None


def _weights(name: str, folder: Path, listed: Sequence[str]) -> list[str]:
    """The weight files of a listing, safetensors first; ``folder`` has the indexes."""
    if model_files.CONVERTED in listed:
        vocabularies = [file for file in listed if re.fullmatch(r"\w*vocabulary\.\w+", file)]
        return [model_files.CONVERTED, *vocabularies]
    for single, index in zip(model_files.SINGLE, model_files.INDEXES, strict=True):
        if index in listed:
            return model_files.shards(model_files.read_json(folder / index), folder / index)
        if single in listed:
            return [single]
    raise CheckpointError(
        f"The hub's model '{name}' has no weights that can be read here. Looked for: "
        f"{', '.join((*model_files.SINGLE, *model_files.INDEXES, model_files.CONVERTED))}."
    )


def _explain(name: str, revision: str | None, error: Exception) -> NoReturn:
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, OfflineModeIsEnabled):
        reason = "is not in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it. Unset it"
    elif isinstance(error, GatedRepoError):
        reason = (
            "is open to those only who accepted its terms. Accept them on its page, set HF_TOKEN"
        )
    elif isinstance(error, RevisionNotFoundError):
        reason = f"has no revision '{revision}'. Correct `revision`, leave it out"
    elif isinstance(error, RepositoryNotFoundError):
        reason = (
            "is no folder here, and the hub has no such model (or a private one, which needs "
            "HF_TOKEN). Correct the name"
        )
    else:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = (
            f"is not in the hub's cache, and the hub cannot be used ({detail}). Try again with a "
            f"network"
        )
    raise CheckpointError(
        f"Model '{name}' {reason}, or give the folder of a copy as `model`."
    ) from None
