"""The vocabulary of a converted model: CTranslate2 takes tokens as texts and returns ids."""

from __future__ import annotations

import json
from pathlib import Path

from harness.errors import CheckpointError
from harness.local.checkpoints.tokenizer import TextTokenizer


def read_vocabulary(folder: Path, tokenizer: TextTokenizer) -> list[str]:
    """The tokens of a converted causal model by id, compared with the tokenizer's.

    Raises:
        CheckpointError: the file is damaged, or belongs to another tokenizer.
    """
    path = folder / "vocabulary.json"
    try:
        if path.is_file():
            tokens = json.loads(path.read_bytes())
        else:
            path = folder / "vocabulary.txt"
            tokens = path.read_text("utf-8").split("\n")
        if not isinstance(tokens, list):
            raise TypeError
    except (OSError, ValueError, TypeError):
        raise CheckpointError(
            f"{path}: not the list of tokens of a converted model. Convert it again."
        ) from None
    for token_id, token in enumerate(tokens):
        expected = tokenizer.token(token_id)
        if expected is not None and expected != token:
            raise CheckpointError(
                f"{path}: token {token_id} is {token!r}, but the tokenizer's is {expected!r}. The "
                f"model was converted with another tokenizer: convert it again."
            )
    return tokens
