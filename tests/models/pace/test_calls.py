from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing

import pytest

from harness.models.pace import calls
from harness.models.pace.limiter import RateLimiter
from tests.helpers import virtual_time


def _counted(count: int, pulled: list[int]) -> Iterator[tuple[int, int]]:
    for number in range(count):
        pulled.append(number)
        yield number, number


async def test_every_result_is_yielded_once_and_concurrency_is_bounded() -> None:
    under_way = most = 0

    async def send(number: int, call: calls.Call) -> int:
        nonlocal under_way, most
        permit = await call.begin_attempt()
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001 * (number % 3))
        under_way -= 1
        permit.complete()
        return number * 2

    async def main() -> dict[int, int]:
        return {key: result async for key, result in calls.stream_calls(_counted(200, []), send, 7)}

    assert (await main()) == {n: 2 * n for n in range(200)}
    assert most == 7


async def test_requests_are_read_only_when_a_call_can_start() -> None:
    pulled: list[int] = []
    ahead = []

    async def send(number: int, call: calls.Call) -> int:
        await call.begin_attempt()
        await asyncio.sleep(0)
        return number

    async def closing() -> None:
        stream = calls.stream_calls(_counted(100_000, pulled), send, 5)
        async with aclosing(stream):
            taken = 0
            async for _ in stream:
                taken += 1
                # A slow consumer: whatever can happen without it has happened.
                await asyncio.sleep(0.001)
                ahead.append(len(pulled) - taken)
                if taken == 50:
                    return

    await closing()
    # Answered, not yet handed over, and in flight: together never more than the slots.
    assert max(ahead) <= 5
    assert len(pulled) <= 55


@pytest.mark.parametrize("late", [False, True])
def test_calls_that_wait_for_a_limit_are_no_more_than_the_slots(late: bool) -> None:
    pulled: list[int] = []

    async def send(number: int, call: calls.Call) -> int:
        if late:
            await asyncio.sleep(0.01)
        permit = await call.begin_attempt()
        permit.complete()
        return number

    async def main(clock: virtual_time.Clock) -> None:
        stream = calls.stream_calls(
            _counted(10_000, pulled), send, RateLimiter(64, rpm=60, clock=clock)
        )
        async with aclosing(stream):
            taken = 0
            async for _ in stream:
                taken += 1
                assert len(pulled) <= taken + 64
                if taken == 100:
                    break
        assert clock() == pytest.approx(1100, abs=2)

    virtual_time.run(main)


def test_results_that_arrive_together_are_saved_before_one_is_yielded() -> None:
    saved_batches: list[list[tuple[int, int]]] = []
    seen: list[int] = []
    most = under_way = 0

    async def send(number: int, call: calls.Call) -> int:
        nonlocal under_way, most
        permit = await call.begin_attempt()
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1)
        permit.complete()
        return number

    async def save(batch: Sequence[tuple[int, int]]) -> None:
        nonlocal under_way
        assert not {number for number, _ in batch} & set(seen)
        await asyncio.sleep(5)
        # Not kept until now: its slots are still taken.
        under_way -= len(batch)
        saved_batches.append(list(batch))

    async def main(clock: virtual_time.Clock) -> None:
        async for number, result in calls.stream_calls(_counted(40, []), send, 8, save=save):
            assert number == result
            assert (number, number) in saved_batches[-1]
            seen.append(number)

    virtual_time.run(main)
    assert sorted(seen) == list(range(40))
    assert [number for batch in saved_batches for number, _ in batch] == seen
    assert [len(batch) for batch in saved_batches] == [8] * 5
    assert most == 8


async def test_results_that_cannot_be_saved_end_the_stream() -> None:
    async def send(number: int, call: calls.Call) -> int:
        await call.begin_attempt()
        return number

    async def save(batch: Sequence[tuple[int, int]]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await anext(calls.stream_calls(_counted(40, []), send, 8, save=save))
    assert len(asyncio.all_tasks()) == 1


async def test_a_sleeping_call_occupies_no_slot() -> None:
    order: list[str] = []

    async def send(name: str, call: calls.Call) -> str:
        await call.begin_attempt()
        if name == "sleeper":
            await call.sleep(0.1)
            await call.begin_attempt()
        order.append(name)
        return name

    async def main() -> list[str]:
        requests = [(name, name) for name in ["sleeper", *"abcdefgh"]]
        return [key async for key, _ in calls.stream_calls(requests, send, 1)]

    assert (await main()) == [*"abcdefgh", "sleeper"]
    assert order == [*"abcdefgh", "sleeper"]


async def test_sleeping_calls_are_bounded_too() -> None:
    pulled: list[int] = []

    async def send(number: int, call: calls.Call) -> int:
        await call.begin_attempt()
        await call.sleep(30)
        return number

    async def main() -> None:
        stream = calls.stream_calls(_counted(100_000, pulled), send, 4)
        async with aclosing(stream):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await anext(stream)

    await main()
    assert len(pulled) == 16


async def test_all_slots_are_free_after_each_stream() -> None:
    """Streams that end, are left, fail, and are stopped; on one loop after the other."""
    limiter = RateLimiter(4)

    async def send(number: int, call: calls.Call) -> int:
        permit = await call.begin_attempt()
        await asyncio.sleep(0.001)
        if number == 7:
            raise LookupError
        if number % 3:
            permit.complete()
        if number % 5 == 0:
            await call.sleep(0.001)
            await call.begin_attempt()
        return number

    async def main(count: int, leave_at: int, stop_at: int) -> None:
        stop = asyncio.Event()
        stream = calls.stream_calls(_counted(count, []), send, limiter, stop)
        async with aclosing(stream):
            async for number, _ in stream:
                if number == stop_at:
                    stop.set()
                if number == leave_at:
                    break

    for count, leave_at, stop_at in [(7, -1, -1), (7, 3, -1), (7, -1, 2), (7, -1, -1)]:
        await main(count, leave_at, stop_at)
        assert limiter.free_slots == 4
    with pytest.raises(LookupError):
        await main(20, -1, -1)
    assert limiter.free_slots == 4


def test_two_streams_share_a_limiter() -> None:
    most = under_way = 0

    async def send(number: int, call: calls.Call) -> int:
        nonlocal most, under_way
        permit = await call.begin_attempt()
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1)
        under_way -= 1
        permit.complete()
        return number

    async def main(clock: virtual_time.Clock) -> None:
        limiter = RateLimiter(4, clock=clock)

        async def drain(count: int) -> int:
            return len(
                [key async for key, _ in calls.stream_calls(_counted(count, []), send, limiter)]
            )

        assert await asyncio.gather(drain(40), drain(3)) == [40, 3]

    virtual_time.run(main)
    assert most == 4


