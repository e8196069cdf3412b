"""NLLB on this machine: what identifies a translation, and making those that are not stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import PurePath

from harness.data.block import Block
from harness.errors import CheckpointError
from harness.local.checkpoints import find_checkpoint, pick_device
from harness.records import Answer, Request
from harness.store import Store
from harness.translation.codes import ENGLISH
from harness.translation.engine import PATIENCE, Engine
from harness.translation.settings import NllbEntry
from harness.translation.splitting import split_sentences
from harness.translation.stored import Made, StoredTranslator

# The engine's major version: another one may translate otherwise, and then is asked anew.
_ENGINE = {"name": "ctranslate2", "version": 4, "patience": PATIENCE}


class NllbTranslator(StoredTranslator):
    """``source = "nllb"``. Looking up needs the model's hashes; only making loads it.

    Raises:
        CheckpointError: there is no such model, a file of it is missing, or the hub cannot be
            reached; and the store does not have it either.
    """

    source = "nllb"

    def __init__(self, entry: NllbEntry, store: Store) -> None:
        super().__init__(store)
        self.entry = entry
        self.compute_type = _compute_type(entry)
        self.name = PurePath(entry.model).name
        engine = {"type": self.compute_type, "beam": entry.beam, "max_length": entry.max_length}
        weights, tokenizer = self._hashes()
        self._engine_identity = {
            "engine": _ENGINE | engine,
            "weights": weights,
            "tokenizer": tokenizer,
            "target": ENGLISH,
        }
        self.identity = (
            f"{self.name}@{weights[:8]}+{self.compute_type}"
            f"+b{entry.beam}+l{entry.max_length}{'+split' if entry.split_sentences else ''}"
        )

    def _hashes(self) -> tuple[str, str]:
        """What identifies weights and tokenizer.

        Where the model cannot be had, as on another's machine that was given the answers only,
        the store says it, if all its translations by that name are by one model.
        """
        entry = self.entry
        try:
            checkpoint = find_checkpoint(entry.model, entry.revision, weights=False)
        except CheckpointError:
            known = {
                (str(request.get("weights")), str(request.get("tokenizer")))
                for request, response in self.store.asked_of(entry.model, kind="translation")
                if entry.revision in (None, json.loads(response).get("revision"))
            }
            if len(known) != 1:
                raise
            return known.pop()
        return checkpoint.sha256, checkpoint.tokenizer_sha256

    def covers(self, block: Block) -> bool:
        """Whether NLLB has a code for the language; ``bbj`` and ``pcm`` have none."""
        return block.dataset.nllb_code(block.language) is not None

    def pieces(self, text: str) -> list[str]:
        """The sentence, or the sentences that its line has, where they are to be split."""
        return split_sentences(text) if self.entry.split_sentences else super().pieces(text)

    def request(self, block: Block, text: str) -> Request:
        """The text, its language, and all that the engine's translation of it depends on."""
        source = block.dataset.nllb_code(block.language)
        return Request("nllb", identity={**self._engine_identity, "source": source, "text": text})

    def read(self, answer: Answer) -> Made:
        """A stored translation."""
        stored = json.loads(answer.response)
        return Made(stored["text"], stored["truncated"])

    def make(self, requests: Mapping[str, Request], told: Callable[[int], None]) -> None:
        """Translate and store, a batch at a time; ``told`` is given how many are done.

        Raises:
            CheckpointError: the model cannot be loaded, does not know a language, or does not
                fit into memory. What was translated is stored.
            StoreError: a translation could not be stored.
        """
        self.store.prepare()
        checkpoint = find_checkpoint(self.entry.model, self.entry.revision)
        codes = sorted({str(request.identity["source"]) for request in requests.values()})
        engine = Engine(checkpoint, self.entry, self.compute_type, codes)
        keys = list(requests)
        texts = [
            (str(request.identity["source"]), str(request.identity["text"]))
            for request in requests.values()
        ]
        for done, (index, translated) in enumerate(engine.translate(texts), 1):
            response = {
                "model": self.entry.model,
                "revision": checkpoint.revision,
                "text": translated.text,
                "truncated": translated.truncated,
                "usage": {"source_tokens": translated.read, "target_tokens": translated.written},
            }
            answer = Answer(json.dumps(response, ensure_ascii=False), translated.seconds, 0)
            self.store.put(keys[index], requests[keys[index]], answer, kind="translation")
            told(done)


def _compute_type(entry: NllbEntry) -> str:
    """The type that is computed in: exact unless another is asked for.

    Does not look for the GPU that an entry names: what is stored can be read without one.
    """
    if entry.compute_type != "auto":
        return entry.compute_type
    device = pick_device("auto") if entry.device == "auto" else entry.device
    return "float32" if device == "cpu" else "float16"
