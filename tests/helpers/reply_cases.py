"""A reply and what is to be read in it: one row of the golden tables."""

from __future__ import annotations

from typing import NamedTuple

from harness.records import Annotation, Status
from tests.helpers.reply_oracle import FIELDS


def annotation(kind: str, *values: str | tuple[str, ...]) -> Annotation:
    return Annotation(kind, dict(zip(FIELDS[kind], values, strict=True)))


def people(*spans: str) -> tuple[Annotation, ...]:
    return tuple(annotation("Person", span) for span in spans)


class Case(NamedTuple):
    """A reply to a prompt that asks for one list, unless ``result`` and ``final`` differ."""

    reply: str
    final: tuple[Annotation, ...] | None
    repairs: tuple[str, ...] = ()
    status: Status | None = None
    result: tuple[Annotation, ...] | None = None
    finish: str | None = None
    dropped: tuple[tuple[str, str], ...] = ()


KANO = people("Kano")
LAGOS = people("Lagos")
