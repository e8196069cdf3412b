"""Examples from the sentences of a file: their ids, gold and English."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.data.catalog import resolve
from harness.data.corpus import CorpusFile, Mention, Sentence, raise_format_error
from harness.data.dataset import Dataset
from harness.data.download import DownloadProgress
from harness.data.english import reference_english
from harness.data.formats import FILE_FORMATS
from harness.errors import UsageError
from harness.records import Annotation, Example
from harness.shapes import SPAN


def load_dataset(
    name: str,
    language: str,
    split: str = "test",
    *,
    data_dir: Path | str | None = None,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    english: bool = False,
    path: Path | str | None = None,
    format: str | None = None,  # noqa: A002
    labels: Mapping[str, str] | None = None,
    schema: str | None = None,
) -> list[Example]:
    """The examples of a dataset's language and split, in the order of the file.

    ``name`` is a name of the catalogue (``harness ls datasets``) or, with ``path``, ``format`` and
    ``labels``, the name of own data (:func:`resolve`). The other arguments and the errors are
    those of :func:`load_examples`.

    >>> load_dataset("masakhaner2", "swa", limit=200)  # doctest: +SKIP
    """
    dataset = resolve(
        name, path=path, format=format, labels=labels, schema=schema, languages=(language,)
    )
    return load_examples(
        dataset,
        language,
        split,
        data_dir=data_dir,
        limit=limit,
        sample=sample,
        seed=seed,
        english=english,
    )


def load_examples(
    dataset: Dataset,
    language: str,
    split: str = "test",
    *,
    data_dir: Path | str | None = None,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    english: bool = False,
    progress: DownloadProgress | None = None,
) -> list[Example]:
    """The examples of a language and split, in the order of the file.

    ``limit`` takes that many from the start; ``sample`` draws that many with ``seed`` and keeps the
    order of the file. With ``english``, each example has the English that comes with the corpus
    and its gold, if there is any (:mod:`harness.data.english`).

    An example's text is its tokens joined by single spaces, or the text as given. Its id is the
    one in the file if every sentence has one and no two share it, else ``<split>-<index>``,
    counted from 0. In JSONL a sentence with an id keeps it whatever the others have.

    Raises:
        UnknownNameError: the dataset has no such language or split.
        DataError: the file is missing, not the pinned one, could not be downloaded, or has a line
            that its format does not allow.
    """
    corpus = dataset.read(language, split, data_dir=data_dir, progress=progress)
    sentences = dataset.sentences(language, split, corpus)
    ids = _ids(dataset, split, corpus, sentences)
    indices = _choose(len(sentences), limit, sample, seed)
    references = (
        reference_english(dataset, language, split, sentences, data_dir) if english else None
    )
    examples = []
    for index in indices:
        sentence = sentences[index]
        example = Example(
            id=ids[index],
            dataset=dataset.name,
            language=language,
            split=split,
            text=sentence.text,
            tokens=sentence.tokens,
            gold=_gold(dataset, sentence.mentions),
            english=references[index].text if references else None,
            english_gold=_english_gold(dataset, references[index].mentions) if references else None,
        )
        examples.append(example)
    return examples


def _gold(dataset: Dataset, mentions: Iterable[Mention]) -> tuple[Annotation, ...]:
    classes = dataset.labels
    return tuple(
        [
            Annotation(classes[label], {SPAN: surface}, offsets)
            for label, surface, offsets in mentions
            if label in classes
        ]
    )


def _english_gold(
    dataset: Dataset, mentions: list[Mention] | None
) -> tuple[Annotation, ...] | None:
    return None if mentions is None else _gold(dataset, mentions)


def _ids(
    dataset: Dataset, split: str, corpus: CorpusFile, sentences: Sequence[Sentence]
) -> list[str]:
    by_index = [f"{split}-{i}" for i in range(len(sentences))]
    own = [sentence.id for sentence in sentences]
    if not FILE_FORMATS[dataset.format].sentence_fields:
        named = [i for i in own if i is not None]
        return named if len(named) == len({*named}) == len(own) else by_index
    ids = [i or c for i, c in zip(own, by_index, strict=True)]
    if len({*ids}) < len(ids):
        lines: dict[str, int] = {}
        for i, sentence in zip(ids, sentences, strict=True):
            first = lines.setdefault(i, sentence.line)
            if first != sentence.line:
                raise_format_error(
                    corpus.path, sentence.line, f"id '{i}' is already used in line {first}."
                )
    return ids


def _choose(size: int, limit: int | None, sample: int | None, seed: int) -> Sequence[int]:
    """The indices of the sentences that are taken, of ``size``, ascending."""
    if limit is not None and sample is not None:
        raise UsageError("`limit` takes the first examples and `sample` draws them: give one.")
    for name, number in (("limit", limit), ("sample", sample)):
        if number is not None and number < 1:
            raise UsageError(f"`{name}` must be at least 1, not {number}.")
    if sample is not None and sample < size:
        return sorted(random.Random(seed).sample(range(size), sample))
    return range(size if limit is None else min(limit, size))
