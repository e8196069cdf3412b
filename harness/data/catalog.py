"""The catalogue (``catalog.toml``), and users' own datasets."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.data.dataset import SPLITS, Dataset, Language
from harness.data.download import PinnedFile
from harness.data.formats import FILE_FORMATS, OWN_FORMATS
from harness.errors import UnknownNameError, UsageError, unknown_name_message

_HERE = Path(__file__).resolve().parent
# A tag that users map to one of these is read as O.
_LEFT_OUT = ("", "O")
_NEWS = {"Person", "Organization", "Location"}


@lru_cache(maxsize=1)
def catalog() -> Mapping[str, Dataset]:
    """The datasets of the catalogue by name."""
    document = tomllib.loads((_HERE / "catalog.toml").read_text("utf-8"))
    codes = _codes(document)
    return MappingProxyType(
        {name: _dataset(name, entry, codes) for name, entry in document.items()}
    )


def _codes(document: Mapping[str, Any]) -> dict[str, str]:
    """NLLB-200 codes by the catalogue's names of languages, and by ISO 639-3 code (``por``)."""
    named = {
        code: row["nllb"]
        for entry in document.values()
        for code, row in entry.get("languages", {}).items()
        if "nllb" in row
    }
    scripts: dict[str, set[str]] = {}
    for code in named.values():
        scripts.setdefault(code[:3], set()).add(code)
    # The code of a language that the catalogue has in two scripts (zho) is ambiguous.
    return {**{iso: min(full) for iso, full in scripts.items() if len(full) == 1}, **named}


def _dataset(name: str, entry: dict[str, Any], codes: Mapping[str, str]) -> Dataset:
    rows = entry.get("languages", {})
    return Dataset(
        name=name,
        title=entry["title"],
        format=_known_format(name, entry["format"]),
        schema=entry["schema"],
        labels=MappingProxyType(entry["labels"]),
        layout=entry["layout"],
        outside=tuple(entry.get("outside", ())),
        excluded=frozenset(entry.get("excluded", ())),
        ignored=frozenset(entry.get("ignored", ())),
        licence=entry["licence"],
        citation=entry["citation"],
        attribution=entry["attribution"],
        references=entry.get("references"),
        split_names=entry.get("splits", {}),
        codes={c: row["nllb"] for c, row in rows.items() if "nllb" in row} if rows else codes,
        table={code: _language(code, row, entry) for code, row in rows.items()},
        root=_HERE,
    )


def _known_format(name: str, format: str) -> str:  # noqa: A002
    if format not in FILE_FORMATS:
        raise UnknownNameError(
            f"Dataset '{name}': " + unknown_name_message("format", format, FILE_FORMATS)
        )
    return format


def _language(code: str, row: dict[str, Any], entry: dict[str, Any]) -> Language:
    names = entry.get("splits", {})
    merged = {**entry, **row}
    pinned = {
        split: PinnedFile(
            repository=merged["repository"],
            commit=merged["commit"],
            path=entry["path"].format(language=code, split=names.get(split, split)),
            **row[split],
        )
        for split in SPLITS
        if split in row
    }
    return Language(
        code, row["name"], merged["licence"], merged["citation"], row.get("english"), pinned
    )


def resolve(
    name: str,
    *,
    path: Path | str | None = None,
    format: str | None = None,  # noqa: A002 - the experiment file's word
    labels: Mapping[str, str] | None = None,
    schema: str | None = None,
    languages: Sequence[str] | None = None,
) -> Dataset:
    """A dataset of the catalogue by its name, or a user's own data by ``path``.

    Own data needs a ``path``, in which ``{language}`` and ``{split}`` are placeholders if there are
    several files, and ``labels``, a map from its tags to the classes of its ``schema``. Without a
    ``format`` (``jsonl`` or ``conll``) the suffix of the file's name decides. A tag mapped to
    ``"O"`` (or ``""``) is left out of the gold; a tag that is not in the map is an error when the
    file is read. ``languages`` names the languages of a file that does not name them; without it
    they come from the file or from the names of the files, and are ``und`` if neither has them.
    The schema may be left out if the classes are those of news text (Person, Organization,
    Location).

    For a name of the catalogue, ``schema`` replaces its schema and ``languages`` is not needed.

    Raises:
        UnknownNameError: no dataset has that name.
        UsageError: own data lacks a key, or a dataset of the catalogue is given one of own data.
    """
    known = catalog()
    if path is None:
        return _named(name, format=format, labels=labels, schema=schema)
    layout = str(Path(path).expanduser())
    if format is None:
        suffix = Path(layout).suffix.lstrip(".")
        if suffix not in OWN_FORMATS:
            raise UsageError(f"Dataset '{name}': give `format`: {' or '.join(OWN_FORMATS)}.")
        format = suffix  # noqa: A001
    if format not in OWN_FORMATS:
        raise UnknownNameError(
            f"Dataset '{name}': " + unknown_name_message("format", format, OWN_FORMATS)
        )
    if not labels:
        raise UsageError(
            f"Dataset '{name}': give `labels`, a map from the file's tags to the classes of the "
            f'schema, as in labels = {{ PER = "Person" }}.'
        )
    classes = {tag: cls for tag, cls in labels.items() if cls not in _LEFT_OUT}
    if schema is None:
        if not {*classes.values()} <= _NEWS:
            raise UsageError(
                f"Dataset '{name}': give `schema`, the Python file whose classes the labels name "
                f"({', '.join(sorted({*classes.values()}))})."
            )
        schema = known["demo"].schema
    return Dataset(
        name=name,
        title=name,
        format=format,
        schema=schema,
        labels=MappingProxyType(classes),
        layout=layout,
        ignored=frozenset(tag for tag, cls in labels.items() if cls in _LEFT_OUT),
        codes=known["demo"].codes,
        given_languages=tuple(languages or ()),
    )


def _named(
    name: str,
    *,
    format: str | None,  # noqa: A002
    labels: Mapping[str, str] | None,
    schema: str | None,
) -> Dataset:
    known = catalog()
    if name not in known:
        raise UnknownNameError(
            unknown_name_message("dataset", name, known)
            + " For data of your own give its `path`, `format` and `labels` too."
        )
    if format is not None or labels is not None:
        raise UsageError(
            f"Dataset '{name}' is in the catalogue: `format` and `labels` go with a `path` of "
            f"your own. Leave them out, or give the path."
        )
    return known[name] if schema is None else replace(known[name], schema=schema)
