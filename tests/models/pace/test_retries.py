"""Retries of one call: the number of attempts, and the pauses between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from harness.models.pace import retries
from harness.models.pace.calls import Call
from harness.models.pace.limiter import RateLimiter
from harness.records import Answer, Failure
from tests.helpers import virtual_time

ANSWER = Answer("{}", 0.0, None)


class _RecordingCall(Call):
    """Records its pauses, and the slots taken in the middle of each."""

    def __init__(self, limiter: RateLimiter) -> None:
        super().__init__(limiter, asyncio.Event())
        self.limiter = limiter
        self.pauses: list[float] = []
        self.held: list[int] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        loop = asyncio.get_running_loop()
        loop.call_later(
            seconds / 2, lambda: self.held.append(self.limiter.ceiling - self.limiter.free_slots)
        )
        await super().sleep(seconds)


def _outcome_of(
    outcomes: Callable[[], object] | list[object], **options: float
) -> tuple[object, list[float], list[int]]:
    """The outcome of a call whose attempts end like this, its pauses, and the slots taken then."""
    following = outcomes if callable(outcomes) else iter(outcomes).__next__
    settings: dict[str, Any] = {"max_attempts": 8, "backoff_s": 0.5} | options
    call = _RecordingCall(RateLimiter(4))

    async def attempt() -> Answer | Failure:
        (await call.begin_attempt()).complete()
        outcome = following()
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, Answer | Failure)
        return outcome

    async def main(clock: virtual_time.Clock) -> object:
        return await retries.call_with_retries(attempt, call, **settings)

    return virtual_time.run(main), call.pauses, call.held


def test_backoff_doubles_with_jitter_and_stops_growing() -> None:
    outcome, pauses, slots_taken = _outcome_of(
        [retries.RetryableError("no", 500)] * 12, max_attempts=12
    )
    assert outcome == Failure("no", 500, attempts=12)
    caps = [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
    assert len(pauses) == len(caps)
    assert all(cap / 2 <= pause <= cap for pause, cap in zip(pauses, caps, strict=True))
    assert slots_taken == [0] * len(pauses)


def test_a_pause_is_at_least_the_retry_after() -> None:
    outcome, pauses, _ = _outcome_of([retries.RetryableError("slow down", 429, 7.0), ANSWER])
    assert outcome is ANSWER
    assert 7.0 <= pauses[0] <= 7.7
    _, pauses, _ = _outcome_of([retries.RetryableError("slow down", 429, 0.0), ANSWER])
    assert 0.25 <= pauses[0] <= 0.5


def test_a_retry_after_of_hours_ends_the_call() -> None:
    outcome, pauses, _ = _outcome_of([retries.RetryableError("tomorrow", 429, 86_400.0), ANSWER])
    assert outcome == Failure("tomorrow", 429, attempts=1)
    assert pauses == []


def test_a_storm_of_two_minutes_uses_up_no_attempts() -> None:
    storm = [retries.RetryableError("slow down", 429, 2.0)] * 50
    outcome, pauses, _ = _outcome_of([*storm, ANSWER])
    assert outcome is ANSWER
    assert len(pauses) == 50
    # What fails otherwise meanwhile counts, and alone.
    outcome, _, _ = _outcome_of([*storm, *[retries.RetryableError("no", 500)] * 9], max_attempts=3)
    assert outcome == Failure("no", 500, attempts=53)


def test_a_storm_that_does_not_end_fails_the_call() -> None:
    outcome, pauses, _ = _outcome_of(lambda: retries.RetryableError("slow down", 429, 2.0))
    assert isinstance(outcome, Failure)
    assert (outcome.message, outcome.status_code) == ("slow down", 429)
    assert outcome.attempts == len(pauses) + 1
    # Two minutes, and eight more attempts.
    assert 120 + 7 * 2 <= sum(pauses) <= 123 + 8 * 2.2


def test_endless_throttling_ends_after_max_attempts() -> None:
    outcome, pauses, _ = _outcome_of(lambda: retries.RetryableError("slow down", 429, 300.0))
    # The first of them is free.
    assert outcome == Failure("slow down", 429, attempts=9)
    assert len(pauses) == 8


def test_a_final_failure_says_how_many_attempts_it_took() -> None:
    outcome, _, _ = _outcome_of([retries.RetryableError("no", 500), Failure("bad", 400)])
    assert outcome == Failure("bad", 400, attempts=2)


def test_another_exception_is_not_retried() -> None:
    for before in ([], [retries.RetryableError("no", 500)]):
        with pytest.raises(ZeroDivisionError):
            _outcome_of([*before, ZeroDivisionError(), ANSWER])


def test_a_first_attempt_that_succeeds_needs_no_tenacity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tenacity", None)
    assert _outcome_of([ANSWER])[0] is ANSWER
