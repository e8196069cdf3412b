"""Scores of predictions given as tags, token by token.

They equal seqeval's ``mode="strict", scheme=IOB2`` to the last digit: a span begins at a
``B-`` and goes on through ``I-`` tags of its class; an ``I-`` that continues nothing (an
orphan, or one of another class) is ignored on both sides, and a predicted span counts when
class, first and last token agree. Corpus readers treat orphans otherwise: there an orphan
``I-`` begins a span, as in the published evaluation, so that gold keeps every entity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.errors import CorpusFormatError, DataError
from harness.scoring.rows import Counts, Row, Score, micro, per_label

# Class, first token, token after the last.
TagSpan = tuple[str, int, int]


class TagScores(NamedTuple):
    """Micro score, score of each class in gold or predictions, and one row a sentence."""

    micro: Score
    labels: dict[str, Score]
    rows: list[Row]


def score_tags(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> TagScores:
    """Score predicted IOB2 tags against gold, sentence by sentence.

    Both are one sequence of tags (``O``, ``B-X``, ``I-X``) a sentence. Raises
    :class:`DataError` for a tag of another form, and where the two sides differ in their
    number of sentences or in a sentence's number of tokens; sentences are counted from 1.
    """
    if len(gold) != len(predicted):
        raise DataError(
            f"Gold has {len(gold)} sentences and the predictions {len(predicted)}: "
            "give one sequence of tags for each sentence on both sides."
        )
    rows = []
    for number, (expected, found) in enumerate(zip(gold, predicted, strict=True), start=1):
        if len(expected) != len(found):
            raise DataError(
                f"Sentence {number} has {len(expected)} gold tags and {len(found)} predicted "
                "ones: give one tag for each token on both sides."
            )
        try:
            rows.append(_row(tag_spans(expected), tag_spans(found)))
        except ValueError as error:
            raise DataError(f"Sentence {number}: {error}") from None
    return TagScores(micro(rows), per_label(rows), rows)


def read_tags(path: str | Path) -> tuple[list[list[str]], list[list[str]]]:
    """Gold and predicted tags of a file: lines ``token gold predicted``, blank between sentences.

    Columns are parted by tabs where a line has any (a token may then hold spaces), else by
    single spaces. There are no comment lines, since a token may be ``#``. Raises
    :class:`CorpusFormatError`, naming file and line, for a line that does not fit, and
    :class:`DataError` for a file that cannot be read or holds no sentence.
    """
    path = Path(path)
    gold: list[list[str]] = []
    predicted: list[list[str]] = []
    inside = False
    for number, line in _lines(path):
        if not line.strip():
            inside = False
            continue
        columns = line.split("\t") if "\t" in line else line.rsplit(" ", 2)
        if len(columns) != 3:
            raise CorpusFormatError(
                f"{path}:{number}: expected 3 columns (token, gold tag, predicted tag), "
                f"found {len(columns)}. Write them parted by tabs or single spaces, with a "
                "blank line between sentences."
            )
        try:
            for tag in columns[1:]:
                _split(tag)
        except ValueError as error:
            raise CorpusFormatError(f"{path}:{number}: {error}") from None
        if not inside:
            gold.append([])
            predicted.append([])
            inside = True
        gold[-1].append(columns[1])
        predicted[-1].append(columns[2])
    if not gold:
        raise DataError(f"{path} holds no sentence; write lines of token, gold tag, predicted tag.")
    return gold, predicted


def tag_spans(tags: Iterable[str]) -> set[TagSpan]:
    """The spans of one sentence's tags under strict IOB2; ``ValueError`` for another tag."""
    spans: set[TagSpan] = set()
    label, start, position = "", -1, -1
    for position, tag in enumerate(tags):
        prefix, kind = _split(tag)
        if prefix == "I" and start >= 0 and kind == label:
            continue
        if start >= 0:
            spans.add((label, start, position))
        label, start = (kind, position) if prefix == "B" else ("", -1)
    if start >= 0:
        spans.add((label, start, position + 1))
    return spans


def _split(tag: str) -> tuple[str, str]:
    """A tag's prefix and class; a bare ``B`` or ``I`` is of the class ``_``, as in seqeval."""
    if tag == "O":
        return "O", ""
    prefix, _, label = tag.partition("-")
    if prefix not in ("B", "I"):
        raise ValueError(f"'{tag}' is no IOB2 tag. Choices: O, B-CLASS, I-CLASS.")
    return prefix, label or "_"


def _row(gold: set[TagSpan], predicted: set[TagSpan]) -> Row:
    counts: dict[str, Counts] = {}
    for label in {span[0] for span in gold | predicted}:
        expected = {span for span in gold if span[0] == label}
        found = {span for span in predicted if span[0] == label}
        counts[label] = (len(expected & found), len(found), len(expected))
    return Row(counts, parsed=len(predicted))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Give a file of tags.") from None
