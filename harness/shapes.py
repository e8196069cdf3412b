"""What an entity, a value, a relation and an event are: the one place that knows their fields.

A class of a schema derives from one of four bases. An annotation of that class has one of three
shapes, which its fields tell: values have the shape of entities.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from harness.records import Annotation, FieldValue

# Schema files import the bases only to be valid Python for editors and type checkers.


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


#: The fields that every class of a base must have, in order, by the name of the base.
BASES = {base.__name__: tuple(base.__annotations__) for base in (Entity, Value, Relation, Event)}

(SPAN,) = BASES["Entity"]
ARGUMENTS = BASES["Relation"]
(MENTION,) = BASES["Event"]
#: The kind of an event. A class may lack it, and a reply may leave it out.
SUBTYPE = "subtype"

#: The fields that hold one string. Every other field is a role of an event: a list of strings.
SCALARS = frozenset({SPAN, *ARGUMENTS, MENTION, SUBTYPE})

#: The fields that an annotation cannot lack.
REQUIRED = SCALARS - {SUBTYPE}


class Shape(Enum):
    """What is compared: one surface, a directed pair of them, or a trigger with roles."""

    ENTITY = "entity"
    RELATION = "relation"
    EVENT = "event"


def shape(annotation: Annotation) -> Shape:
    """The shape of an annotation, told by its fields."""
    fields = annotation.fields
    if SPAN in fields:
        return Shape.ENTITY
    if not fields.keys().isdisjoint(ARGUMENTS):
        return Shape.RELATION
    # Without fields it counts as an entity without a surface, which no text has.
    return Shape.EVENT if fields else Shape.ENTITY


def text_of(annotation: Annotation, name: str) -> str | None:
    """A field that is one string; ``None`` where it is absent or a list."""
    value = annotation.fields.get(name)
    return value if isinstance(value, str) else None


def roles(annotation: Annotation) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The arguments of an event: each role's name and its fillers."""
    for name, value in annotation.fields.items():
        if name not in (MENTION, SUBTYPE):
            yield name, as_tuple(value)


def as_tuple(value: FieldValue) -> tuple[str, ...]:
    """The fillers of a role; a single string counts as a list of one."""
    return (value,) if isinstance(value, str) else value
