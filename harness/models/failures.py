"""What a server says when it does not answer, and whether asking again may help.

Codes: https://platform.openai.com/docs/guides/error-codes; the Retry-After header: RFC 9110,
section 10.2.3. Messages come from the server, so they are shown as one line, without control
characters and without anything that looks like a key.
"""

from __future__ import annotations

import email.utils
import math
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.models.flow import TryAgain
from harness.records import Failure

if TYPE_CHECKING:
    from openai import APIStatusError

HIDDEN = "[hidden]"
_LONGEST_MESSAGE = 300
_KEY_LIKE = re.compile(r"\bsk-[\w-]{6,}|(?i:\bbearer)\s+[^\s\"',}]+")
# Four-hundreds that are worth another attempt; five-hundreds all are.
_AGAIN = frozenset({408, 409, 429})
_TOO_LONG_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_TOO_LONG = re.compile(r"context (?:length|window|size)|maximum (?:context|sequence) length", re.I)
_FILTERED_CODES = frozenset({"content_filter", "content_policy_violation"})
# The key, the account, the model or the address is wrong.
_CONCERNS_ALL = frozenset({401, 402, 403, 404})
# Comes as a 429, but no waiting helps against it.
_QUOTA = "insufficient_quota"


@dataclass(frozen=True, slots=True)
class Refused(Failure):
    """A failure that every other call of the system would meet as well."""


def read(error: APIStatusError, hidden: Iterable[str]) -> Failure:
    """The failure that a status code means, if it is final.

    Raises:
        TryAgain: it is not.
    """
    status = error.status_code
    body = error.body
    said = body.get("message") if isinstance(body, Mapping) else None
    message = clean(
        f"HTTP {status}: {said if isinstance(said, str) else error.response.text}", hidden
    )
    # A server may put anything there.
    codes = {code for code in (error.code, error.type) if isinstance(code, str)}
    if status in _CONCERNS_ALL or _QUOTA in codes:
        return Refused(message, status)
    if status in _AGAIN or status >= 500:
        raise TryAgain(message, status, retry_after(error.response.headers)) from None
    return Failure(
        message,
        status,
        too_long=bool(codes & _TOO_LONG_CODES) or bool(_TOO_LONG.search(message)),
        filtered=bool(codes & _FILTERED_CODES),
    )


def transport(error: BaseException) -> str:
    """Why no response came, in the words of whoever noticed first."""
    if not hasattr(error, "request") and isinstance(error, TimeoutError):
        return "no complete answer within timeout_s"
    while error.__cause__ is not None:
        error = error.__cause__
    return f"no complete answer: {type(error).__name__}: {error}"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a response asks to wait, ``None`` where it does not say so in earnest.

    ``retry-after-ms`` (OpenAI's and Azure's) wins over ``retry-after`` in seconds or as a date.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) / unit
        except ValueError:
            continue
        return seconds if math.isfinite(seconds) and seconds >= 0 else None
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, date.timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def secrets(key: str) -> tuple[str, ...]:
    """Everything secret that the SDK may send: the key, and what the environment adds to it."""
    found = [
        key,
        os.environ.get("OPENAI_ADMIN_KEY", ""),
        os.environ.get("AZURE_OPENAI_AD_TOKEN", ""),
    ]
    for line in os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines():
        value = line.partition(":")[2].strip()
        found += [value, value.split(" ")[-1]]
    # Longest first, so that no secret survives in part; a very short one would blot out words.
    return tuple(sorted({s for s in found if len(s) >= 6}, key=len, reverse=True))


def clean(message: str, hidden: Iterable[str]) -> str:
    """One short printable line without secrets."""
    for secret in hidden:
        message = message.replace(secret, HIDDEN)
    message = _KEY_LIKE.sub(HIDDEN, message)
    message = "".join(c if c.isprintable() else " " for c in message[: 4 * _LONGEST_MESSAGE])
    message = " ".join(message.split())
    cut = len(message) > _LONGEST_MESSAGE
    return message[: _LONGEST_MESSAGE - 1] + "…" if cut else message
