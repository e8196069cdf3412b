"""The concurrency window, against servers that are simulated in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.models.pace.limiter import RateLimiter
from harness.models.pace.window import ConcurrencyWindow
from tests.helpers import virtual_time

#: How many attempts are in flight and the time -> whether this one is answered, and its seconds.
Behaviour = Callable[[int, float, random.Random], tuple[bool, float]]


@dataclass
class ServerLog:
    good: int = 0
    throttled: int = 0
    most: int = 0
    windows: list[int] = field(default_factory=list)


def _simulate(behave: Behaviour, seconds: int, ceiling: int = 256) -> ServerLog:
    """What a server sees of many calls that are retried after a 429 and its Retry-After of 1 s.

    The window is recorded once a second.
    """
    log = ServerLog()
    rng = random.Random(1)

    async def main(clock: virtual_time.Clock) -> None:
        limiter = RateLimiter(ceiling, clock=clock)
        stop = asyncio.Event()
        started = clock()
        in_flight = 0

        async def caller() -> None:
            nonlocal in_flight
            while True:
                permit = await limiter.acquire(0, stop)
                in_flight += 1
                log.most = max(log.most, in_flight)
                answered, latency = behave(in_flight, clock() - started, rng)
                await asyncio.sleep(latency)
                in_flight -= 1
                permit.complete(throttled=not answered, retry_after_s=None if answered else 1.0)
                permit.release()
                log.good += answered
                log.throttled += not answered
                if not answered:
                    await asyncio.sleep(rng.uniform(1.0, 1.1))

        callers = [asyncio.ensure_future(caller()) for _ in range(3 * ceiling)]
        for _ in range(seconds):
            await asyncio.sleep(1)
            log.windows.append(limiter.window_size)
        for task in callers:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)

    virtual_time.run(main)
    return log


def _latency(rng: random.Random) -> float:
    return rng.uniform(0.1, 0.3)


def test_it_grows_to_the_ceiling_where_that_helps_and_not_above() -> None:
    log = _simulate(lambda n, t, rng: (True, _latency(rng)), 10)
    assert log.windows[0] > 32
    assert log.windows[3:] == [256] * 7
    assert log.most == 256
    assert log.good > 0.9 * 10 * 256 / 0.2


def test_it_stops_growing_where_that_does_not_help() -> None:
    # Forty at a time; the others wait in the server's queue.
    log = _simulate(lambda n, t, rng: (True, max(0.2, n / 200) * rng.uniform(0.8, 1.2)), 60, 1024)
    # One doubling too many is not known to be before it has been tried.
    assert max(log.windows[3:]) < 256
    assert log.good > 0.95 * 60 * 200


def test_a_server_of_fixed_capacity_is_filled_with_few_429s() -> None:
    places = 100
    log = _simulate(lambda n, t, rng: (n <= places, _latency(rng) if n <= places else 0.005), 60)
    assert log.good > 0.9 * 60 * places / 0.2
    assert log.throttled < 0.1 * log.good


@pytest.mark.parametrize("ceiling", [8, 32, 256])
def test_a_tenth_throttled_at_random_hardly_lowers_throughput(ceiling: int) -> None:
    log = _simulate(lambda n, t, rng: (rng.random() > 0.1, _latency(rng)), 60, ceiling)
    # A tenth of the attempts bring nothing, which nobody can help.
    assert log.good > 0.85 * 0.9 * 60 * ceiling / 0.2


def test_a_storm_halves_it_once_and_pauses_all() -> None:
    def behave(n: int, time: float, rng: random.Random) -> tuple[bool, float]:
        storm = 5 <= time < 35
        return not storm, 0.005 if storm else _latency(rng)

    log = _simulate(behave, 60)
    assert log.windows[3] == 256
    # One probe of the few a second, not one of everything that waits.
    assert log.throttled < 256 + 31 * 0.1 * 256
    # Afterwards at half at once, and at the ceiling soon.
    assert log.windows[38] > 100
    assert log.windows[-1] == 256
    assert log.good > 0.9 * 28 * 256 / 0.2


def test_attempts_of_an_earlier_epoch_do_not_reduce_it_again() -> None:
    window = ConcurrencyWindow(32)
    assert window.limit == 32
    epochs = [window.epoch] * 32
    storms = [window.record(epoch, True, 1.0) for epoch in epochs]
    assert storms.count(True) == 1
    assert window.epoch == 1
    # It resumes gently, and doubles up to half of what it was, without another look.
    sizes = []
    for round_ in range(4):
        window.filled = True
        for _ in range(window.size):
            assert not window.record(window.epoch, False, 2.0 + round_)
        sizes.append(window.size)
    assert sizes == [4, 8, 16, 17]


def test_stray_429s_reduce_it_by_half_of_their_share() -> None:
    window = ConcurrencyWindow(100)
    for round_ in range(2):
        for _ in range(window.size):
            window.filled = True
            window.record(window.epoch, False, 1.0 + round_)
    assert window.size == 100
    window.filled = False
    epoch = window.epoch
    for number in range(100):
        window.record(epoch, number % 10 == 0, 3.0)
    assert window.size == 95
    assert window.epoch == epoch + 1


@given(
    st.integers(1, 300),
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.booleans(), st.floats(0, 10)), max_size=2000
    ),
)
def test_it_is_always_between_one_and_the_ceiling(
    ceiling: int, events: list[tuple[bool, bool, bool, float]]
) -> None:
    window = ConcurrencyWindow(ceiling)
    now = 0.0
    for throttled, filled, late, passed in events:
        now += passed
        window.filled = filled
        window.record(window.epoch - late, throttled, now)
        assert 1 <= window.limit <= window.size <= ceiling
