"""Slots, pauses, queues: one limiter for all calls to an endpoint."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.models.pace.buckets import ServerQuota
from harness.models.pace.limiter import Permit, RateLimiter, StopRequested
from tests.helpers import virtual_time


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@given(
    st.integers(1, 20),
    st.lists(
        st.tuples(st.floats(0, 2), st.floats(0, 2), st.booleans(), st.booleans()), max_size=60
    ),
)
def test_permits_never_exceed_the_ceiling(
    ceiling: int, calls: list[tuple[float, float, bool, bool]]
) -> None:
    """Calls take time, are saved for some time, are throttled, or are cancelled at any time."""

    async def main(clock: virtual_time.Clock) -> None:
        limiter = RateLimiter(ceiling, rpm=300, tpm=30_000, clock=clock)
        stop = asyncio.Event()
        slots_taken = 0

        async def call(latency_s: float, saving_s: float, throttled: bool) -> None:
            nonlocal slots_taken
            permit = await limiter.acquire(100, stop)
            slots_taken += 1
            assert slots_taken <= ceiling
            try:
                await asyncio.sleep(latency_s)
                permit.complete(
                    used_tokens=50, throttled=throttled, retry_after_s=0.5 if throttled else None
                )
                await asyncio.sleep(saving_s)
            finally:
                slots_taken -= 1
                permit.release()
                permit.release()

        tasks = []
        for latency_s, saving_s, throttled, cancelled in calls:
            tasks.append(asyncio.ensure_future(call(latency_s, saving_s, throttled)))
            if cancelled:
                asyncio.get_running_loop().call_later(latency_s + saving_s / 2, tasks[-1].cancel)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError)
        # Every slot came back, and nobody is left behind.
        assert slots_taken == 0
        assert limiter._slots_taken == limiter._in_flight == limiter._tokens_in_flight == 0
        assert len(asyncio.all_tasks()) == 1

    virtual_time.run(main)


def test_permits_are_granted_in_order_large_ones_too() -> None:
    async def main(clock: virtual_time.Clock) -> list[int]:
        limiter = RateLimiter(100, tpm=60_000, clock=clock)
        stop = asyncio.Event()
        order: list[int] = []

        async def call(number: int) -> None:
            # One in five is larger than what the bucket holds.
            permit = await limiter.acquire(2_000 if number % 5 == 0 else 10, stop)
            order.append(number)
            permit.complete()
            permit.release()

        await asyncio.gather(*(call(number) for number in range(50)))
        assert clock() - 1000 == pytest.approx((10 * 2_000 + 40 * 10) / 1000, abs=3)
        return order

    assert virtual_time.run(main) == list(range(50))


@pytest.mark.parametrize("waiters", [256, 5000])
def test_the_work_per_grant_does_not_depend_on_the_number_of_waiters(
    waiters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = RateLimiter._delay

    def counted(self: RateLimiter, tokens: int) -> float:
        nonlocal looks
        looks += 1
        return look(self, tokens)

    monkeypatch.setattr(RateLimiter, "_delay", counted)

    async def main(clock: virtual_time.Clock) -> None:
        limiter = RateLimiter(10_000, rpm=60_000, clock=clock)

        async def call() -> None:
            permit = await limiter.acquire(0, asyncio.Event())
            permit.complete()
            permit.release()

        await asyncio.gather(*(call() for _ in range(waiters)))

    virtual_time.run(main)
    assert looks < 5 * waiters


def test_a_pause_holds_for_all_and_lasts_as_long_as_the_server_asked() -> None:
    async def main(clock: virtual_time.Clock) -> None:
        limiter = RateLimiter(32, clock=clock)
        stop = asyncio.Event()
        permits = [await limiter.acquire(0, stop) for _ in range(32)]
        for permit in permits[:8]:
            permit.complete(throttled=True, retry_after_s=7.0)
        # One of the same lot that asks for more makes it longer, one that asks for less does not.
        permits[8].complete(throttled=True, retry_after_s=9.0)
        permits[9].complete(throttled=True, retry_after_s=1.0)
        for permit in permits:
            permit.complete()
            permit.release()
        before = clock()
        probes = [await limiter.acquire(0, stop) for _ in range(limiter.window_size)]
        assert clock() - before == pytest.approx(9.0)
        assert len(probes) == 2
        # The storm goes on, which one refusal tells now; then answers come.
        probes[0].complete(throttled=True, retry_after_s=2.0)
        for permit in probes:
            permit.complete(throttled=True)
            permit.release()
        before = clock()
        for _ in range(3):
            again = await limiter.acquire(0, stop)
            again.complete()
            again.release()
        assert clock() - before == pytest.approx(2.0)

    virtual_time.run(main)


def test_without_a_retry_after_pauses_grow() -> None:
    async def main(clock: virtual_time.Clock) -> list[float]:
        limiter = RateLimiter(8, clock=clock)
        stop = asyncio.Event()
        for permit in [await limiter.acquire(0, stop) for _ in range(8)]:
            permit.complete(throttled=True)
            permit.release()
        waited = []
        for _ in range(8):
            before = clock()
            probe = await limiter.acquire(0, stop)
            waited.append(clock() - before)
            probe.complete(throttled=True)
            probe.release()
        return waited

    assert virtual_time.run(main) == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30])


def test_pauses_stop_growing_after_any_number_of_storms() -> None:
    async def main(clock: virtual_time.Clock) -> None:
        limiter = RateLimiter(2, clock=clock)
        for storm in range(2_000):
            before = clock()
            probe = await limiter.acquire(0, asyncio.Event())
            assert storm < 10 or clock() - before == pytest.approx(30)
            probe.complete(throttled=True)
            probe.release()

    virtual_time.run(main)


def test_a_waiter_cancelled_at_its_grant_uses_nothing_of_the_limit() -> None:
    async def main(clock: virtual_time.Clock) -> None:
        limiter = RateLimiter(1, tpm=60_000, clock=clock)
        stop = asyncio.Event()
        first = await limiter.acquire(0, stop)
        # As much as can be taken at once.
        waiting = asyncio.ensure_future(limiter.acquire(600, stop))
        await _settle()
        first.release()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert limiter._tokens_in_flight == limiter._slots_taken == limiter._in_flight == 0
        await limiter.acquire(600, stop)
        assert clock() == 1000.0

    virtual_time.run(main)


def test_the_next_waiter_is_granted_when_the_first_is_cancelled() -> None:
    async def main(clock: virtual_time.Clock) -> None:
        limiter = RateLimiter(8, tpm=60_000, clock=clock)
        stop = asyncio.Event()
        await limiter.acquire(600, stop)
        large = asyncio.ensure_future(limiter.acquire(600, stop))
        small = asyncio.ensure_future(limiter.acquire(10, stop))
        await _settle()
        assert not small.done()
        large.cancel()
        assert isinstance(await small, Permit)
        assert clock() == 1000.0

    virtual_time.run(main)


def test_a_retry_after_of_hours_does_not_pause_other_calls() -> None:
    async def main(clock: virtual_time.Clock) -> None:
        limiter = RateLimiter(8, clock=clock)
        for _ in range(20):
            permit = await limiter.acquire(0, asyncio.Event())
            permit.complete(throttled=True, retry_after_s=86_400.0)
            permit.release()
        assert clock() == 1000.0

    virtual_time.run(main)


@pytest.mark.parametrize("why", ["slot", "limit", "pause", "quota"])
def test_stop_ends_every_wait_at_once(why: str) -> None:
    async def main(clock: virtual_time.Clock) -> None:
        limiter = RateLimiter(4, rpm=1 if why == "limit" else None, clock=clock)
        stop, other = asyncio.Event(), asyncio.Event()
        permits = [await limiter.acquire(0, stop) for _ in range(1 if why == "limit" else 4)]
        quota = ServerQuota(remaining_requests=0, reset_requests_s=50.0)
        if why != "slot":
            for permit in permits:
                permit.complete(
                    throttled=why == "pause",
                    retry_after_s=50.0,
                    quota=quota if why == "quota" else None,
                )
                permit.release()
        waiting = [asyncio.ensure_future(limiter.acquire(0, stop)) for _ in range(20)]
        another = asyncio.ensure_future(limiter.acquire(0, other))
        await _settle()
        assert not any(task.done() for task in waiting)
        before = clock()
        stop.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, StopRequested) for outcome in outcomes)
        assert clock() == before
        with pytest.raises(StopRequested):
            await limiter.acquire(0, stop)
        # Who waits under another event waits on, and gets in.
        assert not another.done()
        for permit in permits:
            permit.release()
        assert isinstance(await another, Permit)
        await _settle()
        assert len(asyncio.all_tasks()) == 1

    virtual_time.run(main)


def test_one_limiter_serves_several_event_loops_one_after_the_other() -> None:
    clock = virtual_time.Clock()
    limiter = RateLimiter(4, rpm=60, clock=clock)

    async def half(_: virtual_time.Clock) -> float:
        started = clock()
        stop = asyncio.Event()
        for _ in range(30):
            permit = await limiter.acquire(0, stop)
            permit.complete()
            permit.release()
        # Somebody still waits when the loop ends.
        task = asyncio.ensure_future(limiter.acquire(0, stop))
        await asyncio.sleep(0)
        assert not task.done()
        return clock() - started

    assert virtual_time.run(half, clock) == pytest.approx(29, abs=0.1)
    assert virtual_time.run(half, clock) == pytest.approx(30, abs=0.1)


async def test_the_wall_clock_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = iter(range(10**9, 0, -(10**6)))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps)))
    limiter = RateLimiter(8, rpm=6_000_000, tpm=6e9)

    stop = asyncio.Event()
    for _ in range(500):
        permit = await limiter.acquire(10, stop)
        permit.complete(
            used_tokens=5,
            quota=ServerQuota(remaining_requests=3, reset_requests_s=0.001, limit_requests=50),
        )
        permit.release()


def test_another_system_makes_limits_stricter_and_never_looser() -> None:
    async def rate(limiter: RateLimiter, clock: virtual_time.Clock) -> float:
        started = clock()
        for _ in range(61):
            permit = await limiter.acquire(0, asyncio.Event())
            permit.complete()
            permit.release()
        return 60 / (clock() - started) * 60

    async def main(clock: virtual_time.Clock) -> None:
        limiter = RateLimiter(8, clock=clock)
        limiter.adjust(16, 120, None)
        assert limiter.ceiling == 16
        assert await rate(limiter, clock) == pytest.approx(120, rel=0.03)
        limiter.adjust(4, 60, None)
        assert await rate(limiter, clock) == pytest.approx(60, rel=0.03)
        limiter.adjust(4, 600, 10_000)
        assert await rate(limiter, clock) == pytest.approx(60, rel=0.03)
        assert limiter.counts_tokens
        assert limiter.free_slots == 4

    virtual_time.run(main)
