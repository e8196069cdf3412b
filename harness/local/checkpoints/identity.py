"""The identity of a model by its content: two copies of a folder are the same model.

Hashing 13 GB takes half a minute. The hash of a large file is therefore kept in the user's cache
folder, by path, size and time of last change.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from harness.disk import cache_folder, replacing, sha256_of
from harness.errors import CheckpointError

# Smaller files are hashed each time.
_REMEMBERED_BYTES = 4 * 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")
# These change outputs too: they have the shapes and the end-of-sequence tokens.
_CONFIGS = ("config.json", "generation_config.json")
_VOCABULARIES = ("vocabulary.json", "vocabulary.txt", "shared_vocabulary.json")
#: The files that define how a text becomes tokens.
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer.model", "sentencepiece.bpe.model", "spiece.model"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"),
)


def of_weights(folder: Path, weights: Iterable[Path], remote: Mapping[str, str]) -> str:
    """The hash of configuration and weights; ``remote`` has the hashes of files on the hub."""
    known = {path.name: _of_file(path) for path in weights}
    known |= {name: sha256 for name, sha256 in remote.items() if name not in known}
    return _combined(known | _of_present(folder, (*_CONFIGS, *_VOCABULARIES)))


def of_tokenizer(folder: Path) -> str:
    """The hash of the tokenizer's files and of the chat template."""
    return _combined(_of_present(folder, (*TOKENIZER_FILES, *_VOCABULARIES)))


def _of_present(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: _of_file(folder / name) for name in names if (folder / name).is_file()}


def _combined(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()


def _of_file(path: Path) -> str:
    """The SHA-256 of a file, remembered if it is large."""
    try:
        real = path.resolve()
        # The hub's cache names a large file by its hash.
        if real.parent.name == "blobs" and _SHA256.fullmatch(real.name):
            return real.name
        now = real.stat()
        if now.st_size < _REMEMBERED_BYTES:
            return sha256_of(real)
        state = [now.st_size, now.st_mtime_ns]
        remembered = _remembered()
        if (known := remembered.get(str(real))) and known[:2] == state:
            return str(known[2])
        digest = sha256_of(real)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}).") from None
    _remember(str(real), [*state, digest])
    return digest


def _memory() -> Path:
    return cache_folder().parent / "file-hashes.json"


def _remembered() -> dict[str, list[int | str]]:
    try:
        content = json.loads(_memory().read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(path: str, state: list[int | str]) -> None:
    """Keep the hash of a file. If the folder cannot be written, it is computed next time."""
    with suppress(OSError):
        memory = _memory()
        memory.parent.mkdir(parents=True, exist_ok=True)
        with replacing(memory) as part:
            part.write_text(json.dumps(_remembered() | {path: state}))
