"""What listings and explanations say of a request. Nothing here has a part in its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any


def model_of(request: Mapping[str, Any]) -> str:
    """The model a request names, or the empty text."""
    body = request.get("body")
    named = request.get("model") or (body.get("model") if isinstance(body, Mapping) else None)
    return _printable(named)


def served_model(response: str) -> str:
    """The model that a response names; a request to a local one has hashes in a name's place."""
    try:
        body = json.loads(response)
    except (ValueError, RecursionError):
        return ""
    return _printable(body.get("model")) if isinstance(body, dict) else ""


def endpoint_of(request: Mapping[str, Any]) -> str:
    """Where a request goes: the server's address or the alias that stands for it."""
    return _printable(request.get("endpoint") or request.get("base_url") or request.get("backend"))


def prompt_hash(request: Mapping[str, Any]) -> int:
    """The SHA-256 of a request's longest text, its first 64 bits as a signed integer.

    That is the prompt, wherever a kind of request keeps it, so no field has to be named here.
    """
    longest = _longest(request)
    digest = hashlib.sha256(longest.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value of a request with its path, as in ``body.messages[0].content``."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            step = name if name.replace("-", "_").isidentifier() else f"[{name!r}]"
            yield from leaves(item, f"{path}.{step}" if path else step)
    elif isinstance(value, (list, tuple)) and value:
        for n, item in enumerate(value):
            yield from leaves(item, f"{path}[{n}]")
    else:
        yield path, value


def _longest(value: Any) -> str:
    """The longest text in a request; the first of several."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return ""
    return max(map(_longest, value), key=len, default="")


def _printable(value: object) -> str:
    """Text that does no harm in a terminal: imported requests come from anywhere."""
    text = value if isinstance(value, str) else ""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
