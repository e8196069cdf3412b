"""Finding the files of a model: shipped with the program, in a folder, or on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.disk import PACKAGE
from harness.errors import CheckpointError
from harness.local.checkpoints import hub, identity, model_files

_EMBEDDED = PACKAGE / "embedded"
#: The models that ship with the program.
EMBEDDED = ("tiny-gollie-tf", "tiny-nllb")


@dataclass(frozen=True)
class Checkpoint:
    """One model's folder, checked to be complete.

    ``name`` is what the user wrote; ``revision`` the hub's commit, where it is one; ``converted``
    says that it is a CTranslate2 folder (``model.bin``) rather than one of the transformers
    layout; ``config`` is its ``config.json``. ``remote`` has, by name, the SHA-256 of weight
    files that are not downloaded yet, as the hub lists it.
    """

    name: str
    folder: Path
    revision: str | None
    converted: bool
    config: Mapping[str, Any]
    remote: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def weights(self) -> tuple[Path, ...]:
        """The files that hold the weights, in order of their names; none while on the hub."""
        if self.remote:
            return ()
        return model_files.weight_files(self.folder, converted=self.converted)

    @cached_property
    def weight_bytes(self) -> int:
        """The size of the weights on disk."""
        return sum(path.stat().st_size for path in self.weights)

    @cached_property
    def sha256(self) -> str:
        """The identity of configuration and weights, hexadecimal.

        It covers a converted form inside the folder, because that form is the one that is run
        and may have been made from other weights.
        """
        weights = [*self.weights, *self.folder.glob(f"ctranslate2/{model_files.CONVERTED}")]
        return identity.of_weights(self.folder, weights, self.remote)

    @cached_property
    def tokenizer_sha256(self) -> str:
        """The identity of how texts become tokens, chat template included, hexadecimal."""
        return identity.of_tokenizer(self.folder)

    @cached_property
    def context(self) -> int | None:
        """The most tokens of prompt and answer together, ``None`` where nothing says so."""
        for key in ("max_position_embeddings", "n_positions"):
            if isinstance(most := self.config.get(key), int) and most > 0:
                return most
        # A converted folder does not have the model's own configuration.
        most = model_files.read_json(self.folder / "tokenizer_config.json").get("model_max_length")
        # Tokenizers write "no limit" as a number of thirty digits.
        return most if isinstance(most, int) and 0 < most < 10**9 else None


def find_checkpoint(name: str, revision: str | None = None, *, weights: bool = True) -> Checkpoint:
    """The files of a model: a shipped one, a folder, or a name on the hub, tried in this order.

    A hub model is downloaded into the hub's cache unless it is there already; then the hub is
    not contacted. With ``weights=False`` only the small files are downloaded: enough for identity
    and tokenizer, not for loading.

    Raises:
        CheckpointError: there is no such model, a file of it is missing or damaged, or the hub
            cannot be reached.
    """
    path = Path(name).expanduser()
    remote: Mapping[str, str] = {}
    if name in EMBEDDED or path.is_dir():
        folder = _EMBEDDED / name if name in EMBEDDED else path.resolve()
        if revision is not None:
            raise CheckpointError(
                f"Model '{name}' is a folder, and only models of the hub have a `revision`. "
                f"Leave it out."
            )
    elif path.exists():
        raise CheckpointError(f"Model '{name}' is a file. Give the folder that it lies in.")
    elif hub.is_name(name):
        folder, remote = hub.snapshot(name, revision, weights=weights)
        revision = folder.name
    else:
        raise CheckpointError(
            f"Model '{name}': there is no such folder (looked at {path.absolute()}), and it is no "
            f"hub name like owner/name. Models that ship: {', '.join(EMBEDDED)}."
        )
    converted = model_files.is_converted(folder)
    config = model_files.read_json(folder / "config.json")
    if not config:
        raise CheckpointError(
            f"{folder}: not a model's folder, it has no config.json. Give the folder that holds "
            f"config.json, the weights and the tokenizer's files."
        )
    checkpoint = Checkpoint(name, folder, revision, converted, config, remote)
    for file in checkpoint.weights:
        model_files.check_weights(file)
    return checkpoint


def local_name(name: str, base: Path) -> str:
    """The absolute path of a model's folder, or the name as it is where there is no such folder.

    A folder is looked up from the working directory first, then from ``base``.
    """
    if name in EMBEDDED:
        return name
    for path in (Path(name).expanduser(), base / name):
        if path.is_dir():
            return str(path.resolve())
    return name
