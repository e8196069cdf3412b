"""Guidelines for the demonstration corpus, and a pattern for a schema of one's own.

The dataclasses go into the prompt as they are written; what is above them is for
editors.
"""

from dataclasses import dataclass

from harness.shapes import Entity


@dataclass
class Person(Entity):
    """The name of a person, without the title or office that may stand before it."""

    span: str  # Such as: "Ada Lovelace", "Naguib Mahfouz"


@dataclass
class Organization(Entity):
    """The name of a company, institution, party, team, newspaper or other group that
    acts under a name of its own."""

    span: str  # Such as: "Médecins Sans Frontières", "Kronos Quartet"


@dataclass
class Location(Entity):
    """The name of a place: a country, region, city, village, river, mountain, street or
    building."""

    span: str  # Such as: "Valparaíso", "Lake Turkana"
