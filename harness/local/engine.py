"""What an engine is: the protocol between a local backend and a loaded model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

#: Called with (row, token id) for each token of an answer; says whether that row is finished.
StopCondition = Callable[[int, int], bool]


class OutOfMemory(Exception):
    """A batch did not fit the memory; a smaller one may."""


@dataclass(frozen=True, slots=True)
class GeneratedTokens:
    """The tokens of one answer, without the end-of-sequence token, and why they end.

    ``finish_reason`` is ``stop`` after an end-of-sequence token or by the stop condition, and
    ``length`` after ``max_tokens``.
    """

    tokens: list[int]
    finish_reason: Literal["stop", "length"]


class Engine(Protocol):
    """A loaded model. A prompt is a prefix, which a batch shares, and a tail of its own."""

    def generate(
        self,
        prefix: Sequence[int],
        tails: Sequence[Sequence[int]],
        max_tokens: int,
        stop_condition: StopCondition,
    ) -> list[GeneratedTokens]:
        """Decode one batch greedily; returns one result a tail, in order.

        Args:
            prefix: the token ids that every prompt begins with; may be empty.
            tails: the remaining token ids of each prompt, at least one.
            max_tokens: the most tokens of each answer.
            stop_condition: called with every token in the order of its row, but not with
                end-of-sequence tokens, which finish a row by themselves.

        Raises:
            OutOfMemory: the batch is too large. The engine can be used again.
        """
        ...

    def max_batch_size(self, prefix: int, tail: int, max_tokens: int) -> int:
        """How many prompts fit one batch; less than one counts as one.

        Args:
            prefix: the tokens of the shared prefix.
            tail: the tokens of the longest tail.
            max_tokens: the most tokens of each answer.
        """
        ...
