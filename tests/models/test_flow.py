from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from harness.models import flow
from harness.records import Answer, Failure

ANSWER = Answer("{}", 0.0, None)


def _counted(count: int, pulled: list[int]) -> Iterator[tuple[int, int]]:
    for number in range(count):
        pulled.append(number)
        yield number, number


def test_everything_comes_back_once_and_never_more_than_the_concurrency_is_under_way() -> None:
    under_way = most = 0

    async def call(number: int, nap: flow.Nap) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001 * (number % 3))
        under_way -= 1
        return number * 2

    async def main() -> dict[int, int]:
        return {key: result async for key, result in flow.stream(_counted(200, []), call, 7)}

    assert asyncio.run(main()) == {n: 2 * n for n in range(200)}
    assert most == 7


def test_requests_are_pulled_only_when_a_call_can_start() -> None:
    pulled: list[int] = []
    ahead = []

    async def call(number: int, nap: flow.Nap) -> int:
        await asyncio.sleep(0)
        return number

    async def closing() -> None:
        stream = flow.stream(_counted(100_000, pulled), call, 5)
        async with aclosing(stream):
            taken = 0
            async for _ in stream:
                taken += 1
                # A slow consumer: whatever can happen without it has happened.
                await asyncio.sleep(0.001)
                ahead.append(len(pulled) - taken)
                if taken == 50:
                    return

    asyncio.run(closing())
    # Answered, not yet handed over, and in flight: together never more than the slots.
    assert max(ahead) <= 5
    assert len(pulled) <= 55


def test_a_sleeping_retry_holds_no_slot() -> None:
    order: list[str] = []

    async def call(name: str, nap: flow.Nap) -> str:
        if name == "sleeper":
            await nap(0.1)
        order.append(name)
        return name

    async def main() -> list[str]:
        requests = [(name, name) for name in ["sleeper", *"abcdefgh"]]
        return [key async for key, _ in flow.stream(requests, call, 1)]

    assert asyncio.run(main()) == [*"abcdefgh", "sleeper"]
    assert order == [*"abcdefgh", "sleeper"]


def test_sleepers_are_bounded_too() -> None:
    pulled: list[int] = []

    async def call(number: int, nap: flow.Nap) -> int:
        await nap(30)
        return number

    async def main() -> None:
        stream = flow.stream(_counted(100_000, pulled), call, 4)
        async with aclosing(stream):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await anext(stream)

    asyncio.run(main())
    assert len(pulled) == 16


def test_closing_early_cancels_what_is_under_way() -> None:
    ended: list[str] = []

    async def call(number: int, nap: flow.Nap) -> int:
        try:
            await asyncio.sleep(0.01 if number == 0 else 30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return number

    async def main() -> None:
        stream = flow.stream(_counted(10, []), call, 4)
        async with aclosing(stream):
            async for _ in stream:
                break
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    assert len(ended) == 3


def test_an_exception_of_a_call_or_of_the_source_comes_out() -> None:
    async def call(number: int, nap: flow.Nap) -> int:
        if number == 3:
            raise LookupError("three")
        return number

    def broken() -> Iterator[tuple[int, int]]:
        yield 0, 0
        raise KeyError("source")

    async def drain(requests: Iterator[tuple[int, int]]) -> None:
        async for _ in flow.stream(requests, call, 2):
            pass

    with pytest.raises(LookupError, match="three"):
        asyncio.run(drain(_counted(10, [])))
    with pytest.raises(KeyError, match="source"):
        asyncio.run(drain(broken()))


def _persist(outcomes: list[object], **options: float) -> tuple[object, list[float]]:
    naps: list[float] = []

    async def attempt() -> Answer | Failure:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, Answer | Failure)
        return outcome

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    settings = {"attempts": 8, "backoff_s": 0.5} | options
    return asyncio.run(flow.persist(attempt, nap, **settings)), naps  # type: ignore[arg-type]


def test_backoff_doubles_with_jitter_and_stops_growing() -> None:
    outcome, naps = _persist([flow.TryAgain("no", 500)] * 12, attempts=12)
    assert outcome == Failure("no", 500, attempts=12)
    caps = [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
    assert len(naps) == len(caps)
    assert all(cap / 2 <= nap <= cap for nap, cap in zip(naps, caps, strict=True))


def test_at_least_what_the_server_asked_for_is_waited() -> None:
    outcome, naps = _persist([flow.TryAgain("slow down", 429, 7.0), ANSWER])
    assert outcome is ANSWER
    assert 7.0 <= naps[0] <= 7.7


def test_a_server_that_asks_for_hours_is_not_waited_for() -> None:
    outcome, naps = _persist([flow.TryAgain("tomorrow", 429, 86_400.0), ANSWER])
    assert outcome == Failure("tomorrow", 429, attempts=1)
    assert naps == []


def test_a_final_failure_says_how_many_attempts_it_took() -> None:
    outcome, _ = _persist([flow.TryAgain("no", 500), Failure("bad", 400)])
    assert outcome == Failure("bad", 400, attempts=2)


def test_another_exception_is_not_retried() -> None:
    with pytest.raises(ZeroDivisionError):
        _persist([ZeroDivisionError(), ANSWER])
