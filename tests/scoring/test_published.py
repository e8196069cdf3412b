"""The rule ``published``: the public scripts' reading in front of the same matching."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType

import pytest

from harness.errors import UnknownNameError, UsageError
from harness.records import Annotation
from harness.scoring import RULES, Row, count

FIELDS = {"Person": ("span",), "Location": ("span",)}


def _loc(span: str) -> Annotation:
    return Annotation("Location", {"span": span})


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[list[Annotation | None], bool]]:
    """Stands in for the reader: replies by their text."""
    replies: dict[str, tuple[list[Annotation | None], bool]] = {}

    def read_published(
        reply: str, fields: Mapping[str, tuple[str, ...]]
    ) -> tuple[list[Annotation | None], bool]:
        assert fields == FIELDS
        return replies[reply]

    module = ModuleType("harness.reading.published")
    module.read_published = read_published  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "harness.reading.published", module)
    return replies


def test_junk_is_hallucinated_and_uses_no_occurrence(
    reader: dict[str, tuple[list[Annotation | None], bool]],
) -> None:
    reader["reply"] = ([None, _loc("Paris"), None], False)
    row = count("Paris called", [_loc("Paris")], [], "published", reply_text="reply", fields=FIELDS)
    assert row == Row({"Location": (1, 1, 1)}, hallucinated=2, parsed=3)


def test_an_unreadable_reply_is_an_empty_answer_and_a_parse_error(
    reader: dict[str, tuple[list[Annotation | None], bool]],
) -> None:
    reader["reply"] = ([], True)
    row = count("Paris called", [_loc("Paris")], [], "published", reply_text="reply", fields=FIELDS)
    assert row == Row({"Location": (0, 0, 1)}, parse_error=True)


def test_it_reads_the_reply_and_not_our_annotations(
    reader: dict[str, tuple[list[Annotation | None], bool]],
) -> None:
    reader["reply"] = ([], False)
    row = count(
        "Paris called",
        [_loc("Paris")],
        [_loc("Paris")],
        "published",
        dropped=7,
        parse_error=True,
        reply_text="reply",
        fields=FIELDS,
    )
    assert row == Row({"Location": (0, 0, 1)})


def test_without_a_reply_nothing_is_predicted() -> None:
    row = count("Paris called", [_loc("Paris")], [_loc("Paris")], "published")
    assert row == Row({"Location": (0, 0, 1)})


def test_worked_replies_through_the_real_reader() -> None:
    cases = {
        '[Country(span="Paris"), Location(span="Paris")]': ({"Location": (1, 1, 1)}, 1, False),
        '[Location("Paris"), "Paris", 3, None, ...]': ({"Location": (1, 1, 1)}, 4, False),
        '[Location(span="Paris"': ({"Location": (0, 0, 1)}, 0, True),
        '[Location(span="Paris"), Location(name="x")]': ({"Location": (0, 0, 1)}, 0, True),
        'Location(span="Paris")': ({"Location": (0, 0, 1)}, 0, False),
    }
    for answer, expected in cases.items():
        row = count(
            "Paris called",
            [_loc("Paris")],
            [],
            "published",
            reply_text=f"result = {answer}",
            fields=FIELDS,
        )
        assert (row.counts, row.hallucinated, row.parse_error) == expected, answer


def test_errors_name_the_next_action() -> None:
    with pytest.raises(UsageError, match=r"fields=schema\.fields\(\)"):
        count("Paris", [], [], "published", reply_text="result = []")
    with pytest.raises(UnknownNameError, match=r"Did you mean 'strict'\? Choices: gollie, strict"):
        count("Paris", [], [], "strikt")


@pytest.mark.parametrize("rule", RULES)
def test_an_empty_sentence_is_an_empty_row(rule: str) -> None:
    assert count("", [], [], rule) == Row()
