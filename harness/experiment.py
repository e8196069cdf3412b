"""The experiment file (``runs/NAME.toml``) as value objects.

An unknown key is an error that names the nearest known one; a path in the file is looked up
from the working directory first, then from the file's own folder. Nothing here holds a secret:
keys are named by their environment variable only.
"""

from __future__ import annotations

import glob
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from harness.data.formats import OwnFormat
from harness.errors import ExperimentError, UsageError, unknown_name_message
from harness.local.checkpoints import local_name
from harness.models import settings_for
from harness.models.prices import Prices, read_prices
from harness.models.protocol import Settings
from harness.sections import Section, check_keys, read_section, validated
from harness.translation.settings import ReferenceEntry, TranslationEntry, parse_translation


class DatasetEntry(Section):
    """One ``[[datasets]]`` table: a catalogue name, or one's own data by ``path``.

    ``limit`` takes the first examples of every language, as the published evaluations do;
    ``sample`` takes that many at random with ``seed``, kept in file order.
    """

    name: str
    languages: tuple[str, ...] | Literal["all"] = "all"
    split: str = "test"
    limit: int | None = Field(default=None, ge=1)
    sample: int | None = Field(default=None, ge=1)
    seed: int = 0
    path: str | None = None
    format: OwnFormat | None = None
    labels: Mapping[str, str] | None = None
    # Called `schema` in the file; that name is taken on a pydantic model.
    schema_: str | None = Field(default=None, alias="schema")


class System(Section):
    """One ``[[systems]]`` table: a model, a prompt strategy, and how to send it.

    ``settings`` are the backend's own keys, read by its settings class. ``format`` is the format
    of the answer; the server holds ``json`` to a schema. Every prompt is asked ``repeats`` times;
    with ``vote`` the majority of those answers is scored. ``shots`` is the number of annotated
    examples in the prompt, from the split ``shots_from``: the same for every sentence, drawn with
    ``shots_seed``, or with ``shots_by = "nearest"`` the most similar ones.
    """

    name: str
    backend: str
    strategy: str
    wrap: Literal["chat", "completion"]
    settings: Settings
    chat: str = "default"
    format: Literal["python", "json"] = "python"
    repeats: int = Field(default=1, ge=1, le=100)
    vote: bool = False
    shots: int = Field(default=0, ge=0, le=100)
    shots_from: str = "train"
    shots_by: Literal["random", "nearest"] = "random"
    shots_seed: int = 0
    schema_: str | None = None
    translation: TranslationEntry | None = None


class Experiment(Section):
    """A whole experiment.

    ``name`` is what its results are known by: the name of its file without the suffix. ``path`` is
    the file that it was read from, if any.
    """

    datasets: tuple[DatasetEntry, ...]
    systems: tuple[System, ...]
    name: str = "experiment"
    translation: TranslationEntry | None = None
    # As in a price file: provider, model, row.
    prices: Mapping[str, Mapping[str, Mapping[str, Any]]] = Field(default_factory=dict)
    path: Path | None = None

    def translation_of(self, system: System) -> TranslationEntry:
        """The translation that a system uses: its own, else the run's, else the default."""
        return system.translation or self.translation or ReferenceEntry()

    def price_table(self) -> Prices:
        """The experiment's own prices, which come before those of any file."""
        return read_prices(self.prices, "[prices]")

    def limited(self, limit: int) -> Experiment:
        """The same experiment with at most ``limit`` examples a language.

        Raises:
            UsageError: a limit under 1.
        """
        if limit < 1:
            raise UsageError(f"limit is {limit}; it has to be at least 1.")
        datasets = []
        for entry in self.datasets:
            key = "limit" if entry.sample is None else "sample"
            own_limit = getattr(entry, key)
            smaller = limit if own_limit is None else min(own_limit, limit)
            datasets.append(entry.model_copy(update={key: smaller}))
        return self.model_copy(update={"datasets": tuple(datasets)})

    def at_address(self, provider: str, base_url: str) -> Experiment:
        """The same experiment with a provider's server at another address.

        The alias stands for the address in cache keys, so answers stay where they are.
        """

        def moved(entry: Any) -> Any:
            settings: Any = getattr(entry, "settings", None)
            if getattr(settings, "provider", None) != provider:
                return entry
            settings = settings.model_copy(update={"base_url": base_url})
            return entry.model_copy(update={"settings": settings})

        systems = tuple(
            moved(system.model_copy(update={"translation": moved(system.translation)}))
            for system in self.systems
        )
        return self.model_copy(update={"systems": systems, "translation": moved(self.translation)})

    def to_toml(self) -> str:
        """The experiment as TOML: resolved (every default written out) and rerunnable."""
        import tomli_w

        datasets = [_plain(entry) for entry in self.datasets]
        for entry in datasets:
            if "schema_" in entry:
                entry["schema"] = entry.pop("schema_")
        document: dict[str, Any] = {"datasets": datasets}
        if self.translation is not None:
            document["translation"] = self.translation.table()
        if self.prices:
            document["prices"] = self.prices
        systems = []
        for system in self.systems:
            table = {
                name.rstrip("_"): value
                for name, value in _plain(system).items()
                if name not in ("settings", "translation")
            }
            if not system.shots:
                table = {key: value for key, value in table.items() if key not in _SHOT_KEYS}
            table |= _plain(system.settings)
            if system.translation is not None:
                table["translation"] = system.translation.table()
            systems.append(table)
        document["systems"] = systems
        return tomli_w.dumps(document)


