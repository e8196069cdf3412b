"""Retries of failed attempts, with exponential backoff."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.models.pace.calls import Call
from harness.models.pace.limiter import LONGEST_RETRY_AFTER_S
from harness.records import Answer, Failure

if TYPE_CHECKING:
    from tenacity import RetryCallState

_LONGEST_BACKOFF_S = 30.0
# After the first 429 of a call, further ones cost no attempt for this multiple of ``backoff_s``:
# for two minutes by default.
_FREE_THROTTLING_BACKOFFS = 240
_THROTTLED = 429


class RetryableError(Exception):
    """An attempt failed, and another one may succeed.

    ``status_code`` is the HTTP status, if there was a response; ``retry_after_s`` the pause that
    the server asked for, in seconds.
    """

    def __init__(
        self, message: str, status_code: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.retry_after_s = retry_after_s


class _RetryPolicy:
    """When a call is given up, and how long it waits before the next attempt.

    tenacity asks it after each attempt that failed.
    """

    def __init__(self, max_attempts: int, backoff_s: float) -> None:
        self._max_attempts = max_attempts
        self._backoff_s = backoff_s
        self._clock = asyncio.get_running_loop().time
        self._free_attempts = 0
        self._throttled_at: float | None = None

    def stop(self, state: RetryCallState) -> bool:
        """Whether no attempt is left."""
        error = _last_error(state)
        if (error.retry_after_s or 0.0) > LONGEST_RETRY_AFTER_S:
            return True
        throttled = error.status_code == _THROTTLED
        if throttled and self._throttled_at is None:
            self._throttled_at = self._clock()
        if self._throttled_at is not None:
            free_for = _FREE_THROTTLING_BACKOFFS * self._backoff_s
            if self._clock() - self._throttled_at < free_for:
                self._free_attempts += throttled
        return state.attempt_number - self._free_attempts >= self._max_attempts

    def wait(self, state: RetryCallState) -> float:
        """Seconds until the next attempt, with jitter: calls rejected together spread out."""
        error = _last_error(state)
        if error.retry_after_s is not None:
            requested = error.retry_after_s * random.uniform(1.0, 1.1)
            # A server may ask for a pause of 0 seconds.
            return max(requested, self._backoff_s * random.uniform(0.5, 1.0))
        doublings = min(state.attempt_number - 1, 30)
        longest: float = min(self._backoff_s * 2**doublings, _LONGEST_BACKOFF_S)
        return longest * random.uniform(0.5, 1.0)


async def call_with_retries(
    attempt: Callable[[], Awaitable[Answer | Failure]],
    call: Call,
    *,
    max_attempts: int,
    backoff_s: float,
) -> Answer | Failure:
    """Repeat ``attempt`` while it raises :class:`RetryableError`, at most ``max_attempts`` times.

    Between two attempts the call sleeps: for ``Retry-After`` if the server sent one, otherwise for
    ``backoff_s`` seconds, doubled at each attempt up to 30 s. An attempt that ends in a 429 within
    ``240 * backoff_s`` seconds after the call's first 429 does not count: a storm ends, and the
    call is not the cause.

    Returns:
        The outcome of the attempt that did not raise, or the :class:`Failure` of the last one;
        with the call's ``lost_attempts``.
    """
    try:
        # Nearly all calls end here, and tenacity takes longer than all the rest of a call.
        return _with_attempts(await attempt(), 1, call)
    except RetryableError as error:
        first_error = error
    from tenacity import AsyncRetrying, retry_if_exception_type

    attempts = 0

    async def counted_attempt() -> Answer | Failure:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise first_error
        return await attempt()

    policy = _RetryPolicy(max_attempts, backoff_s)
    retrying = AsyncRetrying(
        stop=policy.stop,
        wait=policy.wait,
        sleep=call.sleep,
        retry=retry_if_exception_type(RetryableError),
        reraise=True,
    )
    try:
        return _with_attempts(await retrying(counted_attempt), attempts, call)
    except RetryableError as error:
        return Failure(error.message, error.status_code, attempts, lost_attempts=call.lost_attempts)


def _with_attempts(outcome: Answer | Failure, attempts: int, call: Call) -> Answer | Failure:
    if isinstance(outcome, Failure):
        return replace(outcome, attempts=attempts, lost_attempts=call.lost_attempts)
    if call.lost_attempts:
        return replace(outcome, lost_attempts=call.lost_attempts)
    return outcome


def _last_error(state: RetryCallState) -> RetryableError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, RetryableError)
    return error
