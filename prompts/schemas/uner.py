"""Guidelines for Universal NER: news, encyclopaedia and web text in many languages.

The dataclasses go into the prompt as they are written; what is above them is for
editors.
"""

from dataclasses import dataclass

from harness.shapes import Entity


@dataclass
class Person(Entity):
    """The name of a person, real or invented: given names, family names, nicknames and
    stage names, also of animals and gods. A title, rank or office that stands before
    the name does not belong to it. Peoples, nationalities and families are not
    persons."""

    span: str  # Such as: "Ada Lovelace", "Naguib Mahfouz", "Zaha Hadid"


@dataclass
class Organization(Entity):
    """The name, full or abbreviated, of a body of people that acts as one: companies
    and their brands, news outlets, government bodies, parties, armies, schools, teams,
    bands, associations. A country or city counts here only where its government is
    meant."""

    span: str  # Such as: "Médecins Sans Frontières", "Fairphone", "Kronos Quartet"


@dataclass
class Location(Entity):
    """The name of a place, natural or built: continents, countries, regions, cities and
    quarters, waters and mountains, heavenly bodies, streets, squares, stations,
    museums, shops and other buildings where the site is meant rather than those who run
    it."""

    span: str  # Such as: "Valparaíso", "Lake Baikal", "Karl Johans gate"
