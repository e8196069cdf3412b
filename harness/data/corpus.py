"""What every reader makes of a file: sentences with mentions, and counts of what was odd.

A mention is a label of the *file* (``PER``, not yet ``Person``), the surface it has in the text,
and where it stands, in code points with the end exclusive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, NoReturn

from harness.errors import CorpusFormatError, DataError

Span = tuple[int, int, str]


class Mention(NamedTuple):
    """A labelled stretch of text; ``offsets`` is ``None`` where a file names only the surface."""

    label: str
    surface: str
    offsets: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Labels:
    """What a dataset's tags mean.

    ``classes`` maps a tag's label to a class of the schema. ``excluded`` labels are read as spans
    like any other and then left out of the gold; ``ignored`` ones are read as O before spans are
    built. Any other label is read as O and counted, or, with ``closed``, an error: a dataset of
    one's own says what each of its labels means.
    """

    classes: Mapping[str, str]
    excluded: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()
    closed: bool = False

    def unmapped(self, label: str) -> str:
        """What is wrong with a label that the map does not have, and what to do."""
        known = ", ".join(sorted({*self.classes, *self.excluded, *self.ignored})) or "none"
        return (
            f"label '{label}' is not in the dataset's labels. "
            f'Add it (labels = {{ {label} = "A class of the schema" }}, or "O" to leave it out). '
            f"Labels now: {known}."
        )


@dataclass(slots=True)
class Sentence:
    """One sentence as its file has it.

    ``line`` is the 1-based line it starts on and ``id`` the file's own. ``tokens`` has every token
    line, empty ones too; ``text`` joins those that are not empty by single spaces, so that an
    empty token leaves no trace in the text and moves no tag. ``language`` is set by formats that
    name it. ``english`` is a translation written beside the sentence.
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
class Corpus:
    """A file read: its sentences, and what was odd in it.

    ``oddities`` counts ``orphan_i`` (an I- after O or at a sentence's start), ``type_change`` (an
    I- after another label), ``empty_tokens``, and ``empty_mentions`` (spans of nothing but empty
    tokens, which no text can hold). ``read_as_o`` counts, by full tag, what was read as O although
    it is not: ignored labels and unknown ones.
    """

    path: Path
    sentences: list[Sentence] = field(default_factory=list)
    oddities: Counter[str] = field(default_factory=Counter)
    read_as_o: Counter[str] = field(default_factory=Counter)


def fault(path: Path, line: int, message: str) -> NoReturn:
    """Raise the error of a line that its format does not allow."""
    raise CorpusFormatError(f"{path}:{line}: {message}")


def read_text(path: Path) -> str:
    """The text of a corpus file, with a byte-order mark and carriage returns taken off.

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
        fault(path, line, f"byte 0x{bad:02x} is not UTF-8. Save the file as UTF-8.")
    return text.replace("\r\n", "\n")


def spans_of(tags: Sequence[str], oddities: Counter[str] | None = None) -> list[Span]:
    """The spans of IOB2 tags, as ``(first token, token after the last, label)``.

    An I- after O, at the start, or of another label than the tag before starts a new span, as the
    published evaluation repairs it; ``oddities`` counts those. Every tag is O, B-x or I-x.

    >>> spans_of(["B-PER", "I-PER", "O", "I-LOC", "I-ORG"])
    [(0, 2, 'PER'), (3, 4, 'LOC'), (4, 5, 'ORG')]
    """
    found: list[Span] = []
    start, label = 0, ""
    for i, tag in enumerate(tags):
        if tag == "O":
            if label:
                found.append((start, i, label))
                label = ""
            continue
        inside = tag[0] == "I"
        if inside and tag[2:] == label:
            continue
        if inside and oddities is not None:
            oddities["type_change" if tags[i - 1] != "O" and i else "orphan_i"] += 1
        if label:
            found.append((start, i, label))
        start, label = i, tag[2:]
    if label:
        found.append((start, len(tags), label))
    return found


def lay_out(
    tokens: Sequence[str], spans: Sequence[Span], oddities: Counter[str]
) -> tuple[str, list[Mention]]:
    """The text of tokens, and token spans as mentions in it.

    The text is the tokens joined by single spaces. A token of nothing but spaces takes no part in
    it: nothing else moves, a span keeps the rest of its tokens, and a span without any other is
    dropped. Both are counted.
    """
    text = " ".join(tokens)
    if not text or text[0] == " " or text[-1] == " " or "  " in text:
        return _lay_out_around_empty(tokens, spans, oddities)
    if not spans:
        return text, []
    letters = [0, *accumulate(map(len, tokens))]
    mentions = []
    for first, after, label in spans:
        # A space stands before every token but the first.
        start, end = letters[first] + first, letters[after] + after - 1
        mentions.append(Mention(label, text[start:end], (start, end)))
    return text, mentions


def _lay_out_around_empty(
    tokens: Sequence[str], spans: Sequence[Span], oddities: Counter[str]
) -> tuple[str, list[Mention]]:
    full = [i for i, token in enumerate(tokens) if token.strip(" ")]
    text = " ".join(tokens[i] for i in full)
    oddities["empty_tokens"] += len(tokens) - len(full)
    starts = dict(
        zip(full, accumulate((len(tokens[i]) + 1 for i in full), initial=0), strict=False)
    )
    mentions = []
    for first, after, label in spans:
        kept = [i for i in range(first, after) if i in starts]
        if not kept:
            oddities["empty_mentions"] += 1
            continue
        start, end = starts[kept[0]], starts[kept[-1]] + len(tokens[kept[-1]])
        mentions.append(Mention(label, text[start:end], (start, end)))
    return text, mentions
