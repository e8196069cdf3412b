"""The headers of a response that announce limits and pauses.

Formats: ``x-ratelimit-*``, https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
(durations as ``1s``, ``6m0s``, ``120ms``), https://console.groq.com/docs/rate-limits (the same,
``2m59.56s``), Azure OpenAI (plain seconds), and servers that give the time of the reset as an
RFC 3339 date; ``Retry-After``, RFC 9110, section 10.2.3, and OpenAI's ``retry-after-ms``.

A value of any other form, or one too large to be meant, is ignored.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from datetime import datetime

from harness.models.pace.buckets import ServerQuota

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
_UNITS["ns"] = 1e-9
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(ms|us|µs|ns|d|h|m|s)", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_COUNT = re.compile(r"\d{1,15}", re.ASCII)
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?", re.ASCII)
_LONGEST_TEXT = 60
# No limit covers more than a day. A larger number is an absolute time, or an error.
_LONGEST_RESET_S = 86400.0


def read_quota(headers: Mapping[str, str]) -> ServerQuota | None:
    """The limits in the ``x-ratelimit-*`` headers; ``None`` if none of them can be read."""
    requests, tokens = (_read_limit(headers, kind) for kind in ("requests", "tokens"))
    if requests == tokens == (None, None, None):
        return None
    return ServerQuota(
        remaining_requests=requests[0],
        reset_requests_s=requests[1],
        limit_requests=requests[2],
        remaining_tokens=tokens[0],
        reset_tokens_s=tokens[1],
        limit_tokens=tokens[2],
    )


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """The pause that a response asks for, in seconds; ``None`` if it names none that can be read.

    ``retry-after-ms`` takes precedence over ``retry-after``, which is in seconds or a date. A date
    is compared with the response's own ``Date``, so that a wrong local clock does no harm.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if _NUMBER.fullmatch(value):
            return float(value) / unit
    end = _http_date(headers.get("retry-after", ""))
    return None if end is None else max(0.0, end - _now(headers))


def _read_limit(
    headers: Mapping[str, str], kind: str
) -> tuple[int | None, float | None, int | None]:
    """What remains, the seconds until the reset, and the limit itself."""
    remaining = headers.get(f"x-ratelimit-remaining-{kind}")
    limit = headers.get(f"x-ratelimit-limit-{kind}")
    reset = headers.get(f"x-ratelimit-reset-{kind}")
    return (
        None if remaining is None else _count(remaining),
        None if reset is None else _seconds(reset, headers),
        None if limit is None else _count(limit),
    )


def _count(value: str) -> int | None:
    value = value.strip()
    return int(value) if _COUNT.fullmatch(value) else None


def _seconds(value: str, headers: Mapping[str, str]) -> float | None:
    value = value.strip()
    if len(value) > _LONGEST_TEXT:
        return None
    if _NUMBER.fullmatch(value):
        seconds = float(value)
    elif _DURATION.fullmatch(value):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    else:
        try:
            reset_at = datetime.fromisoformat(value)
        except ValueError:
            return None
        if reset_at.tzinfo is None:
            return None
        seconds = max(0.0, reset_at.timestamp() - _now(headers))
    return seconds if seconds <= _LONGEST_RESET_S else None


def _now(headers: Mapping[str, str]) -> float:
    """Seconds since 1970 by the server's clock, otherwise by the local one."""
    server_time = _http_date(headers.get("date", ""))
    return time.time() if server_time is None else server_time


def _http_date(value: str) -> float | None:
    if len(value) > _LONGEST_TEXT:
        return None
    try:
        return email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
