"""Comparison over results folders written by hand, with figures worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import RunFolderError
from harness.report.compare import MACRO, Comparison, compare_rows
from harness.report.tables import render_comparison
from tests.helpers.result_folders import RIGHT, answers, line, write


def f1(comparison: Comparison, language: str, system: str) -> float:
    row = comparison.at("d", language, system)
    assert row is not None
    return row.f1


def test_micro_within_macro_across(tmp_path: Path) -> None:
    lines = [
        *answers("aaa", "A", "++x-++x-"),  # 4 right of 6 predicted, 8 gold: 8/14
        *answers("bbb", "A", "+---+---"),  # 2 of 2, 8: 4/10
        *answers("aaa", "B", "++++++++"),
        *answers("bbb", "B", "--------"),
    ]
    found = compare_rows([write(tmp_path / "r", lines, n=8)])
    assert f1(found, "aaa", "A") == pytest.approx(400 / 7)
    assert f1(found, "bbb", "A") == pytest.approx(40)
    assert f1(found, MACRO, "A") == pytest.approx((400 / 7 + 40) / 2)
    assert (f1(found, "aaa", "B"), f1(found, "bbb", "B"), f1(found, MACRO, "B")) == (100, 0, 50)
    row = found.at("d", "aaa", "B")
    assert row is not None
    assert row.difference == pytest.approx(100 - 400 / 7)
    # The interval of a perfect system has no width; its difference's interval is the other's.
    assert (row.f1_low, row.f1_high) == (100, 100)
    other = found.at("d", "aaa", "A")
    assert other is not None
    assert row.difference_low == pytest.approx(100 - other.f1_high)
    assert row.difference_high == pytest.approx(100 - other.f1_low)
    # Holm over two languages: the smaller p doubles.
    ps = [r.p for r in found.rows if r.system == "B" and r.language != MACRO]
    holms = [r.p_holm for r in found.rows if r.system == "B" and r.language != MACRO]
    assert None not in ps
    smaller = min(p for p in ps if p is not None)
    assert min(p for p in holms if p is not None) == pytest.approx(min(1.0, 2 * smaller))
    macro = found.at("d", MACRO, "B")
    assert macro is not None
    assert macro.p_holm is None
    assert macro.languages == 2


def test_too_few_sentences_are_not_tested(tmp_path: Path) -> None:
    for n, tested in ((5, False), (6, True)):
        lines = [*answers("aaa", "A", "-" * n), *answers("aaa", "B", "+" * n)]
        found = compare_rows([write(tmp_path / str(n), lines, languages=["aaa"], n=n)])
        row = found.at("d", "aaa", "B")
        assert row is not None
        assert (row.p is not None) == tested


def test_part_of_a_language_is_no_part_of_a_mean(tmp_path: Path) -> None:
    unsent = [line("bbb", i, "B", None, status="unsent") for i in (2, 3)]
    lines = [
        *answers("aaa", "A", "++--"),
        *answers("bbb", "A", "++++"),
        *answers("aaa", "B", "++--"),
        *answers("bbb", "B", "++"),
        *unsent,
    ]
    found = compare_rows([write(tmp_path / "r", lines)])
    for system in "AB":
        macro = found.at("d", MACRO, system)
        assert macro is not None
        assert (macro.languages, macro.n) == (1, 4)
    text = render_comparison(found, format="markdown")
    assert "100.0 of 2/4" in text


def test_statuses_that_do_not_contribute_stay_in_the_denominator(tmp_path: Path) -> None:
    lines = answers("aaa", "A", "++++")
    for row, status in zip(lines[1:], ("refused", "unparseable", "error"), strict=True):
        row["status"] = status
    found = compare_rows([write(tmp_path / "r", lines, languages=["aaa"])])
    # 1 right of 1 predicted, of 4 gold.
    assert f1(found, "aaa", "A") == pytest.approx(40)


def test_unsent_examples_are_no_answers_and_are_said(tmp_path: Path) -> None:
    lines = [*answers("aaa", "A", "++++"), *answers("aaa", "B", "+++")]
    lines.append(line("aaa", 3, "B", None, status="unsent"))
    found = compare_rows([write(tmp_path / "r", lines, languages=["aaa"])])
    row = found.at("d", "aaa", "B")
    assert row is not None
    assert (row.n, row.f1) == (3, 100)
    # Other sentences than the baseline's: no paired test.
    assert row.difference is None
    assert any("B: incomplete, 1 examples not sent" in note for note in found.notes)


def test_means_use_the_languages_that_all_have(tmp_path: Path) -> None:
    lines = [
        *answers("aaa", "A", "++++"),
        *answers("bbb", "A", "----"),
        *answers("aaa", "B", "++--"),
    ]
    found = compare_rows([write(tmp_path / "r", lines, left_out=["d/bbb"])])
    assert f1(found, MACRO, "A") == 100
    macro = found.at("d", MACRO, "A")
    assert macro is not None
    assert macro.languages == 1
    assert found.at("d", "bbb", "B") is None
    assert any("left out, no translation: 1 (d/bbb)" in note for note in found.notes)


def test_an_unknown_price_makes_the_sum_unknown(tmp_path: Path) -> None:
    lines = answers("aaa", "A", "++++")
    found = compare_rows([write(tmp_path / "r", lines, languages=["aaa"])])
    row = found.at("d", "aaa", "A")
    assert row is not None
    assert row.cost == "0.004"
    assert row.cost_per_point == pytest.approx(0.004 / 100)
    lines[2]["cost"] = None
    found = compare_rows([write(tmp_path / "s", lines, languages=["aaa"])])
    row = found.at("d", "aaa", "A")
    assert row is not None
    assert row.cost is None
    assert row.cost_per_point is None
    assert found.totals["A"].cost is None


def test_equal_prompts_are_paid_for_once(tmp_path: Path) -> None:
    lines = answers("aaa", "A", "++++")
    for row in lines:
        row["key"] = "same"
    found = compare_rows([write(tmp_path / "r", lines, languages=["aaa"])])
    row = found.at("d", "aaa", "A")
    assert row is not None
    assert (row.n, row.cost, row.prompt_tokens) == (4, "0.001", 10)


def test_the_gate_fails_where_nothing_is_known(tmp_path: Path) -> None:
    lines = [*answers("aaa", "A", "++++"), *answers("aaa", "B", "+++")]
    lines.append(line("aaa", 3, "B", None, status="unsent"))
    found = compare_rows([write(tmp_path / "r", lines, languages=["aaa"])])
    assert found.under(50) == ["B (d: incomplete)"]
    nothing = [line("aaa", i, "A", None, status="unsent") for i in range(4)]
    found = compare_rows([write(tmp_path / "s", nothing, languages=["aaa"])])
    assert found.under(0) == ["nothing was scored"]


def test_damaged_folders_are_said_to_be(tmp_path: Path) -> None:
    path = write(tmp_path / "r", answers("aaa", "A", "++++"), languages=["aaa"])
    good = (path / "predictions.jsonl").read_text()
    for bad in ("{}", "[]", good.split("\n")[0].replace('"ok"', '"fine"')):
        (path / "predictions.jsonl").write_text(good + bad + "\n")
        with pytest.raises(RunFolderError, match=r"predictions\.jsonl:5: damaged"):
            compare_rows([path])
    (path / "predictions.jsonl").write_text(good)
    for bad in ("{}", "[]", '{"layout": "x"}', '{"blocks": [], "systems": [3]}'):
        (path / "manifest.json").write_text(bad)
        with pytest.raises(RunFolderError, match=r"manifest\.json"):
            compare_rows([path])


def test_dropped_elements_count_as_hallucinated(tmp_path: Path) -> None:
    lines = answers("aaa", "A", "+++-")
    lines[3]["dropped"] = [{"stage": "result", "reason": "unknown_class", "item": "Nope()"}]
    found = compare_rows([write(tmp_path / "r", lines, languages=["aaa"])])
    row = found.at("d", "aaa", "A")
    assert row is not None
    assert (row.hallucinated, row.precision) == (1, 100)


def test_runs_on_other_data_are_not_compared(tmp_path: Path) -> None:
    lines = answers("aaa", "A", "++++++")
    one = write(tmp_path / "one", lines, languages=["aaa"], n=6)
    two = write(tmp_path / "two", lines, languages=["aaa"], digest="f" * 64, n=6)
    with pytest.raises(RunFolderError, match="different examples of d/aaa"):
        compare_rows([one, two])
    three = write(tmp_path / "three", lines, languages=["aaa"], n=6)
    found = compare_rows([one, three], baseline="three: A")
    assert found.systems == ["one: A", "three: A"]
    row = found.at("d", "aaa", "one: A")
    assert row is not None
    assert (row.difference, row.p) == (0, 1)


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "r", answers("aaa", "A", "++++"), languages=["aaa"])
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"layout": 2}))
    with pytest.raises(RunFolderError, match="newer version"):
        compare_rows([path])


def test_classes_and_the_english_stage(tmp_path: Path) -> None:
    lines = answers("aaa", "A", "++x-")
    path = write(tmp_path / "r", lines, languages=["aaa"])
    # The same answers as the second of two stages, with English that says where it went wrong.
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["systems"][0]["answers"] = ["first", "result"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    english = {"english": "Amina is in Kano", "english_gold": RIGHT}
    examples = [json.loads(e) | english for e in (path / "examples.jsonl").read_text().splitlines()]
    (path / "examples.jsonl").write_text("".join(json.dumps(e) + "\n" for e in examples))
    for row, stage in zip(lines, (RIGHT, RIGHT, RIGHT, []), strict=True):
        row["stages"]["first"] = stage
        row["english"] = "Amina is in Kano"
    (path / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    found = compare_rows([path]).at("d", "aaa", "A")
    assert found is not None
    # Location: 2 right of 2, 4 gold. Person: 0 of 1, no gold.
    assert found.labels == {"Location": pytest.approx(200 * 2 / 6), "Person": 0}
    # English: 3 right of 3 predicted, 4 gold.
    assert found.english_f1 == pytest.approx(600 / 7)
