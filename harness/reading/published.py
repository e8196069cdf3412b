"""A reply as the public evaluation scripts read it, with their defects.

Those scripts evaluate the end of the text as Python, with the schema's classes in scope. This
module walks the syntax tree of that text instead and evaluates nothing. Its only purpose is
agreement with published numbers. ``docs/scoring.md`` lists the defects of this way of reading.

It is not a Python interpreter. Operators, comprehensions and attributes count as errors, because
no model of that family writes them.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping

from harness.records import Annotation, FieldValue
from harness.shapes import SCALARS

# The end of the prompt, which the reply continues.
_PROMPT_END = "result ="
# The mark that the scripts search for. The space at its end is part of it.
_MARK = "result = "


class _EvaluationError(Exception):
    """Evaluation of the text would raise, so that the sentence has no elements."""


class _OtherValue:
    """A value that is neither an annotation nor a string nor a list."""


def read_published(
    reply_text: str, fields: Mapping[str, tuple[str, ...]]
) -> tuple[list[Annotation | None], bool]:
    """The elements that the public scripts read from a reply, and whether they failed.

    The text behind the last ``result = `` (with its space) is read as one expression. Therefore
    the English list stands in if the final list is missing.

    ``fields`` maps class names to field names, all of them required. An element that is no
    annotation of these classes is ``None``: the scripts count it as hallucinated. If Python would
    raise, except for an unknown name, the sentence has no elements and the second value is
    ``True``. A value that is not iterable, such as an annotation without brackets, has no elements
    and is no error.
    """
    text = (_PROMPT_END + reply_text).strip()
    source = text.rpartition(_MARK)[2].lstrip(" \t")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, mode="eval")
        value = _value(tree.body, fields)
    # Deep nesting raises RecursionError or MemoryError; NUL and lone surrogates raise ValueError.
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
            # Iteration gives the keys. Annotations and lists are not hashable, hence no keys.
            for value in values:
                _value(value, fields)
            elements = [_value(key, fields) for key in keys if key is not None]
            if len(elements) < len(keys) or not all(isinstance(key, str) for key in elements):
                raise _EvaluationError
            return list(elements)
        case ast.Constant() | ast.Name() | ast.UnaryOp(ast.USub(), ast.Constant(int() | float())):
            # A name is a class. The scripts define an unknown class when they meet it.
            return _OtherValue()
    raise _EvaluationError


def _call(
    name: str,
    arguments: list[ast.expr],
    keywords: list[ast.keyword],
    fields: Mapping[str, tuple[str, ...]],
) -> _Value:
    """The value of a call. A dataclass needs every field once and takes nothing else."""
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
    field_values: dict[str, FieldValue] = {}
    for key in names:
        value = values[key]
        if key not in SCALARS:
            field_values[key] = _role(value)
        elif isinstance(value, str):
            field_values[key] = value
        else:
            return _OtherValue()
    return Annotation(name, field_values)


def _role(value: _Value) -> tuple[str, ...]:
    """The fillers of an event's role. The scripts put a single filler into a list."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(filler for filler in value if isinstance(filler, str))
    return ()
