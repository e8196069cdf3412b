"""The lines of a results folder: examples and predictions as JSON, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.records import Annotation, Example, Prediction

# Made once: json.dumps makes one for every call that does not take its defaults.
_encode = json.JSONEncoder(ensure_ascii=False).encode


def json_line(value: Any) -> str:
    """A value as one line of a JSONL file."""
    return _encode(value) + "\n"


def annotation_json(annotation: Annotation) -> dict[str, Any]:
    """An annotation as a JSON object: its type, its fields, and offsets where it has them."""
    row: dict[str, Any] = {"type": annotation.type, **annotation.fields}
    if annotation.offsets is not None:
        row["offsets"] = annotation.offsets
    return row


def annotation_from(row: Mapping[str, Any]) -> Annotation:
    """The reverse of :func:`annotation_json`."""
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in row.items()
        if name != "type" and name != "offsets"
    }
    offsets = row.get("offsets")
    return Annotation(row["type"], fields, tuple(offsets) if offsets is not None else None)


def example_json(example: Example) -> dict[str, Any]:
    """An example as one line of ``examples.jsonl``; its tokens are not kept."""
    row: dict[str, Any] = {
        "dataset": example.dataset,
        "language": example.language,
        "split": example.split,
        "id": example.id,
        "text": example.text,
        "gold": [annotation_json(a) for a in example.gold],
    }
    if example.english is not None:
        row["english"] = example.english
    if example.english_gold is not None:
        row["english_gold"] = [annotation_json(a) for a in example.english_gold]
    return row


def example_from(row: Mapping[str, Any]) -> Example:
    """The reverse of :func:`example_json`."""
    english_gold = row.get("english_gold")
    return Example(
        id=row["id"],
        dataset=row["dataset"],
        language=row["language"],
        split=row["split"],
        text=row["text"],
        gold=tuple(annotation_from(a) for a in row["gold"]),
        english=row.get("english"),
        english_gold=None
        if english_gold is None
        else tuple(annotation_from(a) for a in english_gold),
    )


def prediction_json(prediction: Prediction) -> dict[str, Any]:
    """The part of a ``predictions.jsonl`` line that comes from reading the reply."""
    return {
        "status": str(prediction.status),
        "stages": {
            stage: [annotation_json(a) for a in annotations]
            for stage, annotations in prediction.stages.items()
        },
        "repairs": prediction.repairs,
        "dropped": [
            {"stage": d.stage, "reason": d.reason, "item": d.item} for d in prediction.dropped
        ],
    }
