"""Guidelines for MasakhaNER 2.0: news in twenty African languages, without its dates.

The dataclasses go into the prompt as they are written; what is above them is for
editors.
"""

from dataclasses import dataclass

from harness.shapes import Entity


@dataclass
class Person(Entity):
    """The name of a person, real or invented: given names, family names, nicknames and
    initials. A title, rank or office that stands before the name does not belong to it,
    and neither does a pronoun or a common noun that only points to somebody."""

    span: str  # Such as: "Tsitsi Dangarembga", "Es'kia Mphahlele"


@dataclass
class Organization(Entity):
    """The name, full or abbreviated, of a group of people that acts under that name:
    companies, media houses, political parties, ministries and courts, armed groups,
    schools and hospitals, sports teams, charities, international bodies."""

    span: str  # Such as: "Zenith Bank", "Asec Mimosas", "Mumias Sugar"


@dataclass
class Location(Entity):
    """The name of a place: continents, countries, states, districts, cities and
    villages, rivers, mountains and islands, roads, stadiums and other named sites. The
    name may include the word that says what kind of place it is."""

    span: str  # Such as: "Ouidah", "Lake Turkana", "Drakensberg"
