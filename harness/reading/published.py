"""A reply as the public evaluation scripts would have read it, defects included.

Those scripts evaluate the end of the text as Python with the schema's classes in scope. Here the
syntax tree of that text is walked instead, and nothing is ever evaluated. For parity with
published numbers only; ``docs/scoring.md`` lists the accidents of this way of reading. What it
is not: a Python interpreter. Operators, comprehensions, attributes and the like, which no model
of that family writes, count as errors.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping

from harness.records import Annotation, FieldValue
from harness.shapes import SCALARS

# The prompt ends in this; the reply goes on from there.
_PROMPT_END = "result ="
# What the scripts look for, and it must have its space.
_MARK = "result = "


class _EvaluationError(Exception):
    """Evaluating the text would have raised, so that the whole sentence counts for nothing."""


class _OtherValue:
    """A value of which only matters that it is no annotation and no string."""


def read_published(
    reply_text: str, fields: Mapping[str, tuple[str, ...]]
) -> tuple[list[Annotation | None], bool]:
    """The elements that the public scripts read from a reply, and whether they failed.

    What follows the last ``result = `` (with its space) is read as one expression, so that the
    English list stands in where the final one is missing. An element that is no annotation of a
    class in ``fields`` (class name to field names, all of them required) is ``None``: the
    scripts count it as hallucinated. Whatever Python would have raised on, other than an
    unknown name, voids the sentence: no elements, and ``True``. A value that cannot be iterated
    over, such as an annotation without brackets, gives no elements and no error.
    """
    text = (_PROMPT_END + reply_text).strip()
    source = text.rpartition(_MARK)[2].lstrip(" \t")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, mode="eval")
        value = _value(tree.body, fields)
    # Deep nesting ends in RecursionError or MemoryError, NUL or half a character in ValueError.
    except (_EvaluationError, SyntaxError, ValueError, RecursionError, MemoryError):
        return [], True
    if isinstance(value, str):
        return [None] * len(value), False
    if not isinstance(value, list):
        return [], False
    return [element if isinstance(element, Annotation) else None for element in value], False


_Value = str | list["_Value"] | Annotation | _OtherValue


def _value(node: ast.expr, fields: Mapping[str, tuple[str, ...]]) -> _Value:
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.List(nodes) | ast.Tuple(nodes):
            return [_value(element, fields) for element in nodes]
        case ast.Call(ast.Name(name), arguments, keywords):
            return _call(name, arguments, keywords, fields)
        case ast.Dict(keys, values):
            # Iterating over it gives its keys; what an annotation or a list is cannot be one.
            for value in values:
                _value(value, fields)
            elements = [_value(key, fields) for key in keys if key is not None]
            if len(elements) < len(keys) or not all(isinstance(key, str) for key in elements):
                raise _EvaluationError
            return list(elements)
        case ast.Constant() | ast.Name() | ast.UnaryOp(ast.USub(), ast.Constant(int() | float())):
            # A class, known or not: an unknown one is made up on the spot.
            return _OtherValue()
    raise _EvaluationError


def _call(
    name: str,
    arguments: list[ast.expr],
    keywords: list[ast.keyword],
    fields: Mapping[str, tuple[str, ...]],
) -> _Value:
    """A class called as a dataclass is: every field once, and nothing else."""
    positional = [_value(argument, fields) for argument in arguments]
    named = [(keyword.arg, _value(keyword.value, fields)) for keyword in keywords]
    if any(key is None for key, _ in named):
        raise _EvaluationError
    if name not in fields:
        return _OtherValue()
    names = fields[name]
    if len(positional) > len(names):
        raise _EvaluationError
    values = dict(zip(names, positional, strict=False))
    for key, value in named:
        if key not in names or key in values:
            raise _EvaluationError
        values[key] = value
    if len(values) < len(names):
        raise _EvaluationError
    typed: dict[str, FieldValue] = {}
    for key in names:
        value = values[key]
        if key not in SCALARS:
            typed[key] = _role(value)
        elif isinstance(value, str):
            typed[key] = value
        else:
            return _OtherValue()
    return Annotation(name, typed)


def _role(value: _Value) -> tuple[str, ...]:
    """An event's role, whose fillers the scripts put into a list where there is only one."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(filler for filler in value if isinstance(filler, str))
    return ()
