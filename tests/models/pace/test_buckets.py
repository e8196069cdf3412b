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


def _sent(
    seconds: float,
    *,
    rpm: float | None = None,
    tpm: float | None = None,
    slots: int = 64,
    sizes: Sizes = _large,
    failing: float = 0.0,
    seed: int = 1,
) -> tuple[Log, Log]:
    """When each attempt of calls without end was sent, with the tokens that it used; and the book
    of who reserves tokens on sending and settles them on receipt."""
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
    log = [(at, 1) for at, _ in _sent(3600, rpm=rpm, failing=0.1)[0]]
    assert 0.98 * 60 * rpm <= len(log) <= 1.02 * 60 * rpm
    assert _most_in_a_minute(log) <= 1.02 * rpm + 1


@pytest.mark.parametrize(
    ("tpm", "sizes"),
    [(10_000, _large), (40_000, _large), (90_000, _large), (200_000, _large), (40_000, _small)],
)
@pytest.mark.parametrize("failing", [0.0, 0.1])
def test_an_hour_of_tokens(tpm: float, sizes: Sizes, failing: float) -> None:
    log, book = _sent(3600, tpm=tpm, sizes=sizes, failing=failing)
    assert 0.98 * 60 * tpm <= sum(used for _, used in log) <= 1.02 * 60 * tpm
    assert _most_in_a_minute(book) <= 1.02 * tpm + max(amount for _, amount in book)
    if not failing:
        assert _most_in_a_minute(log) <= 1.02 * tpm + max(used for _, used in log)


def test_an_hour_of_both() -> None:
    log, book = _sent(3600, rpm=120, tpm=200_000)
    assert 0.98 * 60 * 120 <= len(log) <= 1.02 * 60 * 120
    assert _most_in_a_minute(book) <= 1.02 * 200_000 + 2012


@settings(max_examples=20, deadline=None)
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
    log, book = _sent(200, rpm=rpm, tpm=tpm, slots=slots, failing=failing, seed=seed)
    assert _most_in_a_minute([(at, 1) for at, _ in log]) <= 1.02 * rpm + 1
    assert _most_in_a_minute(book) <= 1.02 * tpm + 2012


class _Limit(Protocol):
    def ask(self, now: float, amount: int) -> tuple[bool, int, float]: ...


class _Fixed:
    """So much from each full minute to the next."""

    def __init__(self, limit: int, minute: float = 60) -> None:
        self._limit, self._minute = limit, minute
        self._begun, self._used = -1.0, 0

    def ask(self, now: float, amount: int) -> tuple[bool, int, float]:
        begun = now // self._minute
        if begun != self._begun:
            self._begun, self._used = begun, 0
        welcome = self._used + amount <= self._limit
        self._used += amount * welcome
        return welcome, self._limit - self._used, (begun + 1) * self._minute - now


class _TokenBucket:
    """A bucket that fills up in a minute; its reset is the time until it is full."""

    def __init__(self, limit: int) -> None:
        self._limit, self._level, self._at = limit, float(limit), 0.0

    def ask(self, now: float, amount: int) -> tuple[bool, int, float]:
        more = (now - self._at) * self._limit / 60
        self._level, self._at = min(self._limit, self._level + more), now
        welcome = self._level >= amount
        self._level -= amount * welcome
        return welcome, int(self._level), (self._limit - self._level) / self._limit * 60


def _ask_for(
    seconds: float, slow: bool, requests: _Limit | None, tokens: _Limit | None, told: int | None
) -> tuple[int, int, int]:
    """Requests answered, tokens reserved by them, and requests turned away by such a server."""
    rng = random.Random(2)
    good = reserved = bad = 0

    async def main(clock: virtual_time.Clock) -> None:
        nonlocal good, reserved, bad
        limiter = RateLimiter(64, clock=clock)
        stop = asyncio.Event()

        async def caller() -> None:
            nonlocal good, reserved, bad
            while True:
                size = sum(_large(rng)[:2])
                permit = await limiter.acquire(size, stop)
                said: dict[str, float | None] = {}
                welcome = True
                for limit, amount, kind in ((requests, 1, "requests"), (tokens, size, "tokens")):
                    if limit is not None:
                        welcome, remaining, reset = limit.ask(clock(), amount)
                        said |= {f"remaining_{kind}": remaining, f"reset_{kind}_s": reset}
                        said[f"limit_{kind}"] = told
                await asyncio.sleep(rng.uniform(2, 8) if slow else rng.uniform(0.1, 0.4))
                quota = ServerQuota(**said)  # type: ignore[arg-type]
                permit.complete(throttled=not welcome, retry_after_s=None, quota=quota)
                permit.release()
                good += welcome
                reserved += size * welcome
                bad += not welcome
                if not welcome:
                    await asyncio.sleep(1)

        callers = [asyncio.ensure_future(caller()) for _ in range(128)]
        await asyncio.sleep(seconds)
        for task in callers:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)

    virtual_time.run(main)
    return good, reserved, bad


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("kind", [_Fixed, _TokenBucket])
def test_a_limit_that_a_server_announces_is_waited_for(
    kind: type[_Fixed | _TokenBucket], named: bool, slow: bool
) -> None:
    good, _, bad = _ask_for(600, slow, kind(500), None, 500 if named else None)
    assert bad == 0
    assert good >= 0.95 * 10 * 500
    _, reserved, bad = _ask_for(600, slow, None, kind(200_000), 200_000 if named else None)
    assert bad == 0
    assert reserved >= 0.95 * 10 * 200_000


def test_a_reset_in_an_hour_is_looked_at_every_minute() -> None:
    good, _, bad = _ask_for(7200, False, _Fixed(3000, 3600), None, 3000)
    assert good >= 2 * 3000
    assert bad <= 120


def test_the_servers_silence_is_no_limit() -> None:
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
