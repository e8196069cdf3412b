"""Lists of annotations, held against black and against the reader of replies."""

from __future__ import annotations

import black
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.prompting.answer_text import format_list
from harness.reading.reply import parse_reply
from harness.records import Annotation, FieldValue
from tests.prompting.test_literals import TEXTS

FIELDS = {
    "Person": ("span",),
    "BornIn": ("arg1", "arg2"),
    "Attack": ("mention", "subtype", "attacker", "target"),
}
EDGE = st.text(alphabet="aN'\" ńé漢\u0301\\", min_size=1, max_size=90)
TEXT = TEXTS | EDGE
ANNOTATIONS = st.lists(
    st.one_of(
        st.builds(Annotation, st.just("Person"), st.fixed_dictionaries({"span": TEXT})),
        st.builds(
            Annotation, st.just("BornIn"), st.fixed_dictionaries({"arg1": TEXT, "arg2": TEXT})
        ),
        st.builds(
            Annotation,
            st.just("Attack"),
            st.fixed_dictionaries(
                {
                    "mention": EDGE,
                    "subtype": st.sampled_from(["", "raid"]),
                    "attacker": st.lists(EDGE, max_size=3).map(tuple),
                    "target": st.lists(TEXT, max_size=3).map(tuple),
                }
            ),
        ),
    ),
    max_size=4,
)


def formatted(source: str) -> str:
    return black.format_str(source, mode=black.Mode())


@given(ANNOTATIONS)
@settings(max_examples=300)
def test_lists_are_as_black_writes_them(annotations: list[Annotation]) -> None:
    source = f"result = {format_list(annotations)}\n"
    assert formatted(source) == source


def encodable(annotations: list[Annotation]) -> bool:
    """Half a surrogate pair, escaped as it must be, reads as the escape itself."""
    return "\\ud" not in format_list(annotations)


@given(ANNOTATIONS.filter(encodable))
@settings(max_examples=300)
def test_what_is_written_reads_back(annotations: list[Annotation]) -> None:
    prediction = parse_reply(f" {format_list(annotations)}", ["result"], fields=FIELDS)
    assert list(prediction.stages["result"]) == annotations
    assert (prediction.status, prediction.dropped) == ("ok", ())


@pytest.mark.parametrize("length", [*range(52, 60), *range(68, 74), 90])
@pytest.mark.parametrize(
    "fields",
    [
        {"span": "{}"},
        {"arg1": "{}", "arg2": "Kano"},
        {"attacker": ("{}",)},
        {"attacker": ("{}", "x")},
        {"mention": "raid", "attacker": ("{}", "x"), "target": ()},
        {"attacker": ("{}",), "target": ("{}", "b")},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_wide_annotations_open_where_black_opens_them(
    fields: dict[str, FieldValue], length: int
) -> None:
    def filled(value: FieldValue) -> FieldValue:
        if isinstance(value, str):
            return value.format("x" * length)
        return tuple(item.format("x" * length) for item in value)

    annotation = Annotation("Attack", {name: filled(value) for name, value in fields.items()})
    source = f"result = {format_list([annotation])}\n"
    assert formatted(source) == source
