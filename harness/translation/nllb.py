"""NLLB on this machine: the requests that identify a translation, and the making of new ones."""

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
from harness.translation.nllb_engine import PATIENCE, NllbEngine
from harness.translation.settings import NllbEntry
from harness.translation.splitting import split_sentences
from harness.translation.stored import StoredTranslator, TranslatedText

# Another major version of the engine may translate differently, so it is part of the key.
_ENGINE = {"name": "ctranslate2", "version": 4, "patience": PATIENCE}


class NllbTranslator(StoredTranslator):
    """``source = "nllb"``. A look-up needs the model's hashes; :meth:`make` loads the model.

    Raises:
        CheckpointError: there is no such model, a file of it is missing, or the hub cannot be
            reached, and the store does not tell the model's hashes either.
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
        """The hashes of weights and tokenizer.

        Without the model, as on a machine that was given the answers only, they are read from
        the store, if all its translations by a model of this name have the same hashes.
        """
        entry = self.entry
        try:
            checkpoint = find_checkpoint(entry.model, entry.revision, weights=False)
        except CheckpointError:
            known = {
                (str(request.get("weights")), str(request.get("tokenizer")))
                for request, response in self.store.answered_requests(
                    entry.model, kind="translation"
                )
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
        """The whole line, or its sentences with ``split_sentences``."""
        return split_sentences(text) if self.entry.split_sentences else super().pieces(text)

    def request(self, block: Block, text: str) -> Request:
        """The text, its language, and everything that the translation depends on."""
        source = block.dataset.nllb_code(block.language)
        return Request("nllb", identity={**self._engine_identity, "source": source, "text": text})

    def read(self, answer: Answer) -> TranslatedText:
        """The translation in a stored answer."""
        stored = json.loads(answer.response)
        return TranslatedText(stored["text"], stored["truncated"])

    def make(self, requests: Mapping[str, Request], on_progress: Callable[[int], None]) -> None:
        """Translate, batch by batch, and store each translation.

        Args:
            requests: by key, as :meth:`pending_requests` gives them.
            on_progress: called with the number of translations stored so far, after each.

        Raises:
            CheckpointError: the model cannot be loaded, does not know a language, or does not
                fit into memory. What was translated is stored.
            StoreError: a translation could not be stored.
        """
        self.store.prepare()
        checkpoint = find_checkpoint(self.entry.model, self.entry.revision)
        codes = sorted({str(request.identity["source"]) for request in requests.values()})
        engine = NllbEngine(checkpoint, self.entry, self.compute_type, codes)
        keys = list(requests)
        texts = [
            (str(request.identity["source"]), str(request.identity["text"]))
            for request in requests.values()
        ]
        for count, (index, translation) in enumerate(engine.translate(texts), 1):
            response = {
                "model": self.entry.model,
                "revision": checkpoint.revision,
                "text": translation.text,
                "truncated": translation.truncated,
                "usage": {
                    "source_tokens": translation.source_tokens,
                    "target_tokens": translation.target_tokens,
                },
            }
            answer = Answer(json.dumps(response, ensure_ascii=False), translation.seconds, 0)
            self.store.put(keys[index], requests[keys[index]], answer, kind="translation")
            on_progress(count)


def _compute_type(entry: NllbEntry) -> str:
    """The type that the engine computes in. ``auto`` is float32 on a CPU, float16 on a GPU.

    A GPU that the entry names need not exist: stored translations can be read without one.
    """
    if entry.compute_type != "auto":
        return entry.compute_type
    device = pick_device("auto") if entry.device == "auto" else entry.device
    return "float32" if device == "cpu" else "float16"
