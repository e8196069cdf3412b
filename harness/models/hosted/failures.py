"""What a server says when it does not answer, and whether asking again may help.

Codes: https://platform.openai.com/docs/guides/error-codes. Messages come from the server, so they
are shown as one line, without control characters and without anything that looks like a key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.models.hosted.headers import read_retry_after
from harness.models.hosted.secrets import clean
from harness.models.pace.calls import RetryableError
from harness.records import Failure

if TYPE_CHECKING:
    from openai import APIStatusError

# Four-hundreds that are worth another attempt; five-hundreds all are.
_AGAIN = frozenset({408, 409, 429})
_TOO_LONG_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_TOO_LONG = re.compile(r"context (?:length|window|size)|maximum (?:context|sequence) length", re.I)
_FILTERED_CODES = frozenset({"content_filter", "content_policy_violation"})
# The key, the account, the model or the address is wrong, or the server has moved.
_CONCERNS_ALL = frozenset({301, 302, 303, 307, 308, 401, 402, 403, 404})
# Comes as a 429, but no waiting helps against it.
_QUOTA = "insufficient_quota"
_UNSUPPORTED_CODES = frozenset({"unsupported_parameter", "unsupported_value"})
_UNSUPPORTED = re.compile(r"\bunsupported (?:parameter|value): '([\w.]{1,60})'", re.I | re.ASCII)


@dataclass(frozen=True, slots=True)
class Refused(Failure):
    """A failure that every other call of the system would meet as well.

    ``parameter`` is the one that the endpoint does not take, where that is the reason;
    ``retry_after_s`` the seconds for which it is out of service.
    """

    parameter: str | None = None
    retry_after_s: float | None = None


def read(error: APIStatusError, hidden: Iterable[str]) -> Failure:
    """The failure that a status code means, if it is final.

    Raises:
        RetryableError: it is not.
    """
    status = error.status_code
    body = error.body
    said = body.get("message") if isinstance(body, Mapping) else None
    if 300 <= status < 400:
        said = f"moved to {error.response.headers.get('location', 'nowhere')}"
    message = clean(
        f"HTTP {status}: {said if isinstance(said, str) else error.response.text}", hidden
    )
    # A server may put anything there.
    codes = {code for code in (error.code, error.type) if isinstance(code, str)}
    if status in _CONCERNS_ALL or _QUOTA in codes:
        return Refused(message, status)
    if status in _AGAIN or status >= 500:
        raise RetryableError(message, status, read_retry_after(error.response.headers)) from None
    unsupported = _UNSUPPORTED.search(message)
    if status == 400 and (unsupported or codes & _UNSUPPORTED_CODES):
        named = unsupported[1] if unsupported else error.param
        return Refused(message, status, parameter=named if isinstance(named, str) else "")
    return Failure(
        message,
        status,
        too_long=bool(codes & _TOO_LONG_CODES) or bool(_TOO_LONG.search(message)),
        filtered=bool(codes & _FILTERED_CODES),
    )


def out_of_service(again: RetryableError) -> Refused:
    """The failure of a call that may be made again, but after longer than a run waits."""
    assert again.retry_after_s is not None
    message = f"out of service for {duration(again.retry_after_s)}: {again.message}"
    return Refused(message, again.status_code, retry_after_s=again.retry_after_s)


def duration(seconds: float) -> str:
    """Seconds in the words of whoever waits for so long: ``25 minutes``, ``3 hours``."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{math.ceil(seconds / 3600)} hours"


def transport(error: BaseException) -> str:
    """Why no response came, in the words of whoever noticed first."""
    if not hasattr(error, "request") and isinstance(error, TimeoutError):
        return "no complete answer within timeout_s"
    while error.__cause__ is not None:
        error = error.__cause__
    return f"no complete answer: {type(error).__name__}: {error}"


def may_have_arrived(error: BaseException) -> bool:
    """Whether a server may have answered, and charged, a request of which no response came."""
    from aiohttp import (
        ClientConnectorError,
        ClientHttpProxyError,
        ConnectionTimeoutError,
        InvalidURL,
    )

    unsent = (ClientConnectorError, ConnectionTimeoutError, ClientHttpProxyError, InvalidURL)
    return not isinstance(error, unsent)
