"""English that an engine or a model makes, kept in the answer store."""

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
class TranslatedText:
    """The translation that a stored answer holds; ``truncated`` if it met the length limit."""

    text: str
    truncated: bool = False


class StoredTranslator(ABC):
    """Looks translations up by the text of the sentence and the identity of the engine.

    Nothing else is part of a request. All systems and runs that need a sentence from the same
    engine therefore share one translation.
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
    def read(self, answer: Answer) -> TranslatedText | None:
        """The translation in a stored answer; ``None`` where it holds none."""

    def pieces(self, text: str) -> list[str]:
        """The parts of a sentence that are translated one by one; none of a blank sentence."""
        return [text] if text.strip() else []

    def translate(self, block: Block) -> English:
        """The translations in the store. A sentence in English is its own translation."""
        if _is_english(block):
            return English([Translation(e.text, "original", self.identity) for e in block.examples])
        if not self.covers(block):
            return English([None] * len(block.examples))
        keys = [[key for key, _ in requests] for requests in self.keyed_requests(block)]
        answers = self.store.get_many(dict.fromkeys(key for group in keys for key in group))
        translations: list[Translation | None] = []
        pending_keys: dict[int, str] = {}
        for index, group in enumerate(keys):
            pending_key = next((key for key in group if key not in answers), None)
            if pending_key is not None:
                pending_keys[index] = pending_key
            pieces = [self.read(answers[key]) for key in group if key in answers]
            translations.append(self._joined(block.examples[index].text, pieces))
        return English(translations, pending_keys)

    def keyed_requests(self, block: Block) -> Iterator[list[tuple[str, Request]]]:
        """For each sentence, the requests for its pieces with their keys in the store."""
        needed = self.covers(block) and not _is_english(block)
        for example in block.examples:
            pieces = self.pieces(example.text) if needed else []
            requests = [self.request(block, piece) for piece in pieces]
            yield [(request_key(request), request) for request in requests]

    def keys(self, blocks: Iterable[Block]) -> Iterator[str]:
        """The keys of all requests for these blocks."""
        return (key for key, _ in self._all_requests(blocks))

    def pending_requests(self, blocks: Iterable[Block]) -> dict[str, Request]:
        """The requests that have no answer in the store, by key; equal sentences are one."""
        requests = dict(self._all_requests(blocks))
        known_keys = self.store.known(requests)
        return {key: request for key, request in requests.items() if key not in known_keys}

    def _all_requests(self, blocks: Iterable[Block]) -> Iterator[tuple[str, Request]]:
        for block in blocks:
            for requests in self.keyed_requests(block):
                yield from requests

    def _joined(self, text: str, pieces: list[TranslatedText | None]) -> Translation | None:
        """The translation of a sentence by those of its pieces; ``None`` if one is missing."""
        present = [piece for piece in pieces if piece is not None]
        if not pieces or len(present) < len(pieces):
            return None
        english = " ".join(piece.text for piece in present)
        flags = flags_of(text, english, truncated=any(piece.truncated for piece in present))
        return Translation(english, self.source, self.identity, flags)


def _is_english(block: Block) -> bool:
    """Whether the sentences need no translation."""
    return block.dataset.nllb_code(block.language) == ENGLISH
