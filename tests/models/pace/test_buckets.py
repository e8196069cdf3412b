"""Requests and tokens a minute, over hours of virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.models.pace.buckets import ServerQuota
from harness.models.pace.limiter import RateLimiter
from tests.helpers import virtual_time

#: Tokens of the prompt, the answer's budget, and the answer.
Sizes = Callable[[random.Random], tuple[int, int, int]]
Log = list[tuple[float, int]]


def _large(rng: random.Random) -> tuple[int, int, int]:
    return rng.randint(700, 1500), 512, rng.randint(5, 512)


def _small(rng: random.Random) -> tuple[int, int, int]:
    return rng.randint(50, 300), 64, rng.randint(1, 64)


def _attempt_log(
    seconds: float,
    *,
    rpm: float | None = None,
    tpm: float | None = None,
    slots: int = 64,
    sizes: Sizes = _large,
    failing: float = 0.0,
    seed: int = 1,
) -> tuple[Log, Log]:
    """What endless calls use of a limit: two lists of (seconds since the start, tokens).

    The first has each attempt with the tokens that it used; the second is the account of someone
    who reserves tokens at sending and settles them at receipt.
    """
    rng = random.Random(seed)
    log: Log = []
    book: Log = []

    async def main(clock: virtual_time.Clock) -> None:
        limiter = RateLimiter(slots, rpm=rpm, tpm=tpm, clock=clock)
        stop = asyncio.Event()
        started = clock()

        async def caller() -> None:
            while True:
                prompt, budget, answer = sizes(rng)
                permit = await limiter.acquire(prompt + budget, stop)
                used = 0 if rng.random() < failing else prompt + answer
                log.append((clock() - started, used))
                book.append((clock() - started, prompt + budget))
                await asyncio.sleep(rng.uniform(0.2, 4))
                book.append((clock() - started, used - prompt - budget))
                permit.complete(used_tokens=used)
                permit.release()

        callers = [asyncio.ensure_future(caller()) for _ in range(slots)]
        await asyncio.sleep(seconds)
        for task in callers:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)

    virtual_time.run(main)
    return log, book


def _most_in_a_minute(log: Log) -> int:
    most = within = first = 0
    for at, amount in log:
        within += amount
        while log[first][0] <= at - 60:
            within -= log[first][1]
            first += 1
        most = max(most, within)
    return most


@pytest.mark.parametrize("rpm", [7, 60, 90.5, 500])
def test_an_hour_of_requests(rpm: float) -> None:
    log = [(at, 1) for at, _ in _attempt_log(3600, rpm=rpm, failing=0.1)[0]]
    assert 0.98 * 60 * rpm <= len(log) <= 1.02 * 60 * rpm
    assert _most_in_a_minute(log) <= 1.02 * rpm + 1


@pytest.mark.parametrize(
    ("tpm", "sizes"),
    [(10_000, _large), (40_000, _large), (90_000, _large), (200_000, _large), (40_000, _small)],
)
@pytest.mark.parametrize("failing", [0.0, 0.1])
def test_an_hour_of_tokens(tpm: float, sizes: Sizes, failing: float) -> None:
    log, book = _attempt_log(3600, tpm=tpm, sizes=sizes, failing=failing)
    assert 0.98 * 60 * tpm <= sum(used for _, used in log) <= 1.02 * 60 * tpm
    assert _most_in_a_minute(book) <= 1.02 * tpm + max(amount for _, amount in book)
    if not failing:
        assert _most_in_a_minute(log) <= 1.02 * tpm + max(used for _, used in log)


def test_an_hour_of_both() -> None:
    log, book = _attempt_log(3600, rpm=120, tpm=200_000)
    assert 0.98 * 60 * 120 <= len(log) <= 1.02 * 60 * 120
    assert _most_in_a_minute(book) <= 1.02 * 200_000 + 2012


@settings(max_examples=20)
@given(
    st.floats(1, 1000),
    st.floats(2_000, 300_000),
    st.integers(1, 64),
    st.floats(0, 0.5),
    st.integers(0, 2**32),
)
def test_no_minute_has_more_than_the_limits(
    rpm: float, tpm: float, slots: int, failing: float, seed: int
) -> None:
    log, book = _attempt_log(200, rpm=rpm, tpm=tpm, slots=slots, failing=failing, seed=seed)
    assert _most_in_a_minute([(at, 1) for at, _ in log]) <= 1.02 * rpm + 1
    assert _most_in_a_minute(book) <= 1.02 * tpm + 2012


class _Limit(Protocol):
    def ask(self, now: float, amount: int) -> tuple[bool, int, float]: ...


class _FixedWindowServer:
    """A server with a limit for each full minute."""

    def __init__(self, limit: int, minute: float = 60) -> None:
        self._limit, self._minute = limit, minute
        self._begun, self._used = -1.0, 0

    def ask(self, now: float, amount: int) -> tuple[bool, int, float]:
        begun = now // self._minute
        if begun != self._begun:
            self._begun, self._used = begun, 0
        accepted = self._used + amount <= self._limit
        self._used += amount * accepted
        return accepted, self._limit - self._used, (begun + 1) * self._minute - now


class _TokenBucketServer:
    """A server with a bucket that fills in a minute; its reset is the time until it is full."""

    def __init__(self, limit: int) -> None:
        self._limit, self._level, self._at = limit, float(limit), 0.0

    def ask(self, now: float, amount: int) -> tuple[bool, int, float]:
        more = (now - self._at) * self._limit / 60
        self._level, self._at = min(self._limit, self._level + more), now
        accepted = self._level >= amount
        self._level -= amount * accepted
        return accepted, int(self._level), (self._limit - self._level) / self._limit * 60


def _run_against(
    seconds: float,
    slow: bool,
    requests: _Limit | None,
    tokens: _Limit | None,
    announced: int | None,
) -> tuple[int, int, int]:
    """The requests answered, the tokens they reserved, and the requests throttled."""
    rng = random.Random(2)
    answered = reserved = throttled = 0

    async def main(clock: virtual_time.Clock) -> None:
        nonlocal answered, reserved, throttled
        limiter = RateLimiter(64, clock=clock)
        stop = asyncio.Event()

        async def caller() -> None:
            nonlocal answered, reserved, throttled
            while True:
                size = sum(_large(rng)[:2])
                permit = await limiter.acquire(size, stop)
                quota_fields: dict[str, float | None] = {}
                accepted = True
                for limit, amount, kind in ((requests, 1, "requests"), (tokens, size, "tokens")):
                    if limit is not None:
                        accepted, remaining, reset = limit.ask(clock(), amount)
                        quota_fields |= {f"remaining_{kind}": remaining, f"reset_{kind}_s": reset}
                        quota_fields[f"limit_{kind}"] = announced
                await asyncio.sleep(rng.uniform(2, 8) if slow else rng.uniform(0.1, 0.4))
                quota = ServerQuota(**quota_fields)  # type: ignore[arg-type]
                permit.complete(throttled=not accepted, retry_after_s=None, quota=quota)
                permit.release()
                answered += accepted
                reserved += size * accepted
                throttled += not accepted
                if not accepted:
                    await asyncio.sleep(1)

        callers = [asyncio.ensure_future(caller()) for _ in range(128)]
        await asyncio.sleep(seconds)
        for task in callers:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)

    virtual_time.run(main)
    return answered, reserved, throttled


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("kind", [_FixedWindowServer, _TokenBucketServer])
def test_a_limit_that_a_server_announces_is_waited_for(
    kind: type[_FixedWindowServer | _TokenBucketServer], named: bool, slow: bool
) -> None:
    answered, _, throttled = _run_against(600, slow, kind(500), None, 500 if named else None)
    assert throttled == 0
    assert answered >= 0.95 * 10 * 500
    _, reserved, throttled = _run_against(
        600, slow, None, kind(200_000), 200_000 if named else None
    )
    assert throttled == 0
    assert reserved >= 0.95 * 10 * 200_000


def test_a_reset_in_an_hour_is_checked_every_minute() -> None:
    answered, _, throttled = _run_against(7200, False, _FixedWindowServer(3000, 3600), None, 3000)
    assert answered >= 2 * 3000
    assert throttled <= 120


def test_a_server_that_announces_nothing_sets_no_limit() -> None:
    async def main(clock: virtual_time.Clock) -> float:
        limiter = RateLimiter(4, clock=clock)
        # Until the first answer nobody knows.
        assert limiter.counts_tokens
        for quota in (
            None,
            ServerQuota(),
            ServerQuota(remaining_requests=0),
            ServerQuota(reset_tokens_s=60.0),
        ):
            permit = await limiter.acquire(1000, asyncio.Event())
            permit.complete(quota=quota)
            permit.release()
        assert not limiter.counts_tokens
        before = clock()
        # A limit smaller than one request's reservation lets that through when it is whole.
        for _ in range(2):
            permit = await limiter.acquire(1000, asyncio.Event())
            permit.complete(
                quota=ServerQuota(remaining_tokens=0, reset_tokens_s=20.0, limit_tokens=100)
            )
            permit.release()
        assert limiter.counts_tokens
        return clock() - before

    assert virtual_time.run(main) == pytest.approx(20.0)
