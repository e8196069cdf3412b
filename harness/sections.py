"""Tables of a TOML file read strictly: an unknown key or a wrong value is one clear message."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import ExperimentError, unknown_name_message

T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)

# The validator's words for types, as the users of a TOML file know them.
_WORDS = (
    ("Input should be a valid string", "a text is needed"),
    ("Input should be a valid tuple", "a list is needed"),
    ("Input should be a valid dictionary", "a table is needed"),
    ("Input should be a valid mapping", "a table is needed"),
    ("Input should be a valid", "this must be a valid"),
    ("Input should be", "this must be"),
    ("Field required", "this is needed"),
)


class Section(BaseModel):
    """The keys of one table: unknown ones are refused, types are not converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def read_section(
    kind: type[S], table: Mapping[str, Any], where: str, *, also: Iterable[str] = ()
) -> S:
    """Read a table into its value object.

    Args:
        also: further keys that the same table may hold, for the list of choices.
        where: what an error message begins with.

    Raises:
        ExperimentError: an unknown key (the nearest is named), or a value that does not fit.
    """
    known = [field.alias or name for name, field in kind.model_fields.items()]
    check_keys(table, [*also, *known], where, refused=also)
    return validated(kind.model_validate, table, where)


def check_keys(
    table: Mapping[str, Any], known: Iterable[str], where: str, *, refused: Iterable[str] = ()
) -> None:
    """Refuse a key that is not ``known``, or is known and ``refused`` here.

    Raises:
        ExperimentError: names the key, the nearest known one, and all of them.
    """
    choices = list(known)
    for key in table:
        if key not in choices or key in refused:
            raise ExperimentError(f"{where}: {unknown_name_message('key', key, choices)}")


def validated(validate: Callable[[Any], T], values: Any, where: str) -> T:
    """What a validator of pydantic makes of values.

    Raises:
        ExperimentError: the first value that does not fit. It is not repeated in the message: it
            may be a key pasted into the wrong place.
    """
    try:
        return validate(values)
    except ValidationError as error:
        raise ExperimentError(f"{where}: {_complaint(error)}") from None


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    for theirs, ours in _WORDS:
        message = message.replace(theirs, ours)
    return (f"`{key}`: " if key else "") + f"{message}."
