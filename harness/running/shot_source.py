"""Which annotated examples the prompts of a block may show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.block import Block
from harness.data.dataset import Dataset
from harness.data.download import DownloadProgress
from harness.data.loading import load_examples
from harness.errors import TranslationError, UnknownNameError, UsageError
from harness.prompting.listing import list_prompts
from harness.prompting.templates import Template
from harness.records import Example

if TYPE_CHECKING:
    pass
from harness.data.shots import ENGLISH_PARTS, ShotSelection


def open_shots(
    block: Block,
    template: Template,
    *,
    count: int,
    split: str = "train",
    by: str = "random",
    seed: int = 0,
    data_dir: Path | str | None = None,
    progress: DownloadProgress | None = None,
    task: str = "ner",
) -> ShotSelection:
    """Load the examples that a template can show in the prompts of a block, and choose.

    Of templates that show the English of their examples, or its annotations, the candidates are
    the sentences for which the corpus itself carries them. ``task`` is where an error looks for
    strategies that do without.

    Raises:
        TemplateError: the template shows no examples.
        UsageError: ``split`` is the evaluated one, or the language has no such split
            (``UnknownNameError``).
        TranslationError: no sentence of the split has the English that the template shows.
        DataError: the split cannot be read, or has too few sentences to show.
    """
    template.check_shots()
    dataset, language = block.dataset, block.language
    where = f"{dataset.name}/{language}"
    if split == block.split:
        raise UsageError(
            f"{where}: shots_from = '{split}' is the split that is evaluated. Other splits to take "
            f"examples from: {_choices(dataset, language, block.split)}."
        )
    if not _has(dataset, language, split):
        raise UnknownNameError(
            f"{where}, shots_from: no split '{split}'. Choices besides the evaluated "
            f"'{block.split}': {_choices(dataset, language, block.split)}."
        )
    english = [part for part in ENGLISH_PARTS if part in template.shot_parts]

    def load(name: str) -> list[Example]:
        return load_examples(
            dataset, language, name, data_dir=data_dir, english=bool(english), progress=progress
        )

    found = load(split)
    candidates = [example for example in found if _has_english(example, english)]
    if not candidates:
        shown = "annotations of their English" if "eng_gold" in english else "their English"
        raise TranslationError(
            f"{where}: with the strategy '{template.name}' the examples show {shown}, which no "
            f"sentence of the split '{split}' has. Strategies whose examples need less: "
            f"{', '.join(_strategies(task, english)) or 'none'}."
        )
    return ShotSelection(
        candidates, load(block.split), count=count, by=by, seed=seed, prompted=block.examples
    )


def _choices(dataset: Dataset, language: str, evaluated: str) -> str:
    """The splits that examples can come from, as a message ends with them."""
    splits = [s for s in dataset.splits if s != evaluated and _has(dataset, language, s)]
    return ", ".join(splits) or "none. Leave this language out, or set shots = 0"


def _has(dataset: Dataset, language: str, split: str) -> bool:
    """Whether a language has a split besides others, be its pinned file here or not."""
    if dataset.table:
        return split in dataset.table[language].files
    # One file of one's own is every split that it is asked for.
    return (
        "{split}" in dataset.layout
        and (dataset.root / dataset.relative_path(language, split)).is_file()
    )


def _has_english(example: Example, parts: Sequence[str]) -> bool:
    if "eng_gold" in parts and example.english_gold is None:
        return False
    return not parts or bool(example.english and example.english.strip())


def _strategies(task: str, english: Sequence[str]) -> list[str]:
    """The strategies whose examples show less of the English."""
    return [
        row.strategy
        for row in list_prompts(task)
        if row.shot_parts and {*ENGLISH_PARTS} & {*row.shot_parts} < {*english}
    ]
