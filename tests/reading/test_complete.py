from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.prompting.literals import literal
from harness.reading.complete import is_complete
from harness.reading.reply import parse_reply
from harness.records import Status

_TWO = ("result", "final_result")
_PROSE = "\n\n# The annotation instances that take place in the text above are listed here\n"


@pytest.mark.parametrize(
    ("text", "answers", "closed"),
    [
        (" []", ("result",), True),
        (" []", _TWO, False),
        (" [", ("result",), False),
        ("", ("result",), False),
        (" []", (), False),
        (' [Person(span="Kano")]', ("result",), True),
        (' [\n    Person(span="Kano"),\n]', ("result",), True),
        (' [\n    Person(span="Kano"),\n', ("result",), False),
        (f" []{_PROSE}final_result = []", _TWO, True),
        (f" []{_PROSE}final_result = [", _TWO, False),
        (f" []{_PROSE}final_result =", _TWO, False),
        ("\nresult = []\nfinal_result = []", _TWO, True),
        ("\nfinal_result = []", _TWO, True),
        (" []\nother = []", _TWO, False),
        (" []\nother = []\nfinal_result = []", _TWO, True),
        (" [] []", _TWO, False),
        # brackets, quotes and names in strings and comments
        (' [Person(span="a ] b")', ("result",), False),
        (' [Person(span="a ] b")]', ("result",), True),
        (' [Person(span="a \\" ] b")', ("result",), False),
        (" [Person(span='it\\'s ]')", ("result",), False),
        (" [Person(span='a\"]\"b')]", ("result",), True),
        (' [Person(span="\\\\")]', ("result",), True),
        (" [ # all of them: ]\n", ("result",), False),
        (" [ # all of them: ]\n]", ("result",), True),
        (" # result = []\n", ("result",), False),
        (" # nothing\n []", ("result",), True),
        (' [Person(span="final_result = []")]', _TWO, False),
        # events have lists inside
        (' [Attack(mention="hit", target=["a", "b"], place=[])]', ("result",), True),
        (' [Attack(mention="hit", target=["a", "b"]', ("result",), False),
        (' [Person("Kano"), Age(n=3), X(span=None)]', ("result",), True),
        # what is of another form is left to the model to end
        (" Person(span='Kano')]", ("result",), False),
        (' [Person(span="the "old" town")]', ("result",), False),
        (" The answer is []", ("result",), False),
        ("```python\nresult = []", ("result",), False),
        (" [Person(span=)]", ("result",), False),
    ],
)
def test_by_hand(text: str, answers: tuple[str, ...], closed: bool) -> None:
    assert is_complete(text, answers) is closed


_strings = st.text(
    st.one_of(st.sampled_from("[](){}\"'\\#,=\n\t é中"), st.characters(codec="utf-8")), max_size=12
)
_calls = st.builds(
    lambda name, span: f"{name}(span={literal(span)})", st.sampled_from(("Person", "A1")), _strings
)


@st.composite
def _lists(draw: st.DrawFn) -> str:
    calls = draw(st.lists(_calls, max_size=4))
    if not calls:
        return "[]"
    if draw(st.booleans()):
        return "[" + ", ".join(calls) + "]"
    comment = draw(st.sampled_from(("", '  # a ] " comment')))
    return "[\n" + "".join(f"    {call},{comment}\n" for call in calls) + "]"


@st.composite
def _replies(draw: st.DrawFn) -> tuple[str, tuple[str, ...]]:
    answers = draw(st.sampled_from((("result",), _TWO)))
    text = " " + draw(_lists())
    if len(answers) == 2:
        text += f"{_PROSE}final_result = {draw(_lists())}"
    return text, answers


@given(_replies(), st.text(max_size=30))
def test_a_reply_in_the_format_closes_at_its_last_bracket(
    reply: tuple[str, tuple[str, ...]], more: str
) -> None:
    text, answers = reply
    assert not any(is_complete(text[:end], answers) for end in range(len(text)))
    assert is_complete(text, answers)
    assert is_complete(text + more, answers)


_pieces = st.lists(
    st.one_of(
        st.sampled_from(
            (
                *("[", "]", "(", ")", ",", "=", '"', "'", "\\", "#", "\n", " ", "{", "}", ":"),
                *("result", "final_result", "result =", "\nfinal_result = ", "Person(span=", "```"),
                *('"Kano"', 'Person(span="Kano")', "None", "1", "# x\n", '"""', "a"),
            )
        ),
        st.characters(codec="utf-8"),
    ),
    max_size=30,
).map("".join)


@given(_pieces, st.sampled_from((("result",), _TWO)))
def test_what_is_closed_the_parser_reads_whole(text: str, answers: tuple[str, ...]) -> None:
    for end in range(len(text) + 1):
        if is_complete(text[:end], answers):
            prediction = parse_reply(text[:end], answers, finish_reason="stop")
            # An element may still be no annotation; but none is cut, and the list is there.
            assert answers[-1] in prediction.stages
            assert prediction.status in (Status.OK, Status.REPAIRED)
            assert "unclosed_list" not in prediction.repairs
            return
