"""Tables of a TOML file read strictly: an unknown key or a wrong value is one clear message."""

from __future__ import annotations

from pydantic import ValidationError

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


def complaint(error: ValidationError) -> str:
    """A validation's first complaint as a sentence.

    The value itself is not repeated: it may be a key pasted into the wrong place.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    said = first["msg"].removeprefix("Value error, ").rstrip(".")
    for theirs, ours in _WORDS:
        said = said.replace(theirs, ours)
    return (f"`{key}`: " if key else "") + f"{said}."
