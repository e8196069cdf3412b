"""Annotated examples for a prompt (few-shot), never with a sentence that is evaluated.

The examples come from another split of the same dataset and language. Corpora repeat sentences
across splits. So a sentence is shown only if its text is not in the *whole* evaluated split, and
if its English, where the prompt shows it, is not among the English of that split. No text is shown
twice. Texts are compared without case, canonical form and white space (:func:`normalized`).

``random`` shows the same examples for every sentence of a language. They are drawn in the order of
a hash of seed, dataset, language and text, which is the same in every Python version. The first two
of three examples are those drawn for two, and adding a candidate does not reorder the others.

``nearest`` shows the most similar examples, the most similar last. The similarity is the cosine
of the counts of character trigrams, hashed by CRC-32 into 4096 dimensions. Trigrams are taken
from the first 4000 characters of the normalized text, with a space at either end. Of equally
similar candidates the earlier in the file is preferred. All products are whole numbers that
float32 represents exactly, so every machine selects the same examples.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.errors import DataError, UnknownNameError, UsageError, unknown_name_message
from harness.records import Annotation, Example

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

METHODS = ("random", "nearest")

_DIMENSIONS = 4096
# 4001 trigrams at most: a product of two such vectors is under 2 ** 24.
_CHARACTERS = 4000
_CHUNK = 256
ENGLISH_PARTS = ("eng_text", "eng_gold")


def normalized(text: str) -> str:
    """A text without differences of case, canonical form and white space, for comparison.

    Source of the case folding: The Unicode Standard, section 3.13.5, definition D145.
    """
    folded = unicodedata.normalize("NFD", text).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


class ShotSelection:
    """The examples that the prompts of one block show.

    Args:
        candidates: the annotated examples to choose from. Those that must not be shown (see
            the module) are left out. Their tokens are not kept in memory.
        test: the whole evaluated split of the language.
        count: the number of examples in a prompt.
        by: ``random`` or ``nearest``.
        seed: the seed of ``random``; ``nearest`` ignores it.
        prompted: the sentences of ``test`` that prompts are made for; all of them by default.

    Attributes:
        sha256: the hash of the settings, of the candidates that may be shown and, with
            ``random``, of the examples that are shown.

    Raises:
        UnknownNameError: ``by`` is not one of :data:`METHODS`.
        DataError: fewer than ``count`` candidates may be shown; the message has the numbers.
    """

    def __init__(
        self,
        candidates: Sequence[Example],
        test: Sequence[Example],
        *,
        count: int,
        by: str = "random",
        seed: int = 0,
        prompted: Sequence[Example] | None = None,
    ) -> None:
        if by not in METHODS:
            raise UnknownNameError(unknown_name_message("shots_by", by, METHODS))
        self.count = count
        self._pool = _eligible(candidates, test, count)
        self._prompted = dict.fromkeys(e.text for e in (test if prompted is None else prompted))
        self._fixed: tuple[Example, ...] | None = None
        self._nearest: dict[str, tuple[Example, ...]] = {}
        setting: dict[str, Any] = {"count": count, "by": by}
        pool = [_content(example) for example in self._pool]
        if by == "random":
            where = f"{test[0].dataset}/{test[0].language}"
            drawn = sorted(
                self._pool, key=lambda e: _sha256(f"{seed}/{where}/{normalized(e.text)}")
            )
            self._fixed, self._pool = tuple(drawn[:count]), []
            setting |= {"seed": seed, "shots": [_content(example) for example in self._fixed]}
        else:
            setting["similarity"] = f"cosine/char3/crc32%{_DIMENSIONS}/{_CHARACTERS}"
        self.sha256 = _sha256(json.dumps([setting, pool], separators=(",", ":")))

    def shown_for(self, example: Example) -> tuple[Example, ...]:
        """The examples in the prompt of one sentence, in the order of the prompt.

        Raises:
            UsageError: the sentence is not among ``prompted``, so it could be one of the examples.
        """
        if example.text not in self._prompted:
            raise UsageError(f"Sentence {example.id} is none of those that shots were chosen for.")
        if self._fixed is not None:
            return self._fixed
        if not self._nearest:
            # One matrix product for all sentences; the other candidates are then freed.
            texts = list(self._prompted)
            rows = _nearest(texts, [e.text for e in self._pool], self.count)
            for text, row in zip(texts, rows, strict=True):
                self._nearest[text] = tuple(self._pool[i] for i in reversed(row))
            self._pool = []
        return self._nearest[example.text]


def _eligible(candidates: Sequence[Example], test: Sequence[Example], count: int) -> list[Example]:
    """The candidates that may be shown, in their order, without tokens.

    Raises:
        DataError: there are fewer than ``count``.
    """
    evaluated = {normalized(e.text) for e in test} | {
        normalized(e.english) for e in test if e.english
    }
    eligible: dict[str, Example] = {}
    leaking = 0
    for example in candidates:
        text = normalized(example.text)
        if text in evaluated or (example.english and normalized(example.english) in evaluated):
            leaking += 1
        elif text:
            eligible.setdefault(text, replace(example, tokens=()))
    if len(eligible) < count:
        first = candidates[0] if candidates else test[0]
        raise DataError(
            f"{first.dataset}/{first.language}: shots = {count}, and the split '{first.split}' has "
            f"{len(eligible)} to show: of its {len(candidates)} sentences that the strategy can "
            f"show {leaking} are among the evaluated ones, and "
            f"{len(candidates) - leaking - len(eligible)} repeat another. "
            f"Show fewer, or take them from another split."
        )
    return list(eligible.values())


def _content(example: Example) -> list[Any]:
    """The content of an example as JSON values, for the hash."""
    english = example.english_gold
    return [
        example.id,
        example.text,
        _plain(example.gold),
        example.english,
        None if english is None else _plain(english),
    ]


def _plain(annotations: Sequence[Annotation]) -> list[Any]:
    return [[a.type, sorted(a.fields.items()), a.offsets] for a in annotations]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _nearest(texts: Sequence[str], pool: Sequence[str], count: int) -> list[list[int]]:
    """For each text the indices of the ``count`` most similar in the pool, most similar first.

    Time: a matrix product of texts × dimensions × pool. Memory: 16 kB for each of the pool.
    """
    import numpy as np

    candidates = _vectors(pool)
    squares = np.einsum("ij,ij->i", candidates, candidates).astype(np.float64)
    rankings: list[list[int]] = []
    for start in range(0, len(texts), _CHUNK):
        products = (_vectors(texts[start : start + _CHUNK]) @ candidates.T).astype(np.float64)
        # The squared cosine times the squared length of the text, which ranks the same.
        scores = products * products / squares
        thresholds = np.partition(scores, len(pool) - count, axis=1)[:, len(pool) - count]
        for row, threshold in zip(scores, thresholds, strict=True):
            contenders = np.flatnonzero(row >= threshold)
            best = contenders[np.argsort(-row[contenders], kind="stable")]
            rankings.append([int(i) for i in best[:count]])
    return rankings


def _vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    """The counts of hashed character trigrams, of shape ``(len(texts), 4096)``."""
    import numpy as np

    vectors = np.zeros((len(texts), _DIMENSIONS), np.float32)
    dimensions: dict[str, int] = {}
    for row, text in enumerate(texts):
        spaced = f" {normalized(text)[:_CHARACTERS]} "
        counted = []
        for start in range(len(spaced) - 2):
            trigram = spaced[start : start + 3]
            dimension = dimensions.get(trigram)
            if dimension is None:
                dimension = zlib.crc32(trigram.encode("utf-8", "surrogatepass")) % _DIMENSIONS
                dimensions[trigram] = dimension
            counted.append(dimension)
        vectors[row] = np.bincount(counted, minlength=_DIMENSIONS)
    return vectors
