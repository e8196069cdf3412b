"""The three shapes an annotation can have, told apart by its fields."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from harness.records import Annotation, FieldValue


class Shape(Enum):
    """What is compared: one surface, a directed pair of them, or a trigger with roles."""

    ENTITY = "entity"
    RELATION = "relation"
    EVENT = "event"


def shape(annotation: Annotation) -> Shape:
    """The shape of an annotation: entities and values have ``span``, relations ``arg1``."""
    fields = annotation.fields
    if "span" in fields:
        return Shape.ENTITY
    if "arg1" in fields or "arg2" in fields:
        return Shape.RELATION
    # With nothing in it, it is a mention without a surface, which no text has.
    return Shape.EVENT if fields else Shape.ENTITY


def text_of(annotation: Annotation, name: str) -> str | None:
    """A field that is one string; ``None`` where it is absent or a list."""
    value = annotation.fields.get(name)
    return value if isinstance(value, str) else None


def as_tuple(value: FieldValue) -> tuple[str, ...]:
    """An argument's fillers; a single string counts as a list of one."""
    return (value,) if isinstance(value, str) else value


def roles(annotation: Annotation) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The arguments of an event: each role's name and its fillers."""
    for name, value in annotation.fields.items():
        if name not in ("mention", "subtype"):
            yield name, as_tuple(value)


class Entity:
    """A name, term or slot of the text."""

    span: str


class Value:
    """A quantity, date or other value of the text."""

    span: str


class Relation:
    """A relation between two entities of the text, directed."""

    arg1: str
    arg2: str


class Event:
    """An event of the text: its trigger, and roles as ``List[str]`` in the classes."""

    mention: str


BASES = {base.__name__: tuple(base.__annotations__) for base in (Entity, Value, Relation, Event)}


# These fields hold one string; every other one is an event's role and holds several.
SCALARS = frozenset({"span", "arg1", "arg2", "mention", "subtype"})
