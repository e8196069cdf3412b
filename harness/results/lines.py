"""The lines of a results folder: examples and predictions as JSON, and back.

This is the one door: no other module knows the keys of ``examples.jsonl`` or
``predictions.jsonl``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.money import dollars, nano_dollars
from harness.records import Annotation, Dropped, Example, Prediction, Status, Usage

#: An annotation as it stands in a line: ``type``, its fields, and ``offsets`` where it has them.
AnnotationRow = Mapping[str, Any]

# Made once: json.dumps makes one for every call that does not take its defaults.
_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Line:
    """One line of ``predictions.jsonl``: what one system made of one example.

    ``repeat`` is ``None`` where a system asks once. ``stages`` holds every list that could be
    read, as rows: :meth:`stage` reads them into annotations. ``key`` is that of the answer in the
    store. ``reply``, ``finish_reason``, ``usage``, ``cost`` (nano-dollars), ``latency_s`` and
    ``served_by`` are those of the reply, ``None`` without one or where they are unknown.
    ``cached`` says that the answer came from the store. ``error`` is the message of a call that
    failed. ``english`` is the translation in the prompt, ``translation`` its source and flags.
    """

    dataset: str
    language: str
    example_id: str
    system: str
    status: Status
    stages: Mapping[str, Sequence[AnnotationRow]]
    key: str | None
    repeat: int | None = None
    repairs: Sequence[str] = ()
    dropped: Sequence[Dropped] = ()
    prompt_sha256: str | None = None
    finish_reason: str | None = None
    reply: str | None = None
    usage: Usage | None = None
    cost: int | None = None
    latency_s: float | None = None
    cached: bool = False
    served_by: str | None = None
    error: str | None = None
    english: str | None = None
    translation: TranslationNote | None = None

    def stage(self, name: str) -> tuple[Annotation, ...] | None:
        """The annotations of one list of the answer; ``None`` where it could not be read."""
        rows = self.stages.get(name)
        return None if rows is None else tuple(map(annotation_from, rows))

    def to_json(self) -> dict[str, Any]:
        """The line as a JSON object, keys in the order of the file."""
        row: dict[str, Any] = {
            "dataset": self.dataset,
            "language": self.language,
            "example_id": self.example_id,
            "system": self.system,
            **({} if self.repeat is None else {"repeat": self.repeat}),
            "status": str(self.status),
            "stages": self.stages,
            "repairs": self.repairs,
            "dropped": [
                {"stage": d.stage, "reason": d.reason, "item": d.item} for d in self.dropped
            ],
            "prompt_sha256": self.prompt_sha256,
            "key": self.key,
            "finish_reason": self.finish_reason,
            "reply": self.reply,
            "usage": None if self.usage is None else _usage_json(self.usage),
            "cost": None if self.cost is None else dollars(self.cost),
            "latency_s": self.latency_s,
            "cached": self.cached,
            "served_by": self.served_by,
        }
        if self.error is not None:
            row["error"] = self.error
        if self.english is not None:
            row["english"] = self.english
        if self.translation is not None:
            row["translation"] = {
                "source": self.translation.source,
                "flags": self.translation.flags,
            }
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Line:
        """The reverse of :meth:`to_json`; also reads lines of older versions.

        Raises:
            KeyError, ValueError, TypeError, AttributeError: the object is not such a line.
        """
        get = row.get
        usage, cost, translation = get("usage"), get("cost"), get("translation")
        return cls(
            dataset=row["dataset"],
            language=row["language"],
            example_id=row["example_id"],
            system=row["system"],
            status=Status(row["status"]),
            stages=row["stages"],
            key=row["key"],
            repeat=get("repeat"),
            repairs=get("repairs", ()),
            dropped=tuple(Dropped(d["stage"], d["reason"], d["item"]) for d in row["dropped"]),
            prompt_sha256=get("prompt_sha256"),
            finish_reason=row["finish_reason"],
            reply=row["reply"],
            usage=None if usage is None else _usage_from(usage),
            cost=None if cost is None else nano_dollars(cost),
            latency_s=get("latency_s"),
            cached=row["cached"],
            served_by=get("served_by"),
            error=get("error"),
            english=get("english"),
            translation=None
            if translation is None
            else TranslationNote(translation.get("source"), translation.get("flags", ())),
        )


@dataclass(frozen=True, slots=True)
class TranslationNote:
    """What a line says of the English in its prompt."""

    source: str | None
    flags: Sequence[str] = ()


def stage_rows(prediction: Prediction) -> dict[str, list[dict[str, Any]]]:
    """The stages of a prediction as they stand in a line."""
    return {
        stage: [annotation_json(a) for a in annotations]
        for stage, annotations in prediction.stages.items()
    }


def json_line(value: Any) -> str:
    """A value as one line of a JSONL file."""
    return _encode(value) + "\n"


def annotation_json(annotation: Annotation) -> dict[str, Any]:
    """An annotation as a JSON object: its type, its fields, and offsets where it has them."""
    row: dict[str, Any] = {"type": annotation.type, **annotation.fields}
    if annotation.offsets is not None:
        row["offsets"] = annotation.offsets
    return row


def annotation_from(row: AnnotationRow) -> Annotation:
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


def _usage_json(usage: Usage) -> dict[str, int | None]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }


def _usage_from(row: Mapping[str, Any]) -> Usage:
    get = row.get
    return Usage(
        get("prompt_tokens"),
        get("completion_tokens"),
        get("cached_tokens"),
        get("reasoning_tokens"),
    )
