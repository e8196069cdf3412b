"""What an error response means, and whether another attempt may succeed.

Codes: https://platform.openai.com/docs/guides/error-codes. The server's message is shown to the
user as one line, without control characters and without anything that looks like a key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.models.hosted.headers import read_retry_after
from harness.models.hosted.redaction import redact_line
from harness.models.pace.retries import RetryableError
from harness.records import Failure

if TYPE_CHECKING:
    from openai import APIStatusError

# The 4xx statuses that are retried; every 5xx is.
_RETRYABLE = frozenset({408, 409, 429})
_TOO_LONG_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_TOO_LONG = re.compile(r"context (?:length|window|size)|maximum (?:context|sequence) length", re.I)
_FILTERED_CODES = frozenset({"content_filter", "content_policy_violation"})
# The key, the account, the model or the address is wrong, or the server has moved.
_SYSTEM_WIDE = frozenset({301, 302, 303, 307, 308, 401, 402, 403, 404})
# The code of a 429 for an empty account, which no waiting helps.
_EMPTY_ACCOUNT = "insufficient_quota"
_UNSUPPORTED_CODES = frozenset({"unsupported_parameter", "unsupported_value"})
_UNSUPPORTED = re.compile(r"\bunsupported (?:parameter|value): '([\w.]{1,60})'", re.I | re.ASCII)


@dataclass(frozen=True, slots=True)
class SystemWideFailure(Failure):
    """A failure that every other call of the system would meet as well.

    ``parameter`` names the one that the endpoint does not accept, if that is the cause (empty if
    the server does not name it). ``retry_after_s`` is the time until the server is in service
    again, in seconds.
    """

    parameter: str | None = None
    retry_after_s: float | None = None


def read_error(error: APIStatusError, secrets: Iterable[str]) -> Failure:
    """The final failure that an error response means.

    Raises:
        RetryableError: it is not final.
    """
    status = error.status_code
    body = error.body
    text = body.get("message") if isinstance(body, Mapping) else None
    if 300 <= status < 400:
        text = f"moved to {error.response.headers.get('location', 'nowhere')}"
    message = redact_line(
        f"HTTP {status}: {text if isinstance(text, str) else error.response.text}", secrets
    )
    # A server may put a value of any type there.
    codes = {code for code in (error.code, error.type) if isinstance(code, str)}
    if status in _SYSTEM_WIDE or _EMPTY_ACCOUNT in codes:
        return SystemWideFailure(message, status)
    if status in _RETRYABLE or status >= 500:
        raise RetryableError(message, status, read_retry_after(error.response.headers)) from None
    unsupported = _UNSUPPORTED.search(message)
    if status == 400 and (unsupported or codes & _UNSUPPORTED_CODES):
        parameter = unsupported[1] if unsupported else error.param
        return SystemWideFailure(
            message, status, parameter=parameter if isinstance(parameter, str) else ""
        )
    return Failure(
        message,
        status,
        too_long=bool(codes & _TOO_LONG_CODES) or bool(_TOO_LONG.search(message)),
        filtered=bool(codes & _FILTERED_CODES),
    )


def out_of_service(error: RetryableError) -> SystemWideFailure:
    """The failure for a server that asks for a longer pause than a run makes."""
    assert error.retry_after_s is not None
    message = f"out of service for {format_duration(error.retry_after_s)}: {error.message}"
    return SystemWideFailure(message, error.status_code, retry_after_s=error.retry_after_s)


def format_duration(seconds: float) -> str:
    """Seconds as a user reads them, rounded up: ``25 minutes``, ``3 hours``."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{math.ceil(seconds / 3600)} hours"


def describe_transport_error(error: BaseException) -> str:
    """Why there was no response, from the innermost cause."""
    if not hasattr(error, "request") and isinstance(error, TimeoutError):
        return "no complete answer within timeout_s"
    while error.__cause__ is not None:
        error = error.__cause__
    return f"no complete answer: {type(error).__name__}: {error}"


def may_have_been_charged(error: BaseException) -> bool:
    """Whether the server may have received, and charged, a request that had no response."""
    from aiohttp import (
        ClientConnectorError,
        ClientHttpProxyError,
        ConnectionTimeoutError,
        InvalidURL,
    )

    unsent = (ClientConnectorError, ConnectionTimeoutError, ClientHttpProxyError, InvalidURL)
    return not isinstance(error, unsent)
