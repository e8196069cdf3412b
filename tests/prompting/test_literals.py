"""Literals and statements, held against black itself."""

from __future__ import annotations

import ast

import black
import pytest
from black.strings import str_width
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.prompting.literals import _is_wide, assignment, literal

MODE = black.Mode()

ANY_TEXT = st.text(st.characters())  # any code point, lone surrogates included
QUOTES = st.text(st.sampled_from("'\"\\ab{}%\n"), max_size=30)
# Texts whose statement is about as wide as black's 88 columns.
ASCII_EDGE = st.text(st.sampled_from("abc '"), min_size=70, max_size=86)
CJK_EDGE = st.text(st.sampled_from("日本語かなハン！"), min_size=34, max_size=44)
MIXED_EDGE = st.text(
    st.sampled_from("aẹ\u0301\u0323日本\ufe0f👍🏽가ﾊ䷀☰\u200b'\"\\"), min_size=30, max_size=84
)
HOSTILE = st.lists(
    st.sampled_from(
        [
            "result =",
            "result = []\n",
            "final_result =",
            '"""',
            "'''",
            "\\",
            '\\"',
            "\\'",
            "{{ guidelines }}",
            "{% set answers = [] %}",
            "{#",
            "\n",
            "\r\n",
            "\x0c",
            "\u2028",
            "# fmt: off",
            "# type: ignore",
            "\\N{BULLET}",
            "\\U0001F600",
            " ",
            "日",
        ]
    ),
    max_size=12,
).map("".join)

TEXTS = st.one_of(ANY_TEXT, QUOTES, ASCII_EDGE, CJK_EDGE, MIXED_EDGE, HOSTILE)


@given(text=TEXTS, name=st.sampled_from(["text", "eng_text"]))
@example(text="", name="text")
@example(text="\ud800 lone surrogate", name="text")
@settings(max_examples=1200)
def test_assignment_is_what_black_makes_of_the_repr(text: str, name: str) -> None:
    assert assignment(name, text) + "\n" == black.format_str(f"{name} = {text!r}\n", mode=MODE)


@given(text=TEXTS)
@settings(max_examples=500)
def test_literal_evaluates_to_the_text_on_one_line(text: str) -> None:
    source = literal(text)
    assert ast.literal_eval(source) == text
    assert len(source.splitlines()) == 1
    assert source.isprintable()


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("", '""'),
        ("Kano", '"Kano"'),
        ("N'Djamena", '"N\'Djamena"'),
        ('said "no"', "'said \"no\"'"),
        ('it\'s "no"', "'it\\'s \"no\"'"),
        ("'it's' \"no\"", '"\'it\'s\' \\"no\\""'),
        ("a\\b", '"a\\\\b"'),
        ("a\nb\tc", '"a\\nb\\tc"'),
        ("a\u200bb\xa0c\xadd", '"a\\u200bb\\xa0c\\xadd"'),
        ("ẹ̀kọ́", '"ẹ̀kọ́"'),
        ("\ud800", '"\\ud800"'),
    ],
)
def test_literal_table(text: str, source: str) -> None:
    assert literal(text) == source


@pytest.mark.parametrize(
    ("name", "character", "wrapped"),
    [
        ("text", "x", range(80, 83)),
        ("eng_text", "x", range(76, 83)),
        ("text", "日", range(40, 42)),
        ("eng_text", "日", range(38, 42)),
        ("text", "Ａ", range(40, 42)),  # fullwidth
        ("text", "ﾊ", range(80, 83)),  # halfwidth
        ("text", "\u0301", range(80, 83)),  # a combining mark takes a column in black 26
        ("text", "'", range(80, 83)),
    ],
)
def test_the_lengths_at_which_a_statement_wraps(name: str, character: str, wrapped: range) -> None:
    for length in range(1, 100):
        statement = assignment(name, character * length)
        value = literal(character * length)
        expected = f"{name} = (\n    {value}\n)" if length in wrapped else f"{name} = {value}"
        assert statement == expected


def test_the_width_of_every_printable_character_is_that_of_black() -> None:
    different = [
        hex(code)
        for code in range(0x110000)
        if chr(code).isprintable() and 1 + _is_wide(chr(code)) != str_width(chr(code))
    ]
    assert different == []