# The system's own keys; every other key of its table belongs to the backend.
_SYSTEM_KEYS = tuple(name.rstrip("_") for name in System.model_fields if name != "settings")
# What says which examples are shown, if any are.
_SHOT_KEYS = tuple(key for key in _SYSTEM_KEYS if key.startswith("shots"))
_TOP_KEYS = ("datasets", "translation", "systems", "prices")


def load_experiment(path: str | Path) -> Experiment:
    """Read an experiment file.

    Raises:
        ExperimentError: the file is not there, is not TOML, or says something that is not
            understood; the message names the file, the place and the choices.
    """
    file = _find_file(Path(path))
    try:
        document = tomllib.loads(file.read_text("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{file}: not a TOML file: {error}.") from None
    except OSError as error:
        raise ExperimentError(f"{file}: cannot be read: {error.strerror}.") from None
    return parse_experiment(document, path=file.resolve())


def parse_experiment(document: Mapping[str, Any], *, path: Path | None = None) -> Experiment:
    """Build an experiment from the parsed file (or from a mapping of the same shape)."""
    where = str(path.name) if path else "experiment"
    check_keys(document, _TOP_KEYS, where)
    for key in ("datasets", "systems"):
        if not isinstance(document.get(key), Sequence) or not document[key]:
            raise ExperimentError(f"{where}: at least one [[{key}]] table is needed.")
    base = path.parent if path else Path.cwd()
    datasets = tuple(
        _dataset(table, f"{where}: [[datasets]] {i}", base)
        for i, table in enumerate(document["datasets"], 1)
    )
    translation = document.get("translation")
    systems = tuple(
        _system(table, f"{where}: [[systems]] {i}", base)
        for i, table in enumerate(document["systems"], 1)
    )
    for system in systems:
        if not system.name.isprintable():
            raise ExperimentError(f"{where}: {system.name!r} is no name of a system.")
    for kind, names in (
        ("dataset", [d.name for d in datasets]),
        ("system", [s.name for s in systems]),
    ):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ExperimentError(
                f"{where}: two {kind}s are called '{twice}'. Rows are told apart by name: "
                f"rename one."
            )
    return Experiment(
        datasets=datasets,
        systems=systems,
        name=path.stem if path else "experiment",
        translation=_translation(translation, f"{where}: [translation]", base)
        if translation is not None
        else None,
        prices=_prices(document.get("prices", {}), where),
        path=path,
    )


def _prices(table: Any, where: str) -> dict[str, Any]:
    """The [prices] table, known to hold prices, with its amounts as exact text."""
    where = f"{where}: [prices]"
    exact: dict[str, Any] = {}
    for provider, rows in _table(table, where).items():
        exact[provider] = {
            model: {
                column: str(amount) if isinstance(amount, float) else amount
                for column, amount in _table(row, f"{where}: {provider}.{model}").items()
            }
            for model, row in _table(rows, f"{where}: {provider}").items()
        }
    read_prices(exact, where)
    return exact


def _find_file(path: Path) -> Path:
    if path.is_file():
        return path
    if path.is_dir() and (path / "experiment.toml").is_file():
        return path / "experiment.toml"
    beside = sorted(str(p) for p in Path("runs").glob("*.toml")) if Path("runs").is_dir() else []
    hint = f" Experiment files in ./runs: {', '.join(beside)}." if beside else ""
    raise ExperimentError(f"{path}: no such experiment file.{hint}")


def _dataset(table: Any, where: str, base: Path) -> DatasetEntry:
    table = _table(table, where)
    languages = table.get("languages", "all")
    if languages != "all" and not isinstance(languages, list | tuple):
        raise ExperimentError(f'{where}: `languages` is a list, ["swa", "yor"], or "all".')
    entry = read_section(DatasetEntry, _tuples(table), where)
    if entry.limit is not None and entry.sample is not None:
        raise ExperimentError(
            f"{where}: `limit` takes the first examples and `sample` draws them: give one of them."
        )
    if entry.languages != "all" and not entry.languages:
        raise ExperimentError(f'{where}: `languages` is empty. Name some, or write "all".')
    changes: dict[str, Any] = {}
    if entry.path is not None:
        changes["path"] = str(_resolve(entry.path, base, where, "path"))
    if entry.schema_ is not None and entry.schema_.endswith(".py"):
        changes["schema_"] = str(_resolve(entry.schema_, base, where, "schema"))
    return entry.model_copy(update=changes)


def _translation(table: Any, where: str, base: Path) -> TranslationEntry:
    return parse_translation(
        _table(table, where),
        where,
        file=lambda key, name: str(_resolve(name, base, where, key)),
        model=lambda name: local_name(name, base),
    )


def _system(table: Any, where: str, base: Path) -> System:
    table = dict(_table(table, where))
    for key in ("name", "backend", "strategy"):
        if not isinstance(table.get(key), str) or not table[key].strip():
            raise ExperimentError(f"{where}: `{key}` is needed, a text.")
    where = f"{where} ('{table['name']}')"
    own = {key: table.pop(key) for key in _SYSTEM_KEYS if key in table}
    settings = settings_for(own["backend"], table, also=_SYSTEM_KEYS, where=where).located(
        lambda key, name: str(_resolve(name, base, where, key)), lambda name: local_name(name, base)
    )
    wrap = own.get("wrap", settings.default_wrap)
    if wrap not in ("chat", "completion"):
        raise ExperimentError(
            f"{where}: " + unknown_name_message("wrap", str(wrap), ("chat", "completion"))
        )
    strategy = own["strategy"]
    if strategy.endswith(".j2"):
        strategy = str(_resolve(strategy, base, where, "strategy"))
    schema = own.get("schema")
    if isinstance(schema, str) and schema.endswith(".py"):
        schema = str(_resolve(schema, base, where, "schema"))
    idle = [key for key in _SHOT_KEYS if key in own]
    if idle and "shots" not in own:
        raise ExperimentError(f"{where}: `{idle[0]}` says which examples to show: give shots = 3.")
    translation = own.get("translation")
    if translation is not None:
        translation = _translation(translation, f"{where}: translation", base)
    resolved = {"strategy": strategy, "wrap": wrap, "translation": translation}
    own = {name: value for name, value in own.items() if name != "schema"} | resolved
    values = own | {"settings": settings, "schema_": schema}
    system = validated(System.model_validate, _tuples(values), where)
    _check_possible(system, where)
    return system


def _check_possible(system: System, where: str) -> None:
    """Refuse what a system's backend or its other keys rule out."""
    if system.format not in system.settings.formats:
        raise ExperimentError(
            f'{where}: format = "{system.format}" needs a server that holds the answer to a '
            f"schema, and backend '{system.backend}' does not. Choices here: "
            f"{', '.join(system.settings.formats)}."
        )
    if system.format == "json" and system.wrap != "chat":
        raise ExperimentError(
            f'{where}: format = "json" is asked for in a chat. Write wrap = "chat", or leave '
            f"`format` out."
        )
    if system.repeats > 1 and system.settings.greedy:
        raise ExperimentError(
            f"{where}: backend '{system.backend}' gives the same answer each time, so repeats = "
            f"{system.repeats} would tell nothing. Leave `repeats` out."
        )
    if system.vote and system.repeats == 1:
        raise ExperimentError(f"{where}: a vote needs several answers. Give repeats = 5, say.")


def _resolve(name: str, base: Path, where: str, key: str) -> Path:
    """A path of the file: from the working directory first, then from the file's folder.

    ``{language}`` and ``{split}`` stand for parts of the names of several files.
    """
    candidates = [Path(name).expanduser(), base / name]
    for path in candidates:
        if glob.glob(re.sub(r"\{\w+\}", "*", glob.escape(str(path)))):
            return path.resolve()
    raise ExperimentError(
        f"{where}: {key} = '{name}' is not there. Looked at: "
        + ", ".join(str(p.absolute()) for p in dict.fromkeys(candidates))
        + "."
    )


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ExperimentError(f"{where}: must be a table of keys and values.")
    return value


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has lists where the value objects hold tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _plain(section: BaseModel) -> dict[str, Any]:
    """A section as TOML values: no nulls (TOML has none), tuples as lists."""
    return section.model_dump(mode="json", exclude_none=True)
