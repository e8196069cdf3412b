"""The engine of ``source = "nllb"``: CTranslate2 on batches of sentences of similar length.

Source tokens are ``[code] tokens </s>`` and the translation begins with ``[eng_Latn]``, as in
NLLB's training. In float32, greedy and beam search then give the translations of transformers.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CheckpointError
from harness.local.checkpoints import Checkpoint, pick_device, raw_tokenizer
from harness.local.ctranslate2_models import CTranslate2Model, is_out_of_memory
from harness.translation.codes import END, ENGLISH, check_codes
from harness.translation.settings import NllbEntry

# The most bytes that the logits of a batch (sentences × beams × vocabulary, four bytes each) may
# take, by device: NLLB's large vocabulary bounds a batch before its number of tokens does.
_LOGITS_BYTES = {"cpu": 512 * 2**20, "cuda": 2 * 2**30}
#: A beam search ends at `PATIENCE` × `beam` finished translations. transformers ends it later,
#: once no unfinished translation can become better. With CTranslate2's default of 1, 150 of 200
#: searches gave the same translation as transformers, with 3 it is 199.
PATIENCE = 3
# Batches queued for each device, so that none idles while results are stored.
_QUEUED_BATCHES = 2


@dataclass(frozen=True, slots=True)
class EngineTranslation:
    """One translation. The counts of tokens include the language codes.

    ``truncated`` says that the sentence or its translation met the length limit. ``seconds`` is
    the time since the last batch, divided by the sentences of this one.
    """

    text: str
    source_tokens: int
    target_tokens: int
    truncated: bool
    seconds: float


class NllbEngine:
    """A loaded NLLB model whose language codes are checked.

    Raises:
        CheckpointError: the model cannot be loaded, the machine cannot compute in the type asked
            for, or the language codes are not where they belong.
    """

    def __init__(
        self, checkpoint: Checkpoint, entry: NllbEntry, compute_type: str, codes: Sequence[str]
    ) -> None:
        self._name, self._entry = checkpoint.name, entry
        if not checkpoint.converted and not checkpoint.config.get("is_encoder_decoder"):
            raise CheckpointError(
                f"Model '{checkpoint.name}' writes text and does not translate as NLLB does. Give "
                f'an NLLB model, or have it asked with source = "model" and backend = '
                f'"ctranslate2" or "transformers".'
            )
        self._tokenizer = raw_tokenizer(checkpoint)
        # A special token that a corpus spells out is text.
        self._tokenizer.encode_special_tokens = True
        device = pick_device(entry.device)
        model = CTranslate2Model(checkpoint, "seq2seq", device, compute_type)
        vocabulary = _read_vocabulary(model.folder, checkpoint.name)
        check_codes(checkpoint.name, codes, rows=vocabulary, id_of=self._tokenizer.token_to_id)
        logits_bytes = _LOGITS_BYTES[device.partition(":")[0]]
        self._batch_size = max(1, logits_bytes // (4 * entry.beam * len(vocabulary)))
        model.require(
            advice="Take a smaller model of the family, or translate on a larger machine."
        )
        self._translator = model.open()
        self._devices = len(model.device_indices)

    def translate(
        self, sentences: Sequence[tuple[str, str]]
    ) -> Iterator[tuple[int, EngineTranslation]]:
        """Translate ``(code, text)`` pairs; yields their indices and translations by batches.

        The longest come first, so that a sentence too long for the memory fails at once.

        Raises:
            CheckpointError: a sentence alone does not fit into memory, or the engine fails.
        """
        sources = [self._source(code, text) for code, text in sentences]
        order = sorted(range(len(sources)), key=lambda i: -len(sources[i][0]))
        queue: deque[tuple[list[int], list[Any]]] = deque()
        self._last_batch_time = time.perf_counter()
        for batch in self._batches(order, [len(tokens) for tokens, _ in sources]):
            queue.append((batch, self._start([sources[i][0] for i in batch])))
            if len(queue) >= _QUEUED_BATCHES * self._devices:
                yield from self._results(*queue.popleft(), sources)
        while queue:
            yield from self._results(*queue.popleft(), sources)

    def _source(self, code: str, text: str) -> tuple[list[str], bool]:
        """The source tokens, and whether the sentence was truncated."""
        limit = self._entry.max_length - 2
        tokens = self._tokenizer.encode(text, add_special_tokens=False).tokens
        return [code, *tokens[:limit], END], len(tokens) > limit

    def _batches(self, order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
        """Slices of ``order`` (longest first) within the limits of tokens and of sentences."""
        batch: list[int] = []
        for index in order:
            if batch:
                by_tokens = self._entry.batch_tokens // lengths[batch[0]]
                if len(batch) >= min(self._batch_size, by_tokens):
                    yield batch
                    batch = []
            batch.append(index)
        if batch:
            yield batch

    def _start(self, batch: Sequence[Sequence[str]]) -> list[Any]:
        """Queue a batch of source tokens in the engine; returns one future a sentence."""
        futures: list[Any] = self._translator.translate_batch(
            batch,
            target_prefix=[[ENGLISH]] * len(batch),
            beam_size=self._entry.beam,
            patience=PATIENCE if self._entry.beam > 1 else 1,
            # `_source` truncates, and says so. transformers counts the decoder's start token,
            # CTranslate2 does not.
            max_input_length=0,
            max_decoding_length=self._entry.max_length - 1,
            asynchronous=True,
        )
        return futures

    def _results(
        self,
        batch: Sequence[int],
        futures: Sequence[Any],
        sources: Sequence[tuple[list[str], bool]],
    ) -> Iterator[tuple[int, EngineTranslation]]:
        """The translations of a queued batch; one that does not fit is halved and run again."""
        try:
            results = [future.result() for future in futures]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise CheckpointError(f"{self._name}: the translation failed: {error}.") from None
            if len(batch) == 1:
                raise CheckpointError(
                    f"{self._name}: one sentence of {len(sources[batch[0]][0])} tokens does not "
                    f'fit into memory ({error}). Set compute_type = "int8", a smaller `beam`, or '
                    f"take a smaller model. What was translated before is stored."
                ) from None
            # Later batches have this size too.
            self._batch_size = half = -(-len(batch) // 2)
            for part in (batch[:half], batch[half:]):
                yield from self._results(part, self._start([sources[i][0] for i in part]), sources)
            return
        now = time.perf_counter()
        seconds = (now - self._last_batch_time) / len(batch)
        self._last_batch_time = now
        for index, result in zip(batch, results, strict=True):
            source, truncated = sources[index]
            target = result.hypotheses[0]
            truncated = truncated or len(target) >= self._entry.max_length - 1
            text = self._decode(target)
            yield index, EngineTranslation(text, len(source), len(target), truncated, seconds)

    def _decode(self, tokens: Sequence[str]) -> str:
        # The tokenizer does not know the tokens that pad the vocabulary.
        ids = [i for token in tokens if (i := self._tokenizer.token_to_id(token)) is not None]
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)).strip()


def _read_vocabulary(folder: Path, name: str) -> list[str]:
    """The tokens of a converted model, by id."""
    file = folder / "shared_vocabulary.json"
    try:
        rows = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{name}: {file} cannot be read ({error}). A converted NLLB folder has it; convert "
            f"the model again."
        ) from None
    return [str(token) for token in rows]
