"""Guidelines for the slots of xSID: requests to a voice assistant, in many languages.

The classes stand in the order of the published prompts. The dataclasses go into the prompt
as they are written; what is above them is for editors.
"""

from dataclasses import dataclass

from harness.shapes import Entity


@dataclass
class Location(Entity):
    """Where the request applies: a country, region, city, address, landmark or venue,
    or words for a place relative to the speaker."""

    span: str  # Such as: "Reykjavik", "Lower Saxony", "within walking distance"


@dataclass
class Datetime(Entity):
    """A point or stretch of time that does not repeat: a date, weekday, clock time,
    part of the day, season, or a length of time counted from now."""

    span: str  # Such as: "the day after tomorrow", "a quarter past four", "mid-August"


@dataclass
class WeatherAttribute(Entity):
    """What is asked about the weather: a phenomenon, a quality of the air, a quantity,
    or a garment or object that one needs because of it."""

    span: str  # Such as: "hail", "foggy", "pollen count", "sunglasses"


@dataclass
class Reference(Entity):
    """Words that say which existing reminders, alarms or timers are meant: a
    possessive, a quantifier, an ordinal or a demonstrative."""

    span: str  # Such as: "all of my", "the second", "those"


@dataclass
class ReminderTodo(Entity):
    """The thing to be reminded of: the task, errand, appointment or event, as it is
    said."""

    span: str  # Such as: "water the tomatoes", "the parents' evening"


@dataclass
class AlarmModifier(Entity):
    """A word or phrase that says which kind of alarm is meant or how it should be, and
    that is not its time."""

    span: str  # Such as: "loud", "vibrating", "wake-up"


@dataclass
class RecurringDatetime(Entity):
    """A time that repeats: how often, on which days, or at which hour of each of
    them."""

    span: str  # Such as: "every other Thursday", "twice a month", "each evening at ten"


@dataclass
class ReminderModifier(Entity):
    """A word or phrase that says which kind of reminder is meant or how it should be,
    and that is neither its content nor its time."""

    span: str  # Such as: "urgent", "work-related", "missed"


@dataclass
class Negation(Entity):
    """The word that turns the request or part of it into its opposite."""

    span: str  # Such as: "not", "don't", "without"


@dataclass
class TimerAttributes(Entity):
    """A word or phrase that describes a timer: its name, its kind or its state, but not
    its length."""

    span: str  # Such as: "rice", "paused", "countdown"


@dataclass
class NewsType(Entity):
    """The kind or subject of the news that is asked for."""

    span: str  # Such as: "headlines", "cricket", "local politics"


@dataclass
class WeatherTemperatureUnit(Entity):
    """The scale in which a temperature is to be given."""

    span: str  # Such as: "Celsius", "Fahrenheit", "kelvin"


@dataclass
class EntityName(Entity):
    """The name of the piece of music that is to be put on a playlist, where it is not
    said whether it is a song, an album or an artist."""

    span: str  # Such as: "Clair de lune", "Waterloo Sunset"


@dataclass
class Playlist(Entity):
    """The name of a playlist, without the word "playlist" and without its owner."""

    span: str  # Such as: "Rainy Sunday", "Songs for the Road", "deep focus"


@dataclass
class MusicItem(Entity):
    """A common noun for the kind of musical thing that is to be played or added."""

    span: str  # Such as: "single", "ballad", "mixtape"


@dataclass
class Artist(Entity):
    """The name of a musician, singer, composer, band or orchestra."""

    span: str  # Such as: "Cesária Évora", "Kraftwerk", "Fela Kuti"


@dataclass
class PartySizeNumber(Entity):
    """For how many people a table is to be booked: the number alone."""

    span: str  # Such as: "eleven", "12", "a dozen"


@dataclass
class Sort(Entity):
    """A word or phrase that ranks what is searched for by quality, popularity, price or
    age."""

    span: str  # Such as: "cheapest", "award-winning", "most recent"


@dataclass
class RestaurantType(Entity):
    """A common noun for the kind of place to eat or drink."""

    span: str  # Such as: "canteen", "noodle bar", "beer garden"


@dataclass
class RestaurantName(Entity):
    """The proper name of a place to eat or drink."""

    span: str  # Such as: "Noma", "El Celler de Can Roca"


@dataclass
class ServedDish(Entity):
    """A dish, drink or ingredient that the place is to serve."""

    span: str  # Such as: "jollof rice", "ramen", "pierogi"


@dataclass
class Facility(Entity):
    """A convenience or service that the place is to offer besides food."""

    span: str  # Such as: "playground", "wheelchair access", "live music"


@dataclass
class PartySizeDescription(Entity):
    """For whom a table is to be booked, said by naming or describing the people."""

    span: str  # Such as: "my grandparents and me", "Ayşe and her colleagues"


@dataclass
class Cuisine(Entity):
    """The style of cooking that a place offers, by nation, region or tradition."""

    span: str  # Such as: "Ethiopian", "Cantonese", "Tex-Mex"


@dataclass
class ConditionTemperature(Entity):
    """A word for warmth or cold that the weather is asked about."""

    span: str  # Such as: "warmer", "freezing", "mild"


@dataclass
class ConditionDescription(Entity):
    """A word for the state of the sky, wind or precipitation that the weather is asked
    about."""

    span: str  # Such as: "drizzle", "thunderstorms", "clear skies"


@dataclass
class Service(Entity):
    """The name of the service, application or site on which music is to be played."""

    span: str  # Such as: "Bandcamp", "Tidal", "SoundCloud"


@dataclass
class Album(Entity):
    """The title of an album."""

    span: str  # Such as: "Kind of Blue", "Graceland"


@dataclass
class Genre(Entity):
    """A style of music."""

    span: str  # Such as: "highlife", "bossa nova", "techno"


@dataclass
class Track(Entity):
    """The title of a single song or piece."""

    span: str  # Such as: "Pata Pata", "Bohemian Rhapsody"


@dataclass
class RatingValue(Entity):
    """The number of points or stars that a work is to be given."""

    span: str  # Such as: "four and a half", "3.5", "ten"


@dataclass
class BestRating(Entity):
    """The highest value that the rating could have."""

    span: str  # Such as: "10", "a hundred"


@dataclass
class RatingUnit(Entity):
    """The unit in which a rating is counted."""

    span: str  # Such as: "star", "point", "thumbs"


@dataclass
class ObjectName(Entity):
    """The title of a book, series, film, game, song, picture or other work that is to
    be rated or searched for."""

    span: str  # Such as: "Things Fall Apart", "The Wire", "Spirited Away"


@dataclass
class ObjectPartOfSeriesType(Entity):
    """A common noun for the series that a work belongs to."""

    span: str  # Such as: "trilogy", "cycle", "sequence"


@dataclass
class ObjectSelect(Entity):
    """A word that picks out one work of several, by its place in a row or by what is
    being read, seen or heard now."""

    span: str  # Such as: "previous", "that", "latest"


@dataclass
class ObjectType(Entity):
    """A common noun for the kind of work or listing that is to be rated or searched
    for."""

    span: str  # Such as: "poem", "documentary", "showtimes"


@dataclass
class MovieName(Entity):
    """The title of a film whose showings are asked for."""

    span: str  # Such as: "Metropolis", "Yeelen", "In the Mood for Love"


@dataclass
class ObjectLocationType(Entity):
    """A common noun for the kind of place where films are shown."""

    span: str  # Such as: "drive-in", "multiplex", "open-air screen"


@dataclass
class MovieType(Entity):
    """The kind of films whose showings are asked for, with the noun where it is
    said."""

    span: str  # Such as: "horror films", "short films", "comedies"
