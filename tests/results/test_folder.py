"""A results folder reads back as it was written, whatever a model wrote."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RunFolderError
from harness.records import Annotation, Dropped, Example, Prediction, Reply, Status, Usage
from harness.results.folder import RunFolder
from harness.results.lines import Line, TranslationNote, stage_rows

# Any code point, lone surrogates and line separators included.
TEXT = st.text(st.characters(), max_size=20)
FIELDS = st.dictionaries(
    st.sampled_from(["span", "arg1", "mention", "attacker"]),
    TEXT | st.lists(TEXT, max_size=3).map(tuple),
    min_size=1,
)
OFFSETS = st.none() | st.tuples(st.integers(0, 9), st.integers(10, 20))
ANNOTATIONS = st.lists(st.builds(Annotation, TEXT, FIELDS, OFFSETS), max_size=3).map(tuple)
PREDICTIONS = st.builds(
    Prediction,
    TEXT,
    st.dictionaries(st.sampled_from(["result", "final_result"]), ANNOTATIONS),
    st.sampled_from(Status),
    st.lists(TEXT, max_size=2).map(tuple),
    st.lists(st.builds(Dropped, TEXT, TEXT, TEXT), max_size=2).map(tuple),
)
EXAMPLES = st.builds(
    Example,
    id=TEXT,
    dataset=TEXT,
    language=TEXT,
    split=TEXT,
    text=TEXT,
    gold=ANNOTATIONS,
    english=st.none() | TEXT,
    english_gold=st.none() | ANNOTATIONS,
)


@given(st.lists(PREDICTIONS, max_size=3), st.lists(EXAMPLES, max_size=3))
def test_round_trip_through_the_files(
    predictions: list[Prediction], examples: list[Example]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name))
        lines = [_line(p) for p in predictions]
        folder.write_predictions(lines)
        folder.write_examples(examples)
        # Strict UTF-8, so that any other program can read it too.
        (Path(name) / "predictions.jsonl").read_text("utf-8")
        found = list(folder.predictions())
        for line, p in zip(found, predictions, strict=True):
            assert line.example_id == p.example_id
            assert line.status == p.status
            for stage, annotations in p.stages.items():
                assert line.stage(stage) == annotations
            assert list(line.dropped) == list(p.dropped)
        assert [line.to_json() for line in found] == json.loads(
            json.dumps([line.to_json() for line in lines])
        )
        assert list(folder.examples()) == examples


def _line(prediction: Prediction) -> Line:
    reply = Reply("x", "stop", Usage(10, 2, None, 1), 1_000_001, 0.25, True, "server")
    return Line(
        dataset="d",
        language="swa",
        example_id=prediction.example_id,
        system="A",
        key="0" * 64,
        translation=TranslationNote("file", ("empty",)),
        status=prediction.status,
        stages=stage_rows(prediction),
        repairs=prediction.repairs,
        dropped=prediction.dropped,
        finish_reason=reply.finish_reason,
        reply=reply.text,
        usage=reply.usage,
        cost=reply.cost,
        latency_s=reply.latency_s,
        cached=reply.cached,
        served_by=reply.served_by,
    )


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json("scores.json", {"f1": 1})

    def fail() -> None:
        with folder.writing("scores.json") as file:
            file.write("{")
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert folder.read_json("scores.json") == {"f1": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


@pytest.mark.parametrize("content", [b"{", b"[]\n3", b'{"a": "\xff"}'])
def test_damaged_lines_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(b"{}\n" + content)
    with pytest.raises(RunFolderError, match=r"predictions\.jsonl:2: damaged"):
        list(RunFolder(tmp_path).lines("predictions.jsonl", dict))
