"""Annotated examples for a prompt (few-shot), never with a sentence that is evaluated.

The examples come from another split of the same dataset and language. Corpora repeat sentences
over their splits, so a sentence is shown only if its text is not among those of the *whole*
evaluated split (nor its English among their English, where it is shown), and no text is shown
twice; texts are compared in any case, canonical form and white space (:func:`caseless`).

``random`` shows the same examples for every sentence of a language. They are drawn in the order of
a hash of seed, dataset, language and text, which no Python version changes: two of them are the
first two of three, and a candidate that comes or goes moves no other.

``nearest`` shows the most similar ones, the most similar last. The similarity is the cosine of
the counts of character trigrams, in the folded text with a space at either end, hashed by CRC-32
into 4096 dimensions; the first 4000 characters count. Of equals the earlier in the file is the
more similar. All products are whole numbers that float32 holds exactly, so that every machine
comes to the same examples.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.errors import DataError, UnknownNameError, UsageError, unknown
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


def caseless(text: str) -> str:
    """What makes two sentences the same: canonical caseless text, runs of white space as one space.

    Source of the folding: The Unicode Standard, section 3.13.5, definition D145.
    """
    caseless = unicodedata.normalize("NFD", text).casefold()
    return " ".join(unicodedata.normalize("NFC", caseless).split())


class ShotSelection:
    """The examples that the prompts of one block show.

    Args:
        candidates: the annotated examples to choose from. Those that are not to be shown (see
            the module) are left out here, and what prompts do not show is not kept in memory.
        test: the whole evaluated split of the language.
        count: how many a prompt shows.
        by: ``random`` or ``nearest``.
        seed: of ``random``; ``nearest`` does without.
        asked: the sentences of ``test`` that prompts are made for; all of them, if not given.

    Attributes:
        sha256: the hash of the setting, the candidates that may be shown and, under ``random``,
            those that are.

    Raises:
        UnknownNameError: an unknown ``by``.
        DataError: fewer candidates than ``count``, with the numbers.
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
            raise UnknownNameError(unknown("shots_by", by, METHODS))
        self.count = count
        self._pool = _eligible(candidates, test, count)
        self._prompted = dict.fromkeys(e.text for e in (test if prompted is None else prompted))
        self._fixed: tuple[Example, ...] | None = None
        self._near: dict[str, tuple[Example, ...]] = {}
        setting: dict[str, Any] = {"count": count, "by": by}
        pool = [_content(example) for example in self._pool]
        if by == "random":
            where = f"{test[0].dataset}/{test[0].language}"
            drawn = sorted(self._pool, key=lambda e: _sha256(f"{seed}/{where}/{caseless(e.text)}"))
            self._fixed, self._pool = tuple(drawn[:count]), []
            setting |= {"seed": seed, "shots": [_content(example) for example in self._fixed]}
        else:
            setting["similarity"] = f"cosine/char3/crc32%{_DIMENSIONS}/{_CHARACTERS}"
        self.sha256 = _sha256(json.dumps([setting, pool], separators=(",", ":")))

    def shown_for(self, example: Example) -> tuple[Example, ...]:
        """The examples that the prompt of one sentence shows, in the order shown.

        Raises:
            UsageError: a sentence that the examples were not chosen for, and might be one of them.
        """
        if example.text not in self._prompted:
            raise UsageError(f"Sentence {example.id} is none of those that shots were chosen for.")
        if self._fixed is not None:
            return self._fixed
        if not self._near:
            # All at once, when the first is wanted; then the other candidates can go.
            texts = list(self._prompted)
            rows = _nearest(texts, [e.text for e in self._pool], self.count)
            for text, row in zip(texts, rows, strict=True):
                self._near[text] = tuple(self._pool[i] for i in reversed(row))
            self._pool = []
        return self._near[example.text]


def _eligible(candidates: Sequence[Example], test: Sequence[Example], count: int) -> list[Example]:
    """The candidates that may be shown, in their order, less the tokens that no prompt shows."""
    evaluated = {caseless(e.text) for e in test} | {caseless(e.english) for e in test if e.english}
    kept: dict[str, Example] = {}
    leaking = 0
    for example in candidates:
        text = caseless(example.text)
        if text in evaluated or (example.english and caseless(example.english) in evaluated):
            leaking += 1
        elif text:
            kept.setdefault(text, replace(example, tokens=()))
    if len(kept) < count:
        first = candidates[0] if candidates else test[0]
        raise DataError(
            f"{first.dataset}/{first.language}: shots = {count}, and the split '{first.split}' has "
            f"{len(kept)} to show: of its {len(candidates)} sentences that the strategy can show "
            f"{leaking} are among the evaluated ones, and {len(candidates) - leaking - len(kept)} "
            f"repeat another. Show fewer, or take them from another split."
        )
    return list(kept.values())


def _content(example: Example) -> list[Any]:
    """What an example is, for the hash."""
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
    """For each text the ``count`` most similar of the pool, as indices, the most similar first.

    Time and memory: a matrix product of texts, pool and dimensions; 16 kB for each of the pool.
    """
    import numpy as np

    candidates = _vectors(pool)
    squares = np.einsum("ij,ij->i", candidates, candidates).astype(np.float64)
    found: list[list[int]] = []
    for start in range(0, len(texts), _CHUNK):
        products = (_vectors(texts[start : start + _CHUNK]) @ candidates.T).astype(np.float64)
        # The square of the cosine, but for the text's own length, which all candidates share.
        scores = products * products / squares
        worst = np.partition(scores, len(pool) - count, axis=1)[:, len(pool) - count]
        for row, least in zip(scores, worst, strict=True):
            among = np.flatnonzero(row >= least)
            best = among[np.argsort(-row[among], kind="stable")]
            found.append([int(i) for i in best[:count]])
    return found


def _vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    """The counts of hashed character trigrams, one row a text."""
    import numpy as np

    vectors = np.zeros((len(texts), _DIMENSIONS), np.float32)
    places: dict[str, int] = {}
    for row, text in enumerate(texts):
        spaced = f" {caseless(text)[:_CHARACTERS]} "
        found = []
        for start in range(len(spaced) - 2):
            trigram = spaced[start : start + 3]
            place = places.get(trigram)
            if place is None:
                place = zlib.crc32(trigram.encode("utf-8", "surrogatepass")) % _DIMENSIONS
                places[trigram] = place
            found.append(place)
        vectors[row] = np.bincount(found, minlength=_DIMENSIONS)
    return vectors
