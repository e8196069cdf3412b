"""Normalised texts: token boundaries, occurrences, and offsets carried over from the original."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring.positions import Positions, is_boundary, normalise

# Text with "|" at every boundary inside it.
BOUNDARIES = [
    "Ada| |met| |Bo",
    "Nigeria|'|s",
    "d|’|Ivoire",
    "ng|'|ombe",
    "Hausaʼwa",  # a modifier letter is a letter
    "Addis|-|Abeba",
    "Covid19",
    "3|.|5",
    "snake_case",
    "ẹ\u0301kọ\u0301",  # no composed form exists: the marks belong to their letters
    "a| \u0301b",  # even a mark after a space
    "北|京|大|学",
    "在|Paris|的",
    "2012|年",
    "カ|タ|カ|ナ",
    "か\u3099|き",
    "ส|วั|ส|ดี",
    "ລ|າ|ວ",
    "မြ|န်|မာ",
    "ភា|សា",
    "서울에서",
    "می\u200cخواهم",
]


@pytest.mark.parametrize("marked", BOUNDARIES)
def test_boundaries(marked: str) -> None:
    parts = marked.split("|")
    text = "".join(parts)
    expected = {sum(map(len, parts[:index])) for index in range(len(parts) + 1)}
    assert {p for p in range(len(text) + 1) if is_boundary(text, p)} == expected


def test_occurrences_are_disjoint_and_at_boundaries() -> None:
    text = "a b a b a bab a"
    assert list(Positions(text).occurrences("a b a")) == [(0, 5)]
    assert list(Positions(text).occurrences("a")) == [(0, 1), (4, 5), (8, 9), (14, 15)]
    assert list(Positions(text).occurrences("")) == []
    assert list(Positions("").occurrences("a")) == []


@pytest.mark.parametrize(
    ("surface", "expected"),
    [
        (" Kano ", "Kano"),
        ("New  York", "New  York"),
        ("e\u0301", "é"),
        ("北京 大学", "北京大学"),
        ("北京\u3000大学 ", "北京大学"),
        ("卡尔 · 马克思", "卡尔·马克思"),
        ("《 红楼梦 》", "《红楼梦》"),
        ("北京 Paris 大学", "北京 Paris 大学"),
        ("서울 시", "서울 시"),
        ("กรุง เทพ", "กรุง เทพ"),  # in Thai a space parts phrases
    ],
)
def test_normalisation_of_surfaces(surface: str, expected: str) -> None:
    assert normalise(surface) == expected
    assert normalise(expected) == expected


@pytest.mark.parametrize(
    ("text", "start", "end", "found"),
    [
        ("O\u0323ba n\u0300i\u0301 Ẹ\u0300kọ\u0301", 0, 4, "Ọba"),
        ("O\u0323ba n\u0300i\u0301 Kano", 10, 14, "Kano"),
        ("e\u0301a", 0, 1, "é"),  # an end inside a composed character moves outward
        ("e\u0301a", 1, 3, "éa"),  # and so does a start
        ("e\u0301a", 2, 3, "a"),
        ("\u1112\u1161\u11ab \u1100", 0, 1, "한"),
        ("在 北京 大学 的", 2, 7, "北京大学"),
        ("在 北京 大学 的", 1, 8, "北京大学"),  # outer white space is no part of a span
        ("在 北京 Paris 大学", 5, 10, "Paris"),
        ("plain text", 6, 10, "text"),
    ],
)
def test_offsets_carried_over(text: str, start: int, end: int, found: str) -> None:
    positions = Positions(text)
    at, to = positions.of((start, end))
    assert positions.text[at:to] == found


_ALPHABET = st.sampled_from(
    "ea bo. éẹệộ\u0301\u0323\u0302\u0344\u1100\u1161\u11a8가각中文·\u3000か\u3099"
    "\u09c7\u09be\u0958\u212bx"
)


def _units(text: str) -> list[str]:
    """A text cut before every character that cannot join the one before it.

    Characters that can are combining marks and the later letters of a Hangul syllable; all
    others keep to themselves under normalisation.
    """
    units: list[str] = []
    for character in text:
        joins = unicodedata.category(character)[0] == "M" or "\u1160" <= character <= "\u11ff"
        if joins and units:
            units[-1] += character
        else:
            units.append(character)
    return units


def _outward(text: str, offset: int, *, end: bool) -> int:
    """Oracle: an offset in the composed text, found unit by unit."""
    before = 0
    for unit in _units(text):
        if offset >= len(unit):
            offset -= len(unit)
            before += len(unicodedata.normalize("NFC", unit))
            continue
        whole = unicodedata.normalize("NFC", unit)
        splits = []
        for cut in range(len(unit) + 1):
            left, right = unit[:cut], unit[cut:]
            left, right = (unicodedata.normalize("NFC", part) for part in (left, right))
            if left + right == whole:
                splits.append((cut, len(left)))
        if end:
            return before + next(at for cut, at in splits if cut >= offset)
        return before + next(at for cut, at in reversed(splits) if cut <= offset)
    return before


@given(st.text(_ALPHABET, max_size=12), st.data())
def test_offsets_agree_with_an_oracle(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    positions = Positions(text)
    at, to = positions.of((start, end))
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    composed = unicodedata.normalize("NFC", text)
    assert "".join(unicodedata.normalize("NFC", unit) for unit in _units(text)) == composed
    wanted = composed[_outward(text, start, end=False) : _outward(text, end, end=True)]
    assert positions.text[at:to] == normalise(wanted)
