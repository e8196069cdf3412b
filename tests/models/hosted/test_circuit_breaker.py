from __future__ import annotations

import pytest

from harness.models.hosted.circuit_breaker import Standing
from harness.models.hosted.failures import Refused
from harness.records import Answer, Failure

_ANSWER = Answer("{}", 0.1)
_REFUSED = Refused("HTTP 401: no", 401)
_BAD = Failure("HTTP 400: bad", 400)
_LONG = Failure("HTTP 400: too long", 400, too_long=True)
_FILTERED = Failure("HTTP 400: filtered", 400, filtered=True)
_BUSY = Failure("HTTP 503: busy", 503, 10)
_SILENT = Failure("no complete answer", None, 10)
_ODD = Failure("could not be sent")


@pytest.mark.parametrize(
    ("outcomes", "refused"),
    [
        ([], False),
        ([_REFUSED], True),
        ([_REFUSED, _ANSWER], False),
        ([_BUSY] * 100, False),
        ([_BAD] * 11, False),
        ([_BAD] * 12, True),
        ([_BAD] * 6 + [_LONG, _FILTERED, _BUSY] * 9 + [_BAD] * 6, True),
        ([_LONG, _FILTERED] * 100, False),
        ([_BAD] * 11 + [_ANSWER] + [_BAD] * 100, False),
        ([_ANSWER] + [_REFUSED] * 11, False),
        ([_ANSWER] + [_REFUSED] * 12, True),
        ([_ANSWER, *[_REFUSED] * 11] * 5, False),
        ([_ANSWER] + [_REFUSED, _BAD, _BUSY] * 12, True),
        ([_ANSWER] + [_REFUSED] * 12 + [_ANSWER], False),
        ([_ANSWER] + [_SILENT] * 11, False),
        ([_ANSWER] + [_SILENT] * 12, True),
        ([_SILENT] * 11, False),
        ([_SILENT] * 12, True),
        ([_ANSWER] + [_SILENT] * 6 + [_ODD] + [_SILENT] * 6, True),
        ([_ANSWER] + [_SILENT] * 6 + [_REFUSED] + [_SILENT] * 6, False),
        ([_ANSWER] + [_ODD] * 100, False),
        *(([*[_SILENT] * 11, heard] * 5, False) for heard in (_ANSWER, _BUSY, _LONG)),
        ([_ANSWER] + [_SILENT] * 12 + [_ANSWER], False),
    ],
)
def test_when_every_call_is_refused(outcomes: list[Answer | Failure], refused: bool) -> None:
    standing = Standing(48, 10)
    for outcome in outcomes:
        standing.note(outcome)
    assert standing.refused is refused


def test_few_calls_in_flight_do_not_make_it_hasty() -> None:
    standing = Standing(1, 10)
    standing.note(_ANSWER)
    for _ in range(7):
        standing.note(_REFUSED)
    assert not standing.refused
    standing.note(_REFUSED)
    assert standing.refused


def test_the_reason_is_the_first_refusal_since_the_last_answer() -> None:
    standing = Standing(8, 10)
    for outcome in (_REFUSED, _ANSWER, Refused("new", 403), _REFUSED):
        standing.note(outcome)
    assert standing.refusal == Refused("new", 403)
    assert standing.answers == 1