async def test_closing_early_cancels_the_calls_under_way() -> None:
    ended: list[str] = []

    async def send(number: int, call: calls.Call) -> int:
        try:
            await call.begin_attempt()
            await asyncio.sleep(0.01 if number == 0 else 30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return number

    async def main() -> None:
        stream = calls.stream_calls(_counted(10, []), send, 4)
        async with aclosing(stream):
            async for _ in stream:
                break
        assert len(asyncio.all_tasks()) == 1

    await main()
    assert len(ended) == 3


def test_stopping_waits_for_attempts_in_flight_and_ends_the_other_calls() -> None:
    async def send(number: int, call: calls.Call) -> int:
        permit = await call.begin_attempt()
        await asyncio.sleep(2)
        permit.complete()
        if number % 2:
            await call.sleep(1000)
            await call.begin_attempt()
        return number

    async def main(clock: virtual_time.Clock) -> list[int]:
        stop = asyncio.Event()
        # Six at once, and then one a minute: the seventh waits for the limit.
        limiter = RateLimiter(8, rpm=1, clock=clock)
        limiter._request_bucket._level = 6  # type: ignore[union-attr]
        asyncio.get_running_loop().call_later(1, stop.set)
        keys = [key async for key, _ in calls.stream_calls(_counted(100, []), send, limiter, stop)]
        assert clock() == 1002
        return keys

    assert sorted(virtual_time.run(main)) == [0, 2, 4]


async def test_an_exception_of_a_call_or_of_the_source_is_raised() -> None:
    async def send(number: int, call: calls.Call) -> int:
        await call.begin_attempt()
        if number == 3:
            raise LookupError("three")
        return number

    def broken() -> Iterator[tuple[int, int]]:
        yield 0, 0
        raise KeyError("source")

    async def drain(requests: Iterator[tuple[int, int]]) -> None:
        async for _ in calls.stream_calls(requests, send, 2):
            pass

    with pytest.raises(LookupError, match="three"):
        await drain(_counted(10, []))
    with pytest.raises(KeyError, match="source"):
        await drain(broken())


@pytest.mark.parametrize("saving", [False, True])
async def test_results_that_arrive_with_an_exception_are_not_lost(saving: bool) -> None:
    pulled: list[int] = []
    stored: list[int] = []

    async def save(batch: Sequence[tuple[int, int]]) -> None:
        stored.extend(key for key, _ in batch)

    async def send(number: int, call: calls.Call) -> int:
        await call.begin_attempt()
        await asyncio.sleep(0)
        if number == 0:
            raise LookupError("zero")
        return number

    keys = []

    async def main() -> None:
        stream = calls.stream_calls(_counted(100, pulled), send, 4, save=save if saving else None)
        async for key, _ in stream:
            keys.append(key)

    with pytest.raises(LookupError, match="zero"):
        await main()
    assert keys == [1, 2, 3]
    assert stored == (keys if saving else [])
    # And nothing more is sent.
    assert pulled == [0, 1, 2, 3]


def test_making_requests_does_not_block_the_event_loop() -> None:
    """A thousand slow requests are not made in one go, whatever the slots."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        clock = asyncio.get_running_loop().time
        while True:
            before = clock()
            await asyncio.sleep(0)
            longest = max(longest, clock() - before)

    async def send(number: int, call: calls.Call) -> int:
        await call.begin_attempt()
        return number

    def slow(clock: virtual_time.Clock) -> Iterator[tuple[int, int]]:
        for number in range(1000):
            clock.now += 0.0004
            yield number, number

    async def main(clock: virtual_time.Clock) -> None:
        watching = asyncio.ensure_future(watch())
        assert len([key async for key, _ in calls.stream_calls(slow(clock), send, 1000)]) == 1000
        watching.cancel()

    virtual_time.run(main)
    assert longest < 0.003
