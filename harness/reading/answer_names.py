"""The names of the answers, in every spelling that models use."""

from __future__ import annotations

import re
from collections.abc import Sequence


def answer_pattern(answers: Sequence[str]) -> str:
    """A regular expression for the names of the answers; longer names come first.

    It ignores case, takes a space or a hyphen for ``_``, and takes the plural: ``Final results``.
    """
    names = "|".join(
        "[ _-]?".join(map(re.escape, name.split("_"))) + "s?"
        for name in sorted(answers, key=len, reverse=True)
    )
    return rf"(?ai:{names})"


def match_answer(spelling: str, answers: Sequence[str]) -> str | None:
    """The answer with this name in any spelling, or ``None``."""
    if spelling in answers:
        return spelling
    plain = _plain(spelling)
    candidates = (plain, plain.removesuffix("s"))
    return next((name for name in answers if _plain(name) in candidates), None)


def _plain(name: str) -> str:
    return name.casefold().replace("_", "").replace(" ", "").replace("-", "")
