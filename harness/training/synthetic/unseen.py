"""What training must not see: the test split of the demonstration corpus."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from harness.data import load_dataset
from harness.training.synthetic.filling import LANGUAGES, Pattern
from harness.training.synthetic.names import without_marks

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
# isiZulu prefixes before a capital, as a marked name carries them: noPaul, be-Umgeni, UPaul.
_ZULU_PREFIX = re.compile(r"^(?:[a-z]+-?|[A-Z](?=-?[A-Z][a-z]))")


class Unseen:
    """The sentences and names of the test split, of all its languages and their English.

    Its names are what is annotated there, an isiZulu name also without its prefix, and every
    word of a person's name that has a capital. Names are compared without accents.
    """

    def __init__(self, texts: Iterable[str], names: Iterable[str]) -> None:
        self.texts = frozenset(texts)
        self.names = frozenset(map(without_marks, names))
        self._folded = frozenset(name.casefold() for name in self.names)
        self._starting: dict[str, list[re.Pattern[str]]] = {}
        for name in sorted(self.names):
            word = _WORD.search(name)
            whole = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
            self._starting.setdefault(word.group() if word else name, []).append(whole)

    def refuses(self, name: str) -> bool:
        """Whether a name, as tables and drawings have it, is one of the split or holds one."""
        name = without_marks(name.rpartition("|")[2])
        return name.casefold() in self._folded or self._names_in(name)

    def meets(self, text: str, spans: Iterable[str]) -> bool:
        """Whether a sentence is of the split, or names what the split names."""
        return (
            text in self.texts
            or any(without_marks(span).casefold() in self._folded for span in spans)
            or self._names_in(without_marks(text))
        )

    def fits(self, pattern: Pattern) -> bool:
        """Whether a sentence of the split could be made from a pattern."""
        shapes = [
            re.compile(".+".join(map(re.escape, t.words))) for t in pattern.templates.values()
        ]
        return any(shape.fullmatch(text) for shape in shapes for text in self.texts)

    def _names_in(self, text: str) -> bool:
        known = self._starting
        return any(
            whole.search(text)
            for word in _WORD.findall(text)
            if word in known
            for whole in known[word]
        )


@lru_cache(maxsize=1)
def unseen() -> Unseen:
    """The test split as it ships."""
    texts: set[str] = set()
    names: set[str] = set()
    for code in LANGUAGES:
        for example in load_dataset("demo", code, "test", english=True):
            assert example.english is not None
            assert example.english_gold is not None
            texts |= {example.text, example.english}
            for annotation in (*example.gold, *example.english_gold):
                name = annotation.span
                bare = _ZULU_PREFIX.sub("", name) if code == "zul" else name
                names |= {name, bare}
                if annotation.type == "Person":
                    names.update(word for word in _WORD.findall(bare) if word[0].isupper())
    return Unseen(texts, names)
