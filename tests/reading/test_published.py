"""What the public scripts would have read: the worked examples of their behaviour."""

from __future__ import annotations

import sys
import warnings

import pytest

from harness.reading.published import read_published
from harness.records import Annotation

FIELDS = {
    "Person": ("span",),
    "Location": ("span",),
    "BornIn": ("arg1", "arg2"),
    "Attack": ("mention", "subtype", "attacker", "target"),
}


def location(span: str) -> Annotation:
    return Annotation("Location", {"span": span})


def read(reply: str) -> tuple[list[Annotation | None], bool]:
    return read_published(reply, FIELDS)


PARIS = location("Paris")

EXAMPLES = {
    # 1: what follows the last "result = " with its space, the English list where no other is.
    "canonical": (' [\n    Location(span="Paris"),\n]', [PARIS], False),
    "final list": (
        ' [Location("London")]\n\n# here\nfinal_result = [Location("Paris")]',
        [PARIS],
        False,
    ),
    "English list stands in": (' [Location(span="Paris")]\n\n# and then', [PARIS], False),
    "restated": ('\nresult = [Location("Paris")]', [PARIS], False),
    "no space": ('[Location(span="Paris")]', [], True),
    "newline": ('\n[Location(span="Paris")]', [], True),
    "two spaces": ('  [Location(span="Paris")]', [PARIS], False),
    "mark inside a span": (' [Location(span="the result = Paris")]', [], True),
    # 3: any error voids the sentence.
    "cut": (' [Location(span="Paris"', [], True),
    "wrong argument": (' [Location(span="Paris"), Location(name="x")]', [], True),
    "missing argument": (' [Location("Paris"), Location()]', [], True),
    "too many arguments": (' [Location("Paris", "x")]', [], True),
    "argument twice": (' [Location("Paris", span="x")]', [], True),
    "keywords of a dict": (' [Location(**{"span": "x"})]', [], True),
    "error in a nested list": (' [[Location(name="x")]]', [], True),
    "error in an argument": (" [Location(span=Location())]", [], True),
    "prose": (" [Location('Paris')]\nThat is all.", [], True),
    "fence": ('```python\nresult = [Location("Paris")]\n```', [], True),
    "empty": ("", [], True),
    "unescaped quotes": (' [Location("the "old" town")]', [], True),
    # 4: an unknown class is dropped by itself.
    "unknown class": (' [Country(span="Paris"), Location(span="Paris")]', [None, PARIS], False),
    "unknown name": (" [Location(span=paris), Paris]", [None, None], False),
    # 5: what cannot be iterated over is an empty list and no error.
    "bare annotation": (' Location(span="Paris")', [], False),
    "None": (" None", [], False),
    "number": (" 3", [], False),
    "text": (' "ab"', [None, None], False),
    "JSON object": (' {"result": [], "final_result": []}', [None, None], False),
    "JSON list": (' [{"type": "Location", "span": "Paris"}]', [None], False),
    "tuple": (' (Location("Paris"), Location("Paris"))', [PARIS, PARIS], False),
    # 6: whatever is no annotation is dropped; a positional argument is fine.
    "junk": (
        ' [Location("Paris"), "Paris", 3, None, ..., Location, -1, [Location("x")]]',
        [PARIS, *[None] * 7],
        False,
    ),
    "empty list": (" []", [], False),
    "span that is no string": (' [Location(span=3), Location(span=["Paris"])]', [None] * 2, False),
    "unhashable key": (' {Location("Paris"): 1}', [], True),
    "operator": (' [Location("Paris")] + []', [], True),
    "call of a call": (' [Location("Paris")()]', [], True),
    "relation": (
        ' [BornIn("a", arg2="b"), BornIn(arg1=1, arg2="b")]',
        [Annotation("BornIn", {"arg1": "a", "arg2": "b"}), None],
        False,
    ),
    "event": (
        ' [Attack(mention="hit", subtype="", attacker="x", target=["a", 1, "b"])]',
        [
            Annotation(
                "Attack",
                {"mention": "hit", "subtype": "", "attacker": ("x",), "target": ("a", "b")},
            )
        ],
        False,
    ),
    "event without a role": (' [Attack(mention="hit", subtype="", attacker=[])]', [], True),
    "role that is None": (
        ' [Attack("hit", "", None, [])]',
        [Annotation("Attack", {"mention": "hit", "subtype": "", "attacker": (), "target": ()})],
        False,
    ),
}


@pytest.mark.parametrize(("reply", "elements", "error"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_reads_as_the_scripts_do(
    reply: str, elements: list[Annotation | None], error: bool
) -> None:
    assert read(reply) == (elements, error)


HOSTILE = {
    "brackets": " " + "[" * 100_000,
    "closed brackets": " " + "[" * 150 + "]" * 150,
    "minus": " " + "-" * 100_000 + "1",
    "not": " " + "not " * 50_000 + "1",
    "attributes": " a" + ".a" * 50_000,
    "sum": " 1" + "+1" * 50_000,
    "power": " 1" + "**1" * 50_000,
    "lambda": " " + "lambda:" * 30_000 + "1",
    "calls": " a" + "()" * 50_000,
    "conditional": " " + "1 if 1 else " * 15_000 + "1",
    "comparison": " " + "1<" * 50_000 + "1",
    "format strings": " " + "f'{" * 2_000,
    "digits": " " + "9" * 10_000,
    "NUL": " [\0]",
    "half a character": ' ["\ud800"]',
    "quotes": " " + '"' * 100_001,
    "backslashes": " " + "\\" * 100_000,
}


@pytest.mark.parametrize("reply", HOSTILE.values(), ids=HOSTILE.keys())
def test_survives(reply: str) -> None:
    elements, _ = read(reply)
    assert not any(elements)


def test_evaluates_nothing() -> None:
    before = set(sys.modules)
    assert read(' [__import__("antigravity")]') == ([None], False)
    assert read(' [exec("raise SystemExit"), Location("Paris")]') == ([None, PARIS], False)
    assert "antigravity" not in set(sys.modules) - before


def test_is_silent_about_escapes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(r' [Location("\d")]') == ([location("\\d")], False)
