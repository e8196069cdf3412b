"""The ``[translation]`` table: where the English comes from, one class of keys a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny

from harness.errors import ExperimentError, unknown_name_message
from harness.local.checkpoints.devices import DEVICE_PATTERN, ComputeType
from harness.models import settings_for
from harness.models.protocol import Settings
from harness.sections import Section, check_keys, validated

#: Finds the file that a key of the table names: the key and the name in, its path out.
Resolve = Callable[[str, str], str]

Device = Annotated[str, Field(pattern=DEVICE_PATTERN)]


class TranslationEntry(Section):
    """A ``[translation]`` table, or a system's override of it: the keys that every source has.

    ``untranslatable`` decides about a sentence without a translation: ``skip`` leaves it out of
    the requests, ``source`` uses the sentence itself, ``error`` refuses the run.
    """

    source: Literal["reference", "file", "nllb", "model"] = "reference"
    untranslatable: Literal["skip", "source", "error"] = "skip"

    def table(self) -> dict[str, Any]:
        """The entry as the keys of a TOML table."""
        return self.model_dump(mode="json", exclude_none=True)


class ReferenceEntry(TranslationEntry):
    """``source = "reference"``: the English that the corpus carries."""

    source: Literal["reference"] = "reference"


class FileEntry(TranslationEntry):
    """``source = "file"``: a translation file (:mod:`harness.translation.sources`)."""

    source: Literal["file"] = "file"
    path: str


class NllbEntry(TranslationEntry):
    """``source = "nllb"``: an NLLB model on this machine.

    ``model`` is a hub name or a folder, ``revision`` a hub revision. ``beam`` and ``max_length``
    (tokens in and tokens out) are 5 and 128 as published. ``compute_type = "auto"`` is float32 on
    a CPU and float16 on a GPU. ``batch_tokens`` is how many tokens, padding included, are
    translated at once. With ``split_sentences`` a line of several sentences is translated
    sentence by sentence.
    """

    source: Literal["nllb"] = "nllb"
    model: str = Field(min_length=1)
    revision: str | None = Field(default=None, min_length=1)
    beam: int = Field(default=5, ge=1, le=100)
    max_length: int = Field(default=128, ge=8, le=1024)
    device: Device = "auto"
    compute_type: ComputeType = "auto"
    batch_tokens: int = Field(default=4096, ge=1)
    split_sentences: bool = False


class ModelEntry(TranslationEntry):
    """``source = "model"``: a model of any backend is asked for the translation.

    ``template`` is a name under ``prompts/translation/`` or the path of a ``.j2`` file;
    ``settings`` are the backend's own keys, which stand in the same table.
    """

    source: Literal["model"] = "model"
    backend: str
    template: str = "default"
    wrap: Literal["chat", "completion"]
    settings: SerializeAsAny[Settings]

    def table(self) -> dict[str, Any]:
        """The entry as the keys of a TOML table, the backend's among them."""
        table = super().table()
        return table | dict(table.pop("settings"))


_ENTRIES: Mapping[str, type[TranslationEntry]] = {
    "reference": ReferenceEntry,
    "file": FileEntry,
    "nllb": NllbEntry,
    "model": ModelEntry,
}
#: Where English can come from.
SOURCES = tuple(_ENTRIES)
_MODEL_KEYS = ("source", "untranslatable", "backend", "template", "wrap")


def parse_translation(
    table: Mapping[str, Any], where: str, *, file: Resolve, model: Callable[[str], str]
) -> TranslationEntry:
    """Read a ``[translation]`` table.

    Args:
        where: what an error message begins with.
        file: finds a file of the table, or raises.
        model: the folder that a model's name means, or the name itself.

    Raises:
        ExperimentError: an unknown source or key (the nearest is named), or a wrong value.
    """
    source = table.get("source", "reference")
    if source not in SOURCES:
        raise ExperimentError(
            f"{where}: " + unknown_name_message("translation source", str(source), SOURCES)
        )
    if source == "model":
        return _model_entry(table, where, file, model)
    if source == "file" and "path" not in table:
        raise ExperimentError(f'{where}: source = "file" needs `path`, a JSONL file.')
    kind = _ENTRIES[source]
    check_keys(table, kind.model_fields, f'{where}: source = "{source}"')
    entry = validated(kind.model_validate, dict(table), where)
    if isinstance(entry, FileEntry):
        return entry.model_copy(update={"path": file("path", entry.path)})
    if isinstance(entry, NllbEntry):
        return entry.model_copy(update={"model": model(entry.model)})
    return entry


def _model_entry(
    table: Mapping[str, Any], where: str, file: Resolve, model: Callable[[str], str]
) -> TranslationEntry:
    own = {key: table[key] for key in _MODEL_KEYS if key in table}
    backend = own.get("backend")
    if not isinstance(backend, str) or not backend:
        raise ExperimentError(
            f'{where}: source = "model" needs `backend` and its keys, as a [[systems]] table has '
            f"them."
        )
    keys = {key: value for key, value in table.items() if key not in own}
    settings = settings_for(backend, keys, also=_MODEL_KEYS, where=where)
    own["settings"] = settings.located(file, model)
    own.setdefault("wrap", settings.default_wrap)
    if isinstance(name := own.get("template"), str) and name.endswith(".j2"):
        own["template"] = file("template", name)
    return validated(ModelEntry.model_validate, own, where)
