"""The cache key: SHA-256 of the canonical JSON of the whole request.

Everything in a request belongs to its key, also what nobody thought of when this was written.
The exceptions are the names below: they say who asks, how often and how many at once, and
cannot change an answer. They are left out of what is stored, too, so that no secret gets there.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from harness.errors import UsageError
from harness.records import Request

#: Left out at the top of a request and at the top of its body; deeper down a field of the same
#: name (a property called "timeout" in a JSON schema, say) is part of what was asked.
DENIED = frozenset(
    {
        # how long to wait and how often to try
        "timeout",
        "retries",
        "max_retries",
        # how many at once
        "concurrency",
        "max_concurrency",
        "batch_size",
        "batch_tokens",
        # who asks and who pays
        "api_key",
        "api_key_env",
        "access_token",
        "auth_token",
        "azure_ad_token",
        "authorization",
        "password",
        "organization",
        "project",
    }
)
#: Tables that go out beside the body. Their names are the server's to choose, so an entry is
#: taken for a credential when its name has one of these parts.
_CARRIERS = frozenset(
    {"headers", "extra_headers", "default_headers", "query", "extra_query", "default_query"}
)
CREDENTIAL_PARTS = (
    *("auth", "cookie", "credential", "key", "organization", "password", "project"),
    *("secret", "sig", "token"),
)
_BODIES = frozenset({"body", "extra_body"})
_ADDRESSES = frozenset({"base_url", "azure_endpoint"})
_DEFAULT_PORTS = {"http": 80, "https": 443}

_encode = json.JSONEncoder(allow_nan=False, sort_keys=True, separators=(",", ":")).encode


def canonical(value: Mapping[str, Any]) -> str:
    """JSON with one spelling: keys sorted, no spaces, pure ASCII, whole floats as integers.

    ``0`` and ``0.0`` are one text, ``1`` and ``true`` are two. ASCII (with ``\\u`` escapes), so
    that the bytes depend neither on an encoding nor on a string being valid Unicode.

    Raises:
        UsageError: a value that JSON has no form for (NaN, a date, a number as a key); the
            message names the field.
    """
    return _encode(_plain(value, ()))


def identity(request: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a request that makes its key: all of it, less the denied names.

    This is also what the store keeps of a request. Credentials among headers and query
    parameters are left out, and addresses are normalised as :func:`normalise_base_url` does.

    Raises:
        UsageError: a request or headers that are no table, or an address that is none.
    """
    if type(request) is not dict and not isinstance(request, Mapping):
        raise UsageError(f"A request is a table of fields, not {type(request).__name__}.")
    kept: dict[str, Any] = {}
    for name, value in request.items():
        folded = str(name).lower().replace("-", "_")
        if folded in DENIED:
            continue
        if folded in _BODIES and isinstance(value, Mapping):
            kept[name] = identity(value)
        elif folded in _CARRIERS and value is not None:
            harmless = _without_credentials(name, value)
            # Headers that held nothing but a key are the same as no headers.
            if harmless:
                kept[name] = harmless
        elif folded in _ADDRESSES and isinstance(value, str):
            kept[name] = normalise_base_url(value)
        else:
            kept[name] = value
    return kept


def request_key(request: Request) -> str:
    """The cache key of a request: 64 hexadecimal digits.

    Raises:
        UsageError: as :func:`canonical` and :func:`identity`.
    """
    return table_key(request.table())


def table_key(table: Mapping[str, Any]) -> str:
    """As :func:`request_key`, of a request as the table that the store keeps."""
    return key_of(canonical(identity(table)))


def key_of(text: str) -> str:
    """The key of a request whose canonical text is at hand."""
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=256)
def normalise_base_url(url: str) -> str:
    """One spelling of a server's address, free of secrets.

    Scheme and host in lower case, no default port, no trailing slash; user, password, query
    and fragment removed, since that is where keys hide.

    >>> normalise_base_url("HTTPS://me:pw@API.Example.org:443/v1/?key=s3cret")
    'https://api.example.org/v1'

    Raises:
        UsageError: not an address (the message does not repeat it: it may hold a key).
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not parts.scheme:
        raise UsageError(
            "base_url is not a complete address. Write it with scheme and host, like "
            "https://api.example.org/v1 or http://127.0.0.1:8000/v1."
        )
    if ":" in host:  # an IPv6 address loses its brackets in `hostname`
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


# A field's place, innermost name first, put together into a path only when an error names it.
_Place = tuple[Any, ...]


def _plain(value: Any, place: _Place) -> Any:
    """The value in JSON's own types."""
    # The exact types first: this runs for every field of every request of a cached rerun.
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if isinstance(value, float):
        if value.is_integer():
            return int(value)
        if not math.isfinite(value):
            raise UsageError(f"The request's {_path(place)} is {value}. Give a finite number.")
        return value
    if kind is dict or isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                field = f"{_path(place)}[{name!r}]"
                raise UsageError(f"The request has a field {field} whose name is no text.")
        return {name: _plain(item, (name, place)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, (n, place)) for n, item in enumerate(value)]
    if isinstance(value, (str, int)):
        return value
    raise UsageError(
        f"The request's {_path(place)} is of type {type(value).__name__}, which JSON cannot hold. "
        "Give text, a number, true or false, a list or a table."
    )


def _path(place: _Place) -> str:
    """``body.messages[0].content``, as users write it."""
    path = ""
    while place:
        name, place = place
        path = (f"[{name}]" if isinstance(name, int) else f".{name}") + path
    return path.removeprefix(".")


def _without_credentials(name: str, carrier: Any) -> dict[str, Any]:
    if not isinstance(carrier, Mapping):
        raise UsageError(f"{name} is a table of names and values, not {type(carrier).__name__}.")
    return {
        entry: value
        for entry, value in carrier.items()
        if not any(part in str(entry).lower() for part in CREDENTIAL_PARTS)
    }
