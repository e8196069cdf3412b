"""English that is made, by an engine here or by a model that is asked, and kept in the store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from harness.data.block import Block
from harness.records import Answer, Request, Translation
from harness.store import Store, request_key
from harness.translation.codes import ENGLISH
from harness.translation.flags import flags_of
from harness.translation.sources import English


@dataclass(frozen=True, slots=True)
class Made:
    """A stored translation as read; ``cut`` where it met the length limit."""

    text: str
    cut: bool = False


class StoredTranslator(ABC):
    """Looks translations up by the content of the sentence and all that makes the engine.

    Nothing else is part of a request, so every system and every run that wants the same sentence
    from the same engine shares one translation.
    """

    source: ClassVar[str]
    identity: str

    def __init__(self, store: Store) -> None:
        self.store = store

    @abstractmethod
    def covers(self, block: Block) -> bool:
        """Whether the block's language can be translated at all."""

    @abstractmethod
    def request(self, block: Block, text: str) -> Request:
        """The whole request for one text."""

    @abstractmethod
    def read(self, answer: Answer) -> Made | None:
        """A stored answer; ``None`` where it holds no translation."""

    def pieces(self, text: str) -> list[str]:
        """The texts that a sentence is translated as; none of a blank one."""
        return [text] if text.strip() else []

    def translate(self, block: Block) -> English:
        """What the store has. English stands for itself, and is not translated."""
        if _is_english(block):
            return English([Translation(e.text, "original", self.identity) for e in block.examples])
        if not self.covers(block):
            return English([None] * len(block.examples))
        keys = [[key for key, _ in asked] for asked in self.asked(block)]
        answers = self.store.get_many(dict.fromkeys(key for group in keys for key in group))
        found: list[Translation | None] = []
        waiting: dict[int, str] = {}
        for index, group in enumerate(keys):
            missing = next((key for key in group if key not in answers), None)
            if missing is not None:
                waiting[index] = missing
            made = [self.read(answers[key]) for key in group if key in answers]
            found.append(self._joined(block.examples[index].text, made))
        return English(found, waiting)

    def asked(self, block: Block) -> Iterator[list[tuple[str, Request]]]:
        """The requests for each sentence with their keys, in the order of its pieces."""
        needed = self.covers(block) and not _is_english(block)
        for example in block.examples:
            pieces = self.pieces(example.text) if needed else []
            requests = [self.request(block, piece) for piece in pieces]
            yield [(request_key(request), request) for request in requests]

    def keys(self, blocks: Iterable[Block]) -> Iterator[str]:
        """The keys of all requests for these blocks."""
        return (key for block in blocks for asked in self.asked(block) for key, _ in asked)

    def missing(self, blocks: Iterable[Block]) -> dict[str, Request]:
        """The requests whose translations the store does not have, equal sentences once."""
        wanted = {
            key: request
            for block in blocks
            for asked in self.asked(block)
            for key, request in asked
        }
        known = self.store.known(wanted)
        return {key: request for key, request in wanted.items() if key not in known}

    def _joined(self, text: str, made: list[Made | None]) -> Translation | None:
        whole = [piece for piece in made if piece is not None]
        if not made or len(whole) < len(made):
            return None
        english = " ".join(piece.text for piece in whole)
        flags = flags_of(text, english, truncated=any(piece.cut for piece in whole))
        return Translation(english, self.source, self.identity, flags)


def _is_english(block: Block) -> bool:
    """Whether the sentences need no translation."""
    return block.dataset.nllb_code(block.language) == ENGLISH
