"""Invented names: words that no table holds, so that a model has to copy and cannot recall."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterable


def _listed(text: str) -> list[str]:
    return text.split()


# Beginnings, middles and ends of syllables; what is listed twice is drawn twice as often.
_ONSETS = _listed("""
    b c d f g h j k l m n p q r s t v w x y z b c d f g h j k l m n p q r s t v w x y z
    bl br ch cl cr dh dl dr dz fl fr gb gh gl gr gw hl kh kl kn kp kr kw lh mb mf mp mw nc nd ng nh
    nj nk nt ny nx nz ph pl pr ps py qh qw rh sc sch sh sk sl sm sn sp st str sv sw th thw tl tr ts
    tsh tw vl wh wr xh zh zw
""")
_VOWELS = _listed("""
    a a a a e e e e i i i i o o o o u u u u
    aa ai au ae ea ee ei eu ia ie io oa oe oi oo ou ua ue ui uo y
""")
_CODAS = _listed("""
    b c ch ck d f g gg h k l ld ll lm ln m mp n n n nd ng nk nn ns nt p q r r rd rk rl rn rs rt s s
    sh sk ss st t th tt tz v w x y z
""")
# Letters outside ASCII that may take the place of a plain one.
_MARKED = {
    "a": "áàâãäåāăąæ",
    "b": "ɓ",
    "c": "çćč",
    "d": "ďđɗð",
    "e": "éèêëēėęěẹ",
    "g": "ğ",
    "i": "íìîïīı",
    "k": "ƙ",
    "l": "ł",
    "n": "ñńňǹ",
    "o": "óòôõöøōőọœ",
    "r": "ř",
    "s": "śšşșṣß",
    "t": "ťțþ",
    "u": "úùûüūůű",
    "y": "ýÿ",
    "z": "źžż",
}
# An accent that stands on no letter.
_STRAY = re.compile("(^|['’-])[\u0300-\u036f]+")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Letters:
    """A chain of letters, each given the last ``order``, learnt from a table of names."""

    def __init__(self, names: Iterable[str], order: int) -> None:
        self._order = order
        self._next: dict[str, list[str]] = {}
        for name in names:
            padded = "^" * order + name.lower() + "$"
            for at in range(order, len(padded)):
                self._next.setdefault(padded[at - order : at], []).append(padded[at])

    def word(self, rng: random.Random) -> str:
        """A word of up to 13 letters, in small letters; it may be empty or end in a space."""
        state, out = "^" * self._order, ""
        while len(out) < 13 and (letter := rng.choice(self._next[state])) != "$":
            out += letter
            state = state[1:] + letter
        return out


def invented_word(rng: random.Random, chains: list[Letters]) -> str:
    """A new word with a capital, of three letters or more.

    It is like the names that the chains learnt, or of syllables, or of any letters; now and then
    it has marked letters, an apostrophe, a hyphen or a second capital.
    """
    draw, word = rng.random(), ""
    if draw < 0.45:
        word = rng.choice(chains).word(rng).strip(" -'|.")
    elif draw < 0.85:
        word = _syllables(rng)
    if len(word) < 3:
        word = "".join(rng.choices(_LETTERS, k=rng.randint(3, 10)))
    return unicodedata.normalize("NFC", _STRAY.sub(r"\1", _decorated(word, rng)))


def _syllables(rng: random.Random) -> str:
    out = "" if rng.random() < 0.2 else rng.choice(_ONSETS)
    for left in range(rng.choice((0, 1, 1, 1, 2, 2, 3)), -1, -1):
        out += rng.choice(_VOWELS)
        if left:
            out += (rng.choice(_CODAS) if rng.random() < 0.2 else "") + rng.choice(_ONSETS)
    return out + (rng.choice(_CODAS) if rng.random() < 0.5 else "")


def _decorated(word: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.13:
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.randrange(len(word))
            if marked := _MARKED.get(word[at]):
                word = word[:at] + rng.choice(marked) + word[at + 1 :]
    word = word[:1].upper() + word[1:]
    if word.startswith("SS"):  # the capital of ß
        word = word[1:]
    if 0.13 <= draw < 0.17 and len(word) > 3:
        at = rng.randrange(1, len(word) - 1)
        word = word[:at] + rng.choice("''’") + word[at:]
    elif draw < 0.19 and len(word) > 4:
        at = rng.randrange(2, len(word) - 1)
        second = word[at:] if rng.random() < 0.3 else word[at].upper() + word[at + 1 :]
        word = word[:at] + "-" + second
    elif draw < 0.21:
        word = rng.choice(("O'", "D'", "Mc", "Mac", "N'", "Ng'", "L'", "Al-", "El-")) + word
    return word
