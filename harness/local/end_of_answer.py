"""When the answers of a batch are complete, seen token by token."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from harness.local.checkpoints import TextTokenizer
from harness.reading.complete import is_complete


class EndOfAnswer:
    """The stop condition of a batch: a row is finished once its last expected list is closed.

    Args:
        tokenizer: of the model that generates.
        list_names: for each row, the names of the lists that its answer is to have, in order.
        abandoned: finishes all rows once it is set.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        list_names: Sequence[Sequence[str]],
        abandoned: threading.Event,
    ) -> None:
        self._tokenizer = tokenizer
        self._list_names = list_names
        self._abandoned = abandoned
        self._tokens: list[list[int]] = [[] for _ in list_names]
        # By token, whether its text has a closing bracket. Few have one, and only after those is
        # the whole answer decoded.
        self._has_bracket: dict[int, bool] = {}

    def __call__(self, row: int, token: int) -> bool:
        """Take the next token of a row; returns whether the row is finished."""
        tokens = self._tokens[row]
        tokens.append(token)
        has_bracket = self._has_bracket.get(token)
        if has_bracket is None:
            has_bracket = self._has_bracket[token] = "]" in self._tokenizer.decode([token])
        if has_bracket and is_complete(self._tokenizer.decode(tokens), self._list_names[row]):
            return True
        return self._abandoned.is_set()
