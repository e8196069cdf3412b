"""Readers of the formats with one token per line and a blank line between sentences.

``masakhaner``  ``token TAG``, separated by one space; no comments (``#`` may be a token)
``uner``        comment lines ``# key = value``, then five columns separated by tabs: the token is
                the second and the tag the third
``xsid``        comment lines, then four columns separated by tabs: number, token, intent, tag.
                Comments are ``# key: value`` up to release 0.4 and ``# key = value`` later;
                ``text-en`` is the English sentence
``conll``       users' own files: the token first, the tag last, the same number of columns in the
                whole file, separated by tabs if its first line has one and by spaces otherwise;
                comment lines may precede a sentence

Lines are split at the separator only, so tokens that are empty or contain spaces are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.data.corpus import (
    CorpusFile,
    LabelMap,
    Sentence,
    iob2_spans,
    join_tokens,
    raise_format_error,
    read_text,
)

_NOTE = re.compile(r"#\s*(sent_id|id|text-en|text_en)\s*[:=]\s*(.*)")
_TAG = re.compile(r"O|[BI]-\S(.*\S)?")


@dataclass(frozen=True, slots=True)
class Columns:
    """The column layout of a file; ``token`` and ``tag`` are column indices from 0."""

    separator: str
    width: int
    token: int
    tag: int
    comments: bool = True

    def expected(self) -> str:
        """What a line of the file should look like, for error messages."""
        separator = "a tab" if self.separator == "\t" else "one space"
        return (
            f"A line of this file has {self.width} columns separated by {separator}: the token in "
            f"column {self.token + 1}, its tag (O, B-label or I-label) in column {self.tag + 1}"
        )


MASAKHANER = Columns(" ", 2, 0, 1, comments=False)
UNER = Columns("\t", 5, 1, 2)
XSID = Columns("\t", 4, 1, 3)


def read_columns(path: Path, labels: LabelMap, columns: Columns | None = None) -> CorpusFile:
    """Read a file with these columns; without ``columns``, a user's own file (``conll``).

    Raises:
        DataError: the file is missing or cannot be read.
        CorpusFormatError: a line that the format does not allow; the message starts ``file:line:``.
    """
    text = read_text(path)
    if columns is None:
        text = re.sub(" +$", "", text, flags=re.MULTILINE)
        columns = _conll_columns(path, text)
        if columns.separator == " ":
            text = re.sub(" +", " ", text)
    reader = _Reader(CorpusFile(path), columns, labels)
    for first, block in _blocks(text):
        reader.sentence(first, block)
    if not reader.corpus.sentences:
        raise_format_error(path, 1, f"no sentence in this file. {columns.expected()}.")
    return reader.corpus


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """The blocks of lines between blank lines, each with the number of its first line."""
    number = 1
    for block in text.split("\n\n"):
        lines = block.split("\n")
        if lines[0] and lines[-1]:
            yield number, lines
        elif nonempty := [line for line in lines if line]:
            yield number + (not lines[0]), nonempty
        number += len(lines) + 1


def _conll_columns(path: Path, text: str) -> Columns:
    """The columns of a user's own file, from its first line that is not a comment."""
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.startswith("#"):
            separator = "\t" if "\t" in line else " "
            width = len(re.sub(" +", " ", line).split(separator))
            if width < 2:
                raise_format_error(
                    path,
                    number,
                    f"found one column: {line[:80]!r}. A line is a token and its tag, separated by "
                    f"a tab or a space, with a blank line between sentences.",
                )
            return Columns(separator, width, 0, width - 1)
    return Columns("\t", 2, 0, 1)


class _Reader:
    """Reads the blocks of one file into its :class:`CorpusFile`."""

    def __init__(self, corpus: CorpusFile, columns: Columns, labels: LabelMap) -> None:
        self.corpus = corpus
        self.columns = columns
        self.labels = labels
        span_labels = {*labels.classes, *labels.excluded} - labels.ignored
        # Blocks with these tags only need no check of each tag, which costs time.
        self.known_tags = frozenset({"O", *(f"{kind}-{x}" for kind in "BI" for x in span_labels)})

    def sentence(self, first: int, block: list[str]) -> None:
        """Read one block of lines; ``first`` is the line number of the first."""
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
                raise_format_error(
                    corpus.path, first, f"a sentence without tokens. {columns.expected()}."
                )
            return
        if {*map(len, rows)} != {columns.width}:
            self._wrong_width(first + head, rows)
        tokens = tuple([row[columns.token] for row in rows])
        if tokens == ("-DOCSTART-",):
            return
        tags = [row[columns.tag] for row in rows]
        distinct_tags = {*tags}
        if not distinct_tags <= self.known_tags:
            tags = [self._known_tag(tag, first + head + i) for i, tag in enumerate(tags)]
        spans = iob2_spans(tags, corpus.oddities) if distinct_tags != {"O"} else []
        text, mentions = join_tokens(tokens, spans, corpus.oddities)
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
        """Whether a line is a comment, and not a token that begins with ``#`` and its tag."""
        if line[0] != "#":
            return False
        row = line.split(self.columns.separator)
        return len(row) != self.columns.width or not _TAG.fullmatch(row[self.columns.tag])

    def _known_tag(self, tag: str, line: int) -> str:
        """The tag itself, or O if its label is ignored or unknown."""
        if tag in self.known_tags:
            return tag
        path = self.corpus.path
        if not _TAG.fullmatch(tag):
            raise_format_error(
                path, line, f"tag {tag[:80]!r} is not a tag. {self.columns.expected()}."
            )
        label = tag[2:]
        if self.labels.unknown_is_error and label not in self.labels.ignored:
            raise_format_error(path, line, self.labels.unknown_label_message(label))
        self.corpus.read_as_o[tag] += 1
        return "O"

    def _wrong_width(self, first: int, rows: list[list[str]]) -> None:
        for line, row in enumerate(rows, first):
            if len(row) != self.columns.width:
                text = self.columns.separator.join(row)
                number = "1 column" if len(row) == 1 else f"{len(row)} columns"
                raise_format_error(
                    self.corpus.path,
                    line,
                    f"found {number}: {text[:80]!r}. {self.columns.expected()}. Correct the line, "
                    f"or fetch the file again.",
                )
