"""What Python itself makes of a reply: the oracle of the parser's tests."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping

from harness.reading.reply import DROP_REASONS, REPAIRS
from harness.records import Annotation, FieldValue, Prediction, Status

FIELDS: dict[str, tuple[str, ...]] = {
    "Person": ("span",),
    "Location": ("span",),
    "Organization": ("span",),
    "BornIn": ("arg1", "arg2"),
    "Attack": ("mention", "subtype", "attacker", "target"),
}
ANSWERS = ("result", "final_result")
SCALARS = {"span", "arg1", "arg2", "mention", "subtype"}

Stages = dict[str, tuple[Annotation, ...]]


def canonical(reply: str, answers: tuple[str, ...] = ANSWERS) -> Stages | None:
    """The annotations by stage if the reply is Python of the canonical form, else ``None``.

    That form: ``result =`` and the reply are assignments of lists to the answers, each once and
    in order, and the lists hold calls of known classes with every field given a string, or a
    list of strings where it is a role.
    """
    if re.search("##.*result", reply, re.IGNORECASE):
        return None  # A heading, to the parser.
    source = f"{answers[0]} ={reply}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        stages: Stages = {}
        for statement in tree.body:
            match statement:
                case ast.Assign([ast.Name(name)], ast.List(elements)) if name not in stages:
                    stages[name] = tuple(_annotation(element, source) for element in elements)
                case _:
                    return None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return stages if tuple(stages) == answers else None


def _annotation(node: ast.expr, source: str) -> Annotation:
    match node:
        case ast.Call(ast.Name(name), arguments, keywords) if name in FIELDS:
            # The tree hides parentheses and other spellings of a name.
            if not (ast.get_source_segment(source, node) or "").startswith(f"{name}("):
                raise ValueError("not canonical")
            values: dict[str, FieldValue] = {}
            for field, argument in zip(FIELDS[name], arguments, strict=False):
                values[field] = _field(field, argument)
            for keyword in keywords:
                if keyword.arg not in FIELDS[name] or keyword.arg in values:
                    raise ValueError("not canonical")
                written = ast.get_source_segment(source, keyword) or ""
                if not written.startswith(keyword.arg):
                    raise ValueError("not canonical")
                values[keyword.arg] = _field(keyword.arg, keyword.value)
            if len(values) < len(FIELDS[name]) or len(arguments) + len(keywords) > len(values):
                raise ValueError("not canonical")
            return Annotation(name, {field: values[field] for field in FIELDS[name]})
    raise ValueError("not canonical")


def _field(field: str, node: ast.expr) -> FieldValue:
    match node:
        case ast.Constant(str(value)) if field in SCALARS:
            return value
        case ast.List(elements) if field not in SCALARS:
            return tuple(_string(element) for element in elements)
    raise ValueError("not canonical")


def _string(node: ast.expr) -> str:
    match node:
        case ast.Constant(str(value)):
            return value
    raise ValueError("not canonical")


def check_invariants(
    prediction: Prediction,
    answers: tuple[str, ...] = ANSWERS,
    fields: Mapping[str, tuple[str, ...]] | None = FIELDS,
) -> None:
    """What holds of every prediction, whatever the reply was."""
    assert set(prediction.stages) <= set(answers)
    assert set(prediction.repairs) <= set(REPAIRS)
    assert len(set(prediction.repairs)) == len(prediction.repairs)
    for item in prediction.dropped:
        assert item.reason in DROP_REASONS
        assert item.stage in prediction.stages
        assert len(item.item) <= 200
    if prediction.status is Status.OK:
        assert not prediction.repairs
        assert set(prediction.stages) == set(answers)
    if prediction.status is Status.REPAIRED:
        assert prediction.repairs
        assert answers[-1] in prediction.stages
    if prediction.status is Status.MISSING_STAGE:
        assert prediction.stages
        assert answers[-1] not in prediction.stages
    if prediction.status is Status.EMPTY:
        assert not prediction.stages
    for stage in prediction.stages.values():
        for annotation in stage:
            assert annotation.offsets is None
            if fields is None:
                continue
            assert tuple(annotation.fields) == fields[annotation.type]
            for field, value in annotation.fields.items():
                if field in SCALARS:
                    assert isinstance(value, str)
                else:
                    assert isinstance(value, tuple)
                    assert all(isinstance(filler, str) for filler in value)
