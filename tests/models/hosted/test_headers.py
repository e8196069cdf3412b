from __future__ import annotations

import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from harness.models.hosted.headers import read_quota, read_retry_after
from harness.models.pace.buckets import ServerQuota

_DATE = "Sat, 21 Nov 2026 08:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        # https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
        (
            {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-limit-tokens": "150000",
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-remaining-tokens": "149984",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            ServerQuota(59, 1.0, 60, 149984, 360.0, 150000),
        ),
        # https://console.groq.com/docs/rate-limits
        (
            {
                "x-ratelimit-limit-requests": "14400",
                "x-ratelimit-limit-tokens": "18000",
                "x-ratelimit-remaining-requests": "14370",
                "x-ratelimit-remaining-tokens": "17997",
                "x-ratelimit-reset-requests": "2m59.56s",
                "x-ratelimit-reset-tokens": "7.66s",
            },
            ServerQuota(14370, 179.56, 14400, 17997, 7.66, 18000),
        ),
        # Azure OpenAI: plain seconds, and -1 where a deployment has no such limit.
        (
            {
                "x-ratelimit-remaining-requests": "9",
                "x-ratelimit-reset-requests": "10",
                "x-ratelimit-limit-tokens": "-1",
                "x-ratelimit-remaining-tokens": "-1",
                "x-ratelimit-reset-tokens": "0",
            },
            ServerQuota(9, 10.0, None, None, 0.0, None),
        ),
        # A moment, by the server's own clock.
        (
            {
                "Date": _DATE,
                "X-RateLimit-Remaining-Tokens": "0",
                "X-RateLimit-Reset-Tokens": "2026-11-21T08:00:30Z",
                "X-RateLimit-Remaining-Requests": "5",
                "X-RateLimit-Reset-Requests": "2026-11-21T09:00:01.500+01:00",
            },
            ServerQuota(5, 1.5, None, 0, 30.0, None),
        ),
        ({}, None),
        ({"Content-Type": "application/json"}, None),
    ],
)
def test_announced_limits(headers: dict[str, str], quota: ServerQuota | None) -> None:
    assert read_quota(CIMultiDict(headers)) == quota


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1s", 1),
        ("120ms", 0.12),
        ("1h2m3s", 3723),
        ("1m0.5s", 60.5),
        ("1h", 3600),
        ("86ms", 0.086),
        ("12µs", 0.000012),
        ("3.5", 3.5),
        ("0", 0),
        (" 7 ", 7),
        ("24h0m0s", 86400),
        ("2026-11-21T07:59:00Z", 0),
        # Nonsense, or none of our business.
        ("", None),
        ("soon", None),
        ("-1s", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("1_0", None),
        ("s", None),
        ("1s2", None),
        ("25h", None),
        ("1795248000", None),
        ("999999999999h", None),
        ("9" * 5000, None),
        ("1s" * 5000, None),
        ("2026-11-21", None),
        ("2026-11-21T08:00:30", None),
        ("9999-12-31T23:59:59Z", None),
        ("٣s", None),
    ],
)
def test_when_a_limit_is_reset(written: str, seconds: float | None) -> None:
    headers = CIMultiDict(
        {
            "date": _DATE,
            "x-ratelimit-remaining-requests": "1",
            "x-ratelimit-reset-requests": written,
        }
    )
    quota = read_quota(headers)
    assert quota is not None
    assert quota.reset_requests_s == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("written", ["", "-3", "1.5", "many", "9" * 40, "0x1", "١"])
def test_a_count_that_is_none(written: str) -> None:
    assert read_quota({"x-ratelimit-remaining-tokens": written}) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "2"}, 2),
        ({"Retry-After": "0.3"}, 0.3),
        ({"retry-after-ms": "300", "Retry-After": "60"}, 0.3),
        ({"retry-after-ms": "x", "Retry-After": "60"}, 60),
        ({"Retry-After": "Sat, 21 Nov 2026 08:01:30 GMT", "Date": _DATE}, 90),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT", "Date": _DATE}, 0),
        ({}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "Mon, 01 Jan 2024 00:00:00 +9999999999999999999"}, None),
        ({"Retry-After": "Mon, 01 Jan 2024 " + "0" * 100_000}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(CIMultiDict(headers)) == seconds


def test_a_date_without_the_servers_own_is_read_by_this_clock() -> None:
    later = email.utils.formatdate(time.time() + 3600, usegmt=True)
    waited = read_retry_after({"retry-after": later, "date": "yesterday"})
    assert waited is not None
    assert 3600 - 60 < waited <= 3600


@given(
    st.dictionaries(
        st.sampled_from(
            [
                f"x-ratelimit-{a}-{b}"
                for a in ("remaining", "limit", "reset")
                for b in ("requests", "tokens")
            ]
            + ["retry-after", "retry-after-ms", "date"]
        ),
        st.text() | st.from_regex(r"[0-9]{0,20}(\\.[0-9]*)?(h|m|s|ms|d)?", fullmatch=True),
    )
)
def test_no_header_makes_reading_raise(headers: dict[str, str]) -> None:
    quota, wait = read_quota(headers), read_retry_after(headers)
    assert wait is None or wait >= 0
    if quota is not None:
        for reset in (quota.reset_requests_s, quota.reset_tokens_s):
            assert reset is None or 0 <= reset <= 86400
