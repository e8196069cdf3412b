"""Repeats and their vote, over results folders written by hand, with figures worked out by hand."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.report.compare import compare_rows, score
from harness.report.comparison import MACRO, Comparison, ScoreRow
from harness.report.show import show
from harness.report.tables import print_comparison, render_comparison
from tests.helpers.result_folders import RIGHT, WRONG, answers, line, write

ONE: dict[str, Any] = {"languages": ["aaa"]}


def repeated(language: str, system: str, *patterns: str) -> list[dict[str, Any]]:
    """The lines of a system, one pattern a repeat."""
    return [
        row
        for repeat, pattern in enumerate(patterns)
        for row in answers(language, system, pattern, repeat=repeat)
    ]


def asked(times: int, **more: Any) -> dict[str, Any]:
    return {"entry": {"repeats": times, "vote": False, "format": "python", "shots": None} | more}


def row_of(comparison: Comparison, language: str, system: str = "A") -> ScoreRow:
    row = comparison.at("d", language, system)
    assert row is not None
    return row


def parts(row: ScoreRow) -> Mapping[str, str]:
    return dict(part.split(":", 1) for part in row.signature.split("|"))


def test_repeats_are_pooled_and_their_spread_is_told(tmp_path: Path) -> None:
    # Every sentence has one gold entity. aaa: 4 right of 4, 2 of 2 and 3 of 4, of 4 gold each.
    # bbb: 0 of 0, 4 of 4, 0 of 4.
    lines = repeated("aaa", "A", "++++", "++--", "+++x") + repeated(
        "bbb", "A", "----", "++++", "xxxx"
    )
    found = compare_rows([write(tmp_path / "r", lines, **asked(3))])
    row = row_of(found, "aaa")
    each = [100, 200 * 2 / 6, 200 * 3 / 8]
    assert (row.n, row.repeats, row.unsent) == (4, 3, 0)
    assert row.f1 == pytest.approx(200 * 9 / (10 + 12))
    assert row.f1_repeats == pytest.approx(each)
    mean = sum(each) / 3
    assert row.f1_sd == pytest.approx(math.sqrt(sum((f - mean) ** 2 for f in each) / 2))
    assert row.f1_low <= row.f1 <= row.f1_high
    # Statuses and money are of all answers.
    assert (row.statuses, row.cost, row.prompt_tokens) == ({"ok": 12}, "0.012", 120)
    # The i-th mean is of the i-th repeats: bbb has 0, 100 and 0.
    macro = row_of(found, MACRO)
    assert macro.f1_repeats == pytest.approx([each[0] / 2, each[1] / 2 + 50, each[2] / 2])
    assert macro.f1 == pytest.approx((row.f1 + row_of(found, "bbb").f1) / 2)
    assert macro.f1_sd is not None
    assert parts(row)["repeats"] == parts(macro)["repeats"] == "3"
    assert f"{row.f1:.1f} ±{row.f1_sd:.1f} [" in render_comparison(found, format="markdown")


def test_equal_repeats_score_as_one_answer_does(tmp_path: Path) -> None:
    pattern = "++x-+-"
    once = write(tmp_path / "once", answers("aaa", "A", pattern), n=6, **ONE)
    more = write(tmp_path / "more", repeated("aaa", "A", *[pattern] * 4), n=6, **ONE, **asked(4))
    found = compare_rows([once, more])
    one, four = row_of(found, "aaa", "once: A"), row_of(found, "aaa", "more: A")
    for name in ("n", "precision", "recall", "f1", "f1_low", "f1_high", "labels"):
        assert getattr(one, name) == getattr(four, name)
    assert (four.difference, four.p, four.f1_sd) == (0, 1, 0)
    assert (one.repeats, one.f1_sd, one.f1_repeats) == (1, None, [])
    assert "repeats" not in parts(one)


def test_a_sentence_is_scored_when_all_its_repeats_have_an_outcome(tmp_path: Path) -> None:
    lines = repeated("aaa", "A", "+++", "xxx")
    lines += [line("aaa", 3, "A", RIGHT, repeat=0)]
    unsent = [line("aaa", 3, "A", None, status="unsent", repeat=1)]
    for vote in (False, True):
        found = compare_rows(
            [write(tmp_path / f"r{vote}", lines + unsent, **ONE, **asked(2, vote=vote))]
        )
        row = row_of(found, "aaa")
        assert (row.n, row.unsent) == (3, 1)
        assert any("incomplete, 1 examples not sent" in note for note in found.notes)
        assert "of 3/4" in render_comparison(found, format="markdown")
        assert found.under(0) == ["A (d: incomplete)"]
        # A failed call is an outcome, a line that is not there is none.
        failed = [line("aaa", 3, "A", None, status="error", repeat=1)]
        path = write(tmp_path / f"f{vote}", lines + failed, **ONE, **asked(2, vote=vote))
        assert row_of(compare_rows([path]), "aaa").n == 4
        found = compare_rows([write(tmp_path / f"m{vote}", lines, **ONE, **asked(2, vote=vote))])
        assert row_of(found, "aaa").n == 3
        assert any("1 examples are missing" in note for note in found.notes)


def test_the_vote_is_scored_once_a_sentence(tmp_path: Path) -> None:
    # By sentence: right 3 of 3; right 2 of 3; wrong 2 of 3; nothing has a majority.
    lines = repeated("aaa", "A", "+++-", "+xxx", "++x+")
    found = compare_rows([write(tmp_path / "r", lines, **ONE, **asked(3, vote=True))])
    row = row_of(found, "aaa")
    # 2 right of 3 predicted, 4 gold.
    assert row.f1 == pytest.approx(200 * 2 / 7)
    assert (row.n, row.f1_sd, row.f1_repeats, row.repeats) == (4, None, [], 3)
    assert row.statuses == {"ok": 12}
    assert (parts(row)["repeats"], parts(row)["vote"]) == ("3", "majority")
    assert "A: scored by the majority of 3 answers." in found.notes


def test_only_answers_that_contribute_have_a_vote(tmp_path: Path) -> None:
    lines = repeated("aaa", "A", "+++x", "+-xx", "+--x")
    for index, status in {
        4: "refused",  # Sentence 0: two of two are right.
        5: "unparseable",  # Sentence 1: one of two is right, and that is no majority.
        6: "truncated",  # Sentence 2: of three answers none has a majority.
        3: "error",  # Sentence 3: nobody has a vote.
        7: "refused",
        11: "filtered",
    }.items():
        lines[index]["status"] = status
    found = compare_rows([write(tmp_path / "r", lines, **ONE, **asked(3, vote=True))])
    row = row_of(found, "aaa")
    assert (row.n, row.precision, row.recall) == (4, 100, 25)


def test_dropped_elements_are_voted_on_as_well(tmp_path: Path) -> None:
    lines = repeated("aaa", "A", "++++", "++++", "++++")
    nope = {"stage": "result", "reason": "unknown_class", "item": "Nope()"}
    for index in (0, 4, 1):  # Sentence 0 twice, sentence 1 once.
        lines[index]["dropped"] = [nope]
    path = write(tmp_path / "v", lines, **ONE, **asked(3, vote=True))
    assert row_of(compare_rows([path]), "aaa").hallucinated == 1
    path = write(tmp_path / "p", lines, **ONE, **asked(3))
    assert row_of(compare_rows([path]), "aaa").hallucinated == 3


def test_the_english_stage_is_pooled_or_voted(tmp_path: Path) -> None:
    lines = repeated("aaa", "A", "+", "+", "+")
    for made, stage in zip(lines, (RIGHT, RIGHT, WRONG), strict=True):
        made["stages"]["first"] = stage
        made["english"] = "Amina is in Kano"
    for vote, expected in ((False, 200 * 2 / 6), (True, 100)):
        settings = asked(3, vote=vote, answers=["first", "result"])
        path = write(tmp_path / str(vote), lines, n=1, **ONE, **settings)
        example = json.loads((path / "examples.jsonl").read_text())
        example |= {"english": "Amina is in Kano", "english_gold": RIGHT}
        (path / "examples.jsonl").write_text(json.dumps(example) + "\n")
        assert row_of(compare_rows([path]), "aaa").english_f1 == pytest.approx(expected)


def test_what_was_paid_is_told_from_what_was_stored(tmp_path: Path) -> None:
    lines = repeated("aaa", "A", "++++", "++++")
    for made in lines[:5]:
        made["cached"] = True
    # Two sentences of one prompt: the second was the one that was sent.
    lines[5]["key"] = lines[4]["key"]
    for made in lines:
        made["usage"] |= {"cached_tokens": 4, "reasoning_tokens": 1}
    path = write(tmp_path / "r", lines, **ONE, **asked(2))
    row = row_of(compare_rows([path]), "aaa")
    assert (row.cost, row.paid) == ("0.007", "0.003")
    assert (row.prompt_tokens, row.cached_tokens, row.reasoning_tokens) == (70, 28, 7)
    lines[0]["cost"] = None
    row = row_of(compare_rows([write(tmp_path / "old", lines, **ONE, **asked(2))]), "aaa")
    assert (row.cost, row.paid) == (None, "0.003")
    lines[7]["cost"] = None
    lines[7]["usage"]["reasoning_tokens"] = None
    row = row_of(compare_rows([write(tmp_path / "new", lines, **ONE, **asked(2))]), "aaa")
    assert (row.cost, row.paid, row.reasoning_tokens, row.cached_tokens) == (None, None, None, 28)


def test_the_table_says_what_was_paid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = repeated("aaa", "A", "++++", "++++")
    for made in lines[:6]:
        made["cached"] = True
    for made in lines:
        made["usage"] = {"prompt_tokens": 160_000, "completion_tokens": 10_050, "cached_tokens": 0}
        made["usage"]["reasoning_tokens"] = 3
    found = compare_rows([write(tmp_path / "r", lines, **ONE, **asked(2))])
    print_comparison(found, columns=["cost", "tokens"])
    text = capsys.readouterr().out
    assert "F1 ±deviation over repeats [95 % interval]" in text
    assert "$0.0080 (paid $0.0020)" in text
    assert "1280000/80400 (24 reasoning)" in text
    total = "tokens 1.3M in, 80.4k out (24 reasoning) · paid $0.0020 · from the store $0.0060"
    assert f"A: ok:8 · {total}\n" in text
    # What is not known is said to be so, each for itself.
    for cached, money in ((True, "paid $0.0020 · from the store unknown"), (False, "cost unknown")):
        lines[0] |= {"cost": None, "cached": cached}
        path = write(tmp_path / money[:4], lines, **ONE, **asked(2))
        print_comparison(compare_rows([path]))
        assert f"· {money}\n" in capsys.readouterr().out


def test_the_csv_has_every_figure(tmp_path: Path) -> None:
    lines = repeated("aaa", "A", "+-", "++")
    found = compare_rows([write(tmp_path / "r", lines, n=2, **ONE, **asked(2))])
    cells = next(csv.DictReader(io.StringIO(render_comparison(found, format="csv"))))
    assert (cells["repeats"], cells["paid"], cells["unsent"]) == ("2", "0.004", "0")
    assert json.loads(cells["f1_repeats"]) == pytest.approx([200 / 3, 100], abs=1e-6)
    assert float(cells["f1_sd"]) == pytest.approx((100 / 3) / math.sqrt(2), abs=1e-6)
    # Servers that do not speak of reasoning say nothing of it.
    assert cells["reasoning_tokens"] == ""


def test_what_stands_in_the_signature(tmp_path: Path) -> None:
    shots = {
        "count": 3,
        "from": "train",
        "by": "random",
        "seed": 7,
        "sha256": {"d/aaa": "1a2b3c4d" + "0" * 56, "d/bbb": "f" * 64},
    }
    lines = [*answers("aaa", "A", "++++"), *answers("bbb", "A", "++++")]
    found = compare_rows([write(tmp_path / "r", lines, **asked(1, shots=shots, format="json"))])
    row = row_of(found, "aaa")
    assert parts(row)["shots"] == "3@train/random/7#1a2b3c4d"
    assert parts(row)["format"] == "json"
    of_both = parts(row_of(found, MACRO))["shots"]
    assert of_both.startswith("3@train/random/7#")
    assert of_both not in (parts(row)["shots"], parts(row_of(found, "bbb"))["shots"])
    # The nearest ones are not drawn.
    path = write(tmp_path / "n", lines, **asked(1, shots=shots | {"by": "nearest"}))
    assert parts(row_of(compare_rows([path]), "aaa"))["shots"] == "3@train/nearest#1a2b3c4d"
    # What is not said is the default, and defaults are not printed.
    old = row_of(compare_rows([write(tmp_path / "old", lines)]), "aaa").signature
    new = row_of(compare_rows([write(tmp_path / "new", lines, **asked(1))]), "aaa").signature
    assert old == new
    assert not {"shots", "format", "repeats", "vote"} & {
        part.split(":")[0] for part in old.split("|")
    }


@pytest.mark.parametrize("more", [{"vote": True}, {"format": "json"}])
def test_the_published_scripts_read_neither_votes_nor_json(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    path = write(tmp_path / "r", repeated("aaa", "A", "++", "++"), n=2, **ONE, **asked(2, **more))
    for ask in (
        lambda: compare_rows([path], rule="published"),
        lambda: show(path, "test-0", rule="published"),
    ):
        with pytest.raises(UsageError, match="Choose --rule gollie or --rule strict"):
            ask()


def test_replies_are_read_again_in_the_format_of_their_system(tmp_path: Path) -> None:
    # The reader of Python knows this as well, after a repair.
    reply = '{"result": [{"type": "Location", "span": "Kano"}]}'
    for format_, status in (("json", "ok"), ("python", "repaired")):
        lines = [line("aaa", 0, "A", []) | {"reply": reply}]
        path = write(tmp_path / format_, lines, n=1, **ONE, **asked(1, format=format_))
        row = row_of(score(path), "aaa")
        assert (row.f1, row.statuses) == (100, {status: 1})


def test_every_repeat_is_shown_and_then_the_majority(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = repeated("aaa", "A", "+x", "++", "+-")
    lines[1]["reply"] = "the first one's words"
    path = write(tmp_path / "r", lines, n=2, **ONE, **asked(3, vote=True))
    show(path, "test-1")
    text = capsys.readouterr().out
    places = [
        text.index(f"A · {part}") for part in ("repeat 1 of 3", "repeat 3 of 3", "majority of 3")
    ]
    assert places == sorted(places)
    assert "the first one's words" in text
    assert "0 right of 0 predicted, 1 gold" in text[places[-1] :]
