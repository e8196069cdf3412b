"""The engine behind ``source = "nllb"``: CTranslate2, fed by batches of similar length.

Source tokens are ``[code] tokens </s>`` and the translation begins with ``[eng_Latn]``, as NLLB
was trained; greedy and beam search in float32 then give what transformers gives.
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

# Scores of a batch (sentences × beams × vocabulary, four bytes each) take at most so much, by
# device: what is translated at once is bounded by NLLB's large vocabulary before it is by tokens.
_SCORES_BYTES = {"cpu": 512 * 2**20, "cuda": 2 * 2**30}
#: So many times `beam` finished translations end a search. transformers goes on until none that
#: is still growing can be better, which is later than CTranslate2's own rule of one time; at three
#: nearly all searches end with the same translation (199 of 200 instead of 150).
PATIENCE = 3
# Batches that each device has waiting, so that none idles while results are stored.
_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Translated:
    """One translation. ``read`` and ``written`` count tokens, language codes included.

    ``truncated`` says that the sentence or its translation met the length limit; ``seconds`` is
    its share of the time since the batch before.
    """

    text: str
    read: int
    written: int
    truncated: bool
    seconds: float


class Engine:
    """An NLLB model, loaded and checked.

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
        # What looks like a special token in a corpus is text.
        self._tokenizer.encode_special_tokens = True
        device = pick_device(entry.device)
        model = CTranslate2Model(checkpoint, "seq2seq", device, compute_type)
        rows = _vocabulary(model.folder, checkpoint.name)
        check_codes(checkpoint.name, codes, rows=rows, id_of=self._tokenizer.token_to_id)
        scores = _SCORES_BYTES[device.partition(":")[0]]
        self._rows = max(1, scores // (4 * entry.beam * len(rows)))
        model.require(
            advice="Take a smaller model of the family, or translate on a larger machine."
        )
        self._translator = model.open()
        self._devices = len(model.device_indices)

    def translate(self, sentences: Sequence[tuple[str, str]]) -> Iterator[tuple[int, Translated]]:
        """Translate ``(code, text)`` pairs; yields positions and results, batch by batch.

        The longest come first: what does not fit into memory shows at once.
        """
        sources = [self._source(code, text) for code, text in sentences]
        order = sorted(range(len(sources)), key=lambda i: -len(sources[i][0]))
        waiting: deque[tuple[list[int], list[Any]]] = deque()
        self._since = time.perf_counter()
        for batch in self._batches(order, [len(tokens) for tokens, _ in sources]):
            waiting.append((batch, self._start([sources[i][0] for i in batch])))
            if len(waiting) >= _AHEAD * self._devices:
                yield from self._finished(*waiting.popleft(), sources)
        while waiting:
            yield from self._finished(*waiting.popleft(), sources)

    def _source(self, code: str, text: str) -> tuple[list[str], bool]:
        """The source tokens, and whether they were cut."""
        room = self._entry.max_length - 2
        tokens = self._tokenizer.encode(text, add_special_tokens=False).tokens
        return [code, *tokens[:room], END], len(tokens) > room

    def _batches(self, order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
        """Runs of ``order`` (longest first) within the limits of tokens and of rows."""
        batch: list[int] = []
        for index in order:
            rows = min(self._rows, self._entry.batch_tokens // lengths[batch[0]]) if batch else 1
            if len(batch) >= rows and batch:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _start(self, batch: Sequence[Sequence[str]]) -> list[Any]:
        """Hand a batch to the engine; gives one future a sentence."""
        futures: list[Any] = self._translator.translate_batch(
            batch,
            target_prefix=[[ENGLISH]] * len(batch),
            beam_size=self._entry.beam,
            patience=PATIENCE if self._entry.beam > 1 else 1,
            # Sources are cut above, where it is seen. transformers counts the token that the
            # decoder starts from, CTranslate2 does not.
            max_input_length=0,
            max_decoding_length=self._entry.max_length - 1,
            asynchronous=True,
        )
        return futures

    def _finished(
        self,
        batch: Sequence[int],
        futures: Sequence[Any],
        sources: Sequence[tuple[list[str], bool]],
    ) -> Iterator[tuple[int, Translated]]:
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
            # Halves, and for all batches after this one too.
            self._rows = half = -(-len(batch) // 2)
            for part in (batch[:half], batch[half:]):
                pending = self._start([sources[i][0] for i in part])
                yield from self._finished(part, pending, sources)
            return
        now = time.perf_counter()
        seconds, self._since = (now - self._since) / len(batch), now
        for index, result in zip(batch, results, strict=True):
            tokens, cut = sources[index]
            written = result.hypotheses[0]
            whole = len(written) < self._entry.max_length - 1
            text = self._decode(written)
            yield index, Translated(text, len(tokens), len(written), cut or not whole, seconds)

    def _decode(self, tokens: Sequence[str]) -> str:
        # The rows that pad the vocabulary have no token of the tokenizer's.
        ids = [i for token in tokens if (i := self._tokenizer.token_to_id(token)) is not None]
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)).strip()


def _vocabulary(folder: Path, name: str) -> list[str]:
    """The tokens of a converted model, by row."""
    file = folder / "shared_vocabulary.json"
    try:
        rows = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{name}: {file} cannot be read ({error}). A converted NLLB folder has it; convert "
            f"the model again."
        ) from None
    return [str(token) for token in rows]
