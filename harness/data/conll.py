"""Readers of the formats with one token a line and a blank line between sentences.

The formats, as their sources have them:

``masakhaner``  ``token TAG``, one space, no comments (a line may well start with the token ``#``)
``uner``        five columns parted by tabs, the second the token and the third the tag, after
                comment lines ``# key = value``; columns four and five are not the tag
``xsid``        four columns parted by tabs (number, token, intent, tag) after comment lines, with
                ``# key: value`` up to 0.4 and ``# key = value`` later; ``text-en`` is English gold
``conll``       of one's own: the token first, the tag last, the same number of columns in the whole
                file, parted by tabs if its first line has one and by spaces otherwise; comment
                lines may stand before a sentence

Lines are split at the separator only: tokens with spaces inside, or empty, stay whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.data.corpus import Corpus, Labels, Sentence, fault, lay_out, read_text, spans_of

_NOTE = re.compile(r"#\s*(sent_id|id|text-en|text_en)\s*[:=]\s*(.*)")
_TAG = re.compile(r"O|[BI]-\S(.*\S)?")


@dataclass(frozen=True, slots=True)
class _Columns:
    separator: str
    width: int
    token: int
    tag: int
    comments: bool = True

    def expected(self) -> str:
        by = "a tab" if self.separator == "\t" else "one space"
        return (
            f"A line of this file has {self.width} columns parted by {by}: the token in column "
            f"{self.token + 1}, its tag (O, B-label or I-label) in column {self.tag + 1}"
        )


_FORMATS = {
    "masakhaner": _Columns(" ", 2, 0, 1, comments=False),
    "uner": _Columns("\t", 5, 1, 2),
    "xsid": _Columns("\t", 4, 1, 3),
}


def read_columns(path: Path, file_format: str, labels: Labels) -> Corpus:
    """Read a file of one of the formats above.

    Raises:
        DataError: the file is missing or cannot be read.
        CorpusFormatError: a line that the format does not allow; the message starts ``file:line:``.
    """
    text = read_text(path)
    columns = _FORMATS.get(file_format)
    if columns is None:
        text = re.sub(" +$", "", text, flags=re.MULTILINE)
        columns = _conll_columns(path, text)
        if columns.separator == " ":
            text = re.sub(" +", " ", text)
    reader = _Reader(Corpus(path), columns, labels)
    for first, block in _blocks(text):
        reader.sentence(first, block)
    if not reader.corpus.sentences:
        fault(path, 1, f"no sentence in this file. {columns.expected()}.")
    return reader.corpus


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """The runs of lines that are not empty, each with the number of its first line."""
    number = 1
    for block in text.split("\n\n"):
        lines = block.split("\n")
        if lines[0] and lines[-1]:
            yield number, lines
        elif full := [line for line in lines if line]:
            yield number + (not lines[0]), full
        number += len(lines) + 1


def _conll_columns(path: Path, text: str) -> _Columns:
    """The shape of a file of one's own, from its first line that is no comment."""
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.startswith("#"):
            separator = "\t" if "\t" in line else " "
            width = len(re.sub(" +", " ", line).split(separator))
            if width < 2:
                fault(
                    path,
                    number,
                    f"found one column: {line[:80]!r}. A line is a token and its tag, parted by a "
                    f"tab or a space, with a blank line between sentences.",
                )
            return _Columns(separator, width, 0, width - 1)
    return _Columns("\t", 2, 0, 1)


class _Reader:
    def __init__(self, corpus: Corpus, columns: _Columns, labels: Labels) -> None:
        self.corpus = corpus
        self.columns = columns
        self.labels = labels
        read = {*labels.classes, *labels.excluded} - labels.ignored
        self.clean = frozenset({"O", *(f"{kind}-{label}" for kind in "BI" for label in read)})

    def sentence(self, first: int, block: list[str]) -> None:
        """Read one block of lines, the first of which has this number."""
        columns, corpus = self.columns, self.corpus
        head = 0
        notes = {}
        if columns.comments:
            while head < len(block) and self._is_comment(block[head]):
                if note := _NOTE.match(block[head]):
                    notes[note[1].replace("_en", "-en")] = note[2].strip()
                head += 1
        rows = [line.split(columns.separator) for line in block[head:]]
        if not rows:
            if notes:
                fault(corpus.path, first, f"a sentence without tokens. {columns.expected()}.")
            return
        if {*map(len, rows)} != {columns.width}:
            self._wrong_width(first + head, rows)
        tokens = tuple([row[columns.token] for row in rows])
        if tokens == ("-DOCSTART-",):
            return
        tags = [row[columns.tag] for row in rows]
        seen = {*tags}
        if not seen <= self.clean:
            tags = [self._settle(tag, first + head + i) for i, tag in enumerate(tags)]
        spans = spans_of(tags, corpus.oddities) if len(seen) > 1 or "O" not in seen else []
        text, mentions = lay_out(tokens, spans, corpus.oddities)
        corpus.sentences.append(
            Sentence(
                line=first,
                id=notes.get("sent_id") or notes.get("id"),
                text=text,
                tokens=tokens,
                mentions=mentions,
                english=notes.get("text-en") or None,
            )
        )

    def _is_comment(self, line: str) -> bool:
        """Whether a line is a comment, and not a token that happens to be, or start with, ``#``."""
        if line[0] != "#":
            return False
        row = line.split(self.columns.separator)
        return len(row) != self.columns.width or not _TAG.fullmatch(row[self.columns.tag])

    def _settle(self, tag: str, line: int) -> str:
        """A tag as it is read: itself, or O where its label is ignored or unknown."""
        if tag in self.clean:
            return tag
        path = self.corpus.path
        if not _TAG.fullmatch(tag):
            fault(path, line, f"tag {tag[:80]!r} is not a tag. {self.columns.expected()}.")
        label = tag[2:]
        if self.labels.closed and label not in self.labels.ignored:
            fault(path, line, self.labels.unmapped(label))
        self.corpus.read_as_o[tag] += 1
        return "O"

    def _wrong_width(self, first: int, rows: list[list[str]]) -> None:
        for line, row in enumerate(rows, first):
            if len(row) != self.columns.width:
                found = self.columns.separator.join(row)
                many = "1 column" if len(row) == 1 else f"{len(row)} columns"
                fault(
                    self.corpus.path,
                    line,
                    f"found {many}: {found[:80]!r}. {self.columns.expected()}. Correct the line, "
                    f"or fetch the file again.",
                )
