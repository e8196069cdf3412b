"""What every reader returns: the sentences of a file with their mentions, and oddity counts.

A mention has a label of the *file* (``PER``, not yet ``Person``), its surface in the text, and its
offsets in code points with the end exclusive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, NoReturn

from harness.errors import CorpusFormatError, DataError

TokenSpan = tuple[int, int, str]


class Mention(NamedTuple):
    """A labelled stretch of text; ``offsets`` is ``None`` where a file names only the surface."""

    label: str
    surface: str
    offsets: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class LabelMap:
    """What the labels of a dataset's tags mean.

    ``classes`` maps a tag's label to a class of the schema. ``excluded`` labels are read as spans
    like any other and then left out of the gold. ``ignored`` labels are read as O before spans are
    built. Any other label is read as O and counted, or is an error with ``unknown_is_error``:
    users' own data has to say what each of its labels means.
    """

    classes: Mapping[str, str]
    excluded: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()
    unknown_is_error: bool = False

    def unknown_label_message(self, label: str) -> str:
        """The error message for a label that the map does not have."""
        known = ", ".join(sorted({*self.classes, *self.excluded, *self.ignored})) or "none"
        return (
            f"label '{label}' is not in the dataset's labels. "
            f'Add it (labels = {{ {label} = "A class of the schema" }}, or "O" to leave it out). '
            f"Labels now: {known}."
        )


@dataclass(slots=True)
class Sentence:
    """One sentence of a corpus file.

    ``line`` is the line it starts on, counted from 1. ``id`` is the id in the file, if any.
    ``tokens`` has every token, empty ones too. ``text`` joins the tokens that are not empty by
    single spaces, so an empty token shifts no tag and is not seen by the model. ``language`` is set
    by formats that name it. ``english`` is a translation written beside the sentence.
    """

    line: int
    id: str | None
    text: str
    tokens: tuple[str, ...]
    mentions: list[Mention]
    language: str | None = None
    english: str | None = None
    english_mentions: list[Mention] | None = None


@dataclass(slots=True)
class CorpusFile:
    """The content of one corpus file: its sentences, and counts of its oddities.

    ``oddities`` counts ``orphan_i`` (an I- after O or at a sentence's start), ``type_change`` (an
    I- after another label), ``empty_tokens``, and ``empty_mentions`` (spans of empty tokens only,
    which are dropped). ``read_as_o`` counts, by full tag, the tags of ignored and of unknown
    labels, all of which are read as O.
    """

    path: Path
    sentences: list[Sentence] = field(default_factory=list)
    oddities: Counter[str] = field(default_factory=Counter)
    read_as_o: Counter[str] = field(default_factory=Counter)


def raise_format_error(path: Path, line: int, message: str) -> NoReturn:
    """Raise the ``CorpusFormatError`` of a line (counted from 1) that the format does not allow."""
    raise CorpusFormatError(f"{path}:{line}: {message}")


def read_text(path: Path) -> str:
    """The text of a corpus file, without byte-order mark and with ``\\n`` at line ends.

    Raises:
        DataError: the file is missing or cannot be read.
        CorpusFormatError: it is not UTF-8.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Check the path.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        bad = error.object[error.start]
        raise_format_error(path, line, f"byte 0x{bad:02x} is not UTF-8. Save the file as UTF-8.")
    return text.replace("\r\n", "\n")


def iob2_spans(tags: Sequence[str], oddities: Counter[str] | None = None) -> list[TokenSpan]:
    """The spans of IOB2 tags, as ``(first token, token after the last, label)``.

    Every tag is O, B-x or I-x. An I- after O, at the start, or after another label starts a new
    span, as in the published evaluation scripts; ``oddities`` counts these tags.

    >>> iob2_spans(["B-PER", "I-PER", "O", "I-LOC", "I-ORG"])
    [(0, 2, 'PER'), (3, 4, 'LOC'), (4, 5, 'ORG')]
    """
    spans: list[TokenSpan] = []
    start, label = 0, ""
    for i, tag in enumerate(tags):
        if tag == "O":
            if label:
                spans.append((start, i, label))
                label = ""
            continue
        inside = tag[0] == "I"
        if inside and tag[2:] == label:
            continue
        if inside and oddities is not None:
            oddities["type_change" if tags[i - 1] != "O" and i else "orphan_i"] += 1
        if label:
            spans.append((start, i, label))
        start, label = i, tag[2:]
    if label:
        spans.append((start, len(tags), label))
    return spans


def join_tokens(
    tokens: Sequence[str], spans: Sequence[TokenSpan], oddities: Counter[str]
) -> tuple[str, list[Mention]]:
    """Join tokens by single spaces, and turn token spans into mentions in that text.

    A token of spaces only is left out of the text. A span keeps the rest of its tokens; a span
    without any other token is dropped. ``oddities`` counts both.
    """
    text = " ".join(tokens)
    if not text or text[0] == " " or text[-1] == " " or "  " in text:
        return _join_tokens_without_empty(tokens, spans, oddities)
    if not spans:
        return text, []
    letter_counts = [0, *accumulate(map(len, tokens))]
    mentions = []
    for first, after, label in spans:
        # A space stands before every token but the first.
        start, end = letter_counts[first] + first, letter_counts[after] + after - 1
        mentions.append(Mention(label, text[start:end], (start, end)))
    return text, mentions


def _join_tokens_without_empty(
    tokens: Sequence[str], spans: Sequence[TokenSpan], oddities: Counter[str]
) -> tuple[str, list[Mention]]:
    nonempty = [i for i, token in enumerate(tokens) if token.strip(" ")]
    text = " ".join(tokens[i] for i in nonempty)
    oddities["empty_tokens"] += len(tokens) - len(nonempty)
    starts = dict(
        zip(nonempty, accumulate((len(tokens[i]) + 1 for i in nonempty), initial=0), strict=False)
    )
    mentions = []
    for first, after, label in spans:
        members = [i for i in range(first, after) if i in starts]
        if not members:
            oddities["empty_mentions"] += 1
            continue
        start, end = starts[members[0]], starts[members[-1]] + len(tokens[members[-1]])
        mentions.append(Mention(label, text[start:end], (start, end)))
    return text, mentions
