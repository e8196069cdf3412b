"""The training loop: batches in, one optimiser step each, a report now and then.

A trainer of a kind of model (:mod:`harness.training.causal`, :mod:`harness.training.translator`)
builds the model and the batches, and says what the loss is. Everything follows from the recipe and
the seed: on one machine, with the same number of threads, the weights are the same bit for bit.
"""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from harness.training.recipe import Course
from harness.training.schedule import make_optimizers, set_rates

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer


class SizedBatch(Protocol):
    """A batch that knows its number of tokens, padding not counted."""

    @property
    def size(self) -> int: ...


BatchT = TypeVar("BatchT", bound=SizedBatch)


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """On held-out examples: the mean loss, and the share of answers whose tokens are all right.

    An answer is all right if each of its tokens is the likeliest one after the right tokens
    before it: greedy decoding then gives exactly this answer.
    """

    loss: float
    right: float


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """The state of a training after ``step`` steps.

    ``tokens`` and ``seconds`` count from the start, ``seconds`` in wall time; ``loss`` is the mean
    over the steps since the last report.
    """

    step: int
    tokens: int
    seconds: float
    loss: float
    held_out: HeldOutScore


class Trainer(ABC, Generic[BatchT]):
    """A model in training.

    Attributes:
        model: the transformers model, in float32.
        tokenizer: its tokenizer.
        step: the number of steps so far.
        tokens: the number of tokens so far, padding not counted.
    """

    def __init__(
        self, model: Any, tokenizer: Tokenizer, batches: Iterable[BatchT], course: Course
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.step = self.tokens = 0
        self._batches = batches
        self._course = course
        self._optimizers = make_optimizers(model, course)

    @abstractmethod
    def loss(self, batch: BatchT) -> torch.Tensor:
        """The loss of a batch, a scalar with its gradient."""

    @abstractmethod
    def evaluate(self) -> HeldOutScore:
        """The score on the held-out examples."""

    @abstractmethod
    def generation_settings(self) -> Mapping[str, Any]:
        """The arguments of the ``GenerationConfig`` that is saved with the model."""

    @abstractmethod
    def tokenizer_settings(self) -> Mapping[str, Any]:
        """The arguments of the saved ``PreTrainedTokenizerFast``: its special tokens."""

    @property
    def done(self) -> float:
        """The share of the training that is done, from 0 to 1."""
        return min(self.tokens / self._course.tokens, 1.0)

    def run(self, *, report: Callable[[TrainingReport], None] = lambda report: None) -> None:
        """Train to the end; ``report`` is called every ``check_every`` steps and at the end."""
        start, steps, loss = time.monotonic(), 0, 0.0
        self.model.train()
        for batch in self._batches:
            loss += self._train_on(batch)
            steps += 1
            finished = self.tokens >= self._course.tokens
            if finished or self.step % self._course.check_every == 0:
                score = self.evaluate()
                seconds = time.monotonic() - start
                report(TrainingReport(self.step, self.tokens, seconds, loss / steps, score))
                steps, loss = 0, 0.0
            if finished:
                return

    def _train_on(self, batch: BatchT) -> float:
        """Make one step of the optimisers, and return the loss before it."""
        import torch

        set_rates(self._optimizers, self._course, self.done)
        loss: Any = self.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._course.clip)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += batch.size
        return float(loss.item())

    def save(self, folder: Path) -> None:
        """Write a folder of the hub's layout, in float16, with its CTranslate2 form."""
        import torch
        import transformers
        from ctranslate2.converters import TransformersConverter

        classes: Any = transformers
        folder.mkdir(parents=True, exist_ok=True)
        config = self.model.config
        model = copy.deepcopy(self.model).to(torch.float16)
        model.generation_config = classes.GenerationConfig(
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            **self.generation_settings(),
        )
        model.save_pretrained(folder)
        classes.PreTrainedTokenizerFast(
            tokenizer_object=self.tokenizer,
            clean_up_tokenization_spaces=False,
            model_max_length=config.max_position_embeddings,
            **self.tokenizer_settings(),
        ).save_pretrained(folder)
        converter = TransformersConverter(str(folder))
        converter.convert(str(folder / "ctranslate2"), quantization="float16", force=True)
        for file in folder.rglob("*"):
            if file.is_file():
                file.chmod(0o644)  # safetensors writes files that only their owner can read
