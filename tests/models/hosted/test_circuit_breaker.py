from __future__ import annotations

import pytest

from harness.models.hosted.circuit_breaker import CircuitBreaker
from harness.models.hosted.failures import SystemWideFailure
from harness.records import Answer, Failure

_ANSWER = Answer("{}", 0.1)
_REJECTED = SystemWideFailure("HTTP 401: no", 401)
_MALFORMED = Failure("HTTP 400: bad", 400)
_TOO_LONG = Failure("HTTP 400: too long", 400, too_long=True)
_FILTERED = Failure("HTTP 400: filtered", 400, filtered=True)
_BUSY = Failure("HTTP 503: busy", 503, 10)
_NO_RESPONSE = Failure("no complete answer", None, 10)
_UNSENDABLE = Failure("could not be sent")


@pytest.mark.parametrize(
    ("outcomes", "is_open"),
    [
        ([], False),
        ([_REJECTED], True),
        ([_REJECTED, _ANSWER], False),
        ([_BUSY] * 100, False),
        ([_MALFORMED] * 11, False),
        ([_MALFORMED] * 12, True),
        ([_MALFORMED] * 6 + [_TOO_LONG, _FILTERED, _BUSY] * 9 + [_MALFORMED] * 6, True),
        ([_TOO_LONG, _FILTERED] * 100, False),
        ([_MALFORMED] * 11 + [_ANSWER] + [_MALFORMED] * 100, False),
        ([_ANSWER] + [_REJECTED] * 11, False),
        ([_ANSWER] + [_REJECTED] * 12, True),
        ([_ANSWER, *[_REJECTED] * 11] * 5, False),
        ([_ANSWER] + [_REJECTED, _MALFORMED, _BUSY] * 12, True),
        ([_ANSWER] + [_REJECTED] * 12 + [_ANSWER], False),
        ([_ANSWER] + [_NO_RESPONSE] * 11, False),
        ([_ANSWER] + [_NO_RESPONSE] * 12, True),
        ([_NO_RESPONSE] * 11, False),
        ([_NO_RESPONSE] * 12, True),
        ([_ANSWER] + [_NO_RESPONSE] * 6 + [_UNSENDABLE] + [_NO_RESPONSE] * 6, True),
        ([_ANSWER] + [_NO_RESPONSE] * 6 + [_REJECTED] + [_NO_RESPONSE] * 6, False),
        ([_ANSWER] + [_UNSENDABLE] * 100, False),
        *(([*[_NO_RESPONSE] * 11, heard] * 5, False) for heard in (_ANSWER, _BUSY, _TOO_LONG)),
        ([_ANSWER] + [_NO_RESPONSE] * 12 + [_ANSWER], False),
    ],
)
def test_when_it_opens(outcomes: list[Answer | Failure], is_open: bool) -> None:
    breaker = CircuitBreaker(48, 10)
    for outcome in outcomes:
        breaker.record(outcome)
    assert breaker.is_open is is_open


def test_the_threshold_is_at_least_eight() -> None:
    breaker = CircuitBreaker(1, 10)
    breaker.record(_ANSWER)
    for _ in range(7):
        breaker.record(_REJECTED)
    assert not breaker.is_open
    breaker.record(_REJECTED)
    assert breaker.is_open


def test_the_rejection_is_the_first_since_the_last_answer() -> None:
    breaker = CircuitBreaker(8, 10)
    for outcome in (_REJECTED, _ANSWER, SystemWideFailure("new", 403), _REJECTED):
        breaker.record(outcome)
    assert breaker.rejection == SystemWideFailure("new", 403)
    assert breaker.answer_count == 1
