"""The reader of the project's own format: JSONL, one sentence per line.

A line is an object with ``text`` or ``tokens``, and ``entities``, a list of objects with a
``label`` and either ``start`` and ``end`` (end exclusive; code points of the text, or token
positions where the sentence is given as tokens) or ``span``, the surface alone. ``id``,
``language``, ``english`` and ``english_entities`` (over the English, in code points) are
optional. Other keys are ignored, unless they look like a misspelling of one of these.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any, NoReturn

from harness.data.corpus import (
    CorpusFile,
    LabelMap,
    Mention,
    Sentence,
    join_tokens,
    raise_format_error,
    read_text,
)

_KEYS = frozenset({"id", "language", "text", "tokens", "entities", "english", "english_entities"})
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_jsonl(path: Path, labels: LabelMap) -> CorpusFile:
    """Read a JSONL corpus.

    Raises:
        DataError: the file is missing or cannot be read.
        CorpusFormatError: a line that the format does not allow; the message starts ``file:line:``.
    """
    corpus = CorpusFile(path)
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line and not line.isspace():
            corpus.sentences.append(_Line(corpus, number, labels).sentence(line))
    if not corpus.sentences:
        raise_format_error(path, 1, "no sentence in this file. Write one JSON object a line.")
    return corpus


class _Line:
    """One line to be read, with its number for error messages."""

    def __init__(self, corpus: CorpusFile, number: int, labels: LabelMap) -> None:
        self.corpus = corpus
        self.number = number
        self.labels = labels

    def fail(self, message: str) -> NoReturn:
        raise_format_error(self.corpus.path, self.number, message)

    def sentence(self, line: str) -> Sentence:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            self.fail(f"not JSON ({error}). Write one JSON object a line.")
        if not isinstance(row, dict):
            self.fail('not a JSON object. Write {"text": "…", "entities": […]}.')
        if _SURROGATE.search(line):
            # json.loads made one character of a pair; a lone surrogate cannot be encoded as UTF-8.
            try:
                json.dumps(row, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                self.fail("half of a surrogate pair. Write the character itself.")
        for key in row.keys() - _KEYS:
            # Other keys are ignored, but a misspelt key must not be.
            if near := difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.8):
                self.fail(f"unknown key '{key}'. Did you mean '{near[0]}'?")
        entities = row.get("entities")
        if not isinstance(entities, list):
            self.fail("`entities` must be a list, empty where the sentence has none.")
        if ("text" in row) == ("tokens" in row):
            self.fail("give either `text` or `tokens`.")
        tokens: tuple[str, ...] = ()
        if "text" in row:
            text = self._text(row, "text")
            mentions = [self._mention(entity, text, "text") for entity in entities]
        else:
            tokens = self._tokens(row["tokens"])
            text, mentions = self._token_mentions(tokens, entities)
        sentence = Sentence(
            self.number, self._optional(row, "id"), text, tokens, self._known(mentions)
        )
        sentence.language = self._optional(row, "language")
        if row.get("english") is not None:
            english = self._text(row, "english")
            sentence.english = english
            if row.get("english_entities") is not None:
                if not isinstance(row["english_entities"], list):
                    self.fail("`english_entities` must be a list.")
                sentence.english_mentions = self._known(
                    [
                        self._mention(entity, english, "english")
                        for entity in row["english_entities"]
                    ]
                )
        elif row.get("english_entities"):
            self.fail("`english_entities` without `english`: give the English sentence too.")
        return sentence

    def _text(self, row: dict[str, Any], key: str) -> str:
        value = row[key]
        if not isinstance(value, str) or not value.strip():
            self.fail(f"`{key}` must be a text that is not blank.")
        return str(value)

    def _optional(self, row: dict[str, Any], key: str) -> str | None:
        value = row.get(key)
        if key == "id" and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is None or (isinstance(value, str) and value):
            return value
        self.fail(f"`{key}` must be a text.")

    def _tokens(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(token, str) for token in value):
            self.fail("`tokens` must be a list of texts.")
        if not "".join(value).strip():
            self.fail("`tokens` has no token that is not blank.")
        return tuple(value)

    def _label(self, entity: Any) -> str:
        if not isinstance(entity, dict) or not isinstance(entity.get("label"), str):
            self.fail(
                f"an entity must be an object with a `label`, not {_short(entity)}: "
                '{"label": "PER", "start": 0, "end": 4} or {"label": "PER", "span": "Kano"}.'
            )
        return str(entity["label"])

    def _mention(self, entity: Any, text: str, where: str) -> Mention:
        label = self._label(entity)
        span = entity.get("span")
        if "start" not in entity and "end" not in entity:
            if not isinstance(span, str) or not span.strip():
                self.fail(f"entity {_short(entity)} has neither `start` and `end` nor a `span`.")
            if span not in text:
                self.fail(f"span {span!r} is not in `{where}`. Copy it exactly as it stands there.")
            return Mention(label, span, None)
        start, end = self._offsets(entity, len(text), f"`{where}` has {len(text)} characters")
        surface = text[start:end]
        if span is not None and span != surface:
            self.fail(f"entity {_short(entity)}: its offsets give {surface!r}, not its `span`.")
        return Mention(label, surface, (start, end))

    def _token_mentions(
        self, tokens: tuple[str, ...], entities: list[Any]
    ) -> tuple[str, list[Mention]]:
        """The joined text, and its mentions; a mention with a span only has no offsets."""
        offsets = [
            self._offsets(entity, len(tokens), f"there are {len(tokens)} tokens")
            if isinstance(entity, dict) and ("start" in entity or "end" in entity)
            else None
            for entity in entities
        ]
        labelled = [
            (pair, self._label(entity)) for pair, entity in zip(offsets, entities, strict=True)
        ]
        spans = [(*pair, label) for pair, label in labelled if pair is not None]
        text, span_mentions = join_tokens(tokens, spans, self.corpus.oddities)
        if len(span_mentions) != len(spans):
            self.fail("an entity covers nothing but empty tokens.")
        in_order = iter(span_mentions)
        mentions = []
        for pair, entity in zip(offsets, entities, strict=True):
            if pair is None:
                mentions.append(self._mention(entity, text, "tokens"))
                continue
            mention = next(in_order)
            if entity.get("span") not in (None, mention.surface):
                self.fail(
                    f"entity {_short(entity)}: its tokens are {mention.surface!r}, not its `span`."
                )
            mentions.append(mention)
        return text, mentions

    def _offsets(self, entity: dict[str, Any], size: int, size_message: str) -> tuple[int, int]:
        start, end = entity.get("start"), entity.get("end")
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= size:
            self.fail(
                f"entity {_short(entity)}: `start` and `end` must be whole numbers with "
                f"0 <= start < end, and {size_message}."
            )
        return start, end

    def _known(self, mentions: list[Mention]) -> list[Mention]:
        """The mentions; one with a label that the dataset does not know is an error."""
        labels = self.labels
        for mention in mentions:
            label = mention.label
            if not (label in labels.classes or label in labels.ignored or label in labels.excluded):
                self.fail(labels.unknown_label_message(label))
        return mentions


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]
