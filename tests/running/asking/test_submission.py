"""Submitting a batch to a provider that loses calls and lists late: one batch, whatever happens."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from harness.models import batches
from harness.models.batches import BatchUncertainError
from harness.running.asking import submission
from harness.running.asking.run_batches import RunBatches
from harness.running.budget import Budget
from harness.serving.batch_routes import BatchRoutes
from harness.store import Store
from harness.store.batch_tracker import Address, BatchTracker
from harness.store.leases import LeaseOwner
from tests.helpers.batch_runs import Case, case


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith(("OPENAI_", "AZURE_OPENAI_", "HARNESS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(batches, "_BACKOFF_S", 0.001)
    monkeypatch.setattr(submission, "_LOOK_S", 0.01)


@dataclass
class Flaky:
    """What is wrong with a provider: the first ``fails`` calls for a batch end in ``status``
    (``None``: no answer), ``heard`` or not, and ``hidden`` listings show nothing."""

    heard: bool = True
    status: int | None = 500
    fails: int = 2
    hidden: float = 0
    unlisted: bool = False
    asked: int = 0
    listings: int = 0
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def statuses(self) -> list[str]:
        return [made.about["status"] for made in self.made.values()]


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Flaky:
    it = Flaky()
    create, listing = BatchRoutes._create, BatchRoutes._list

    async def flaky_create(desk: BatchRoutes, request: web.Request) -> web.StreamResponse:
        it.asked += 1
        fails = it.asked <= it.fails
        if it.heard or not fails:
            made = await create(desk, request)
            it.made = desk._batches
        if not fails:
            return made
        if it.status is None:
            assert request.transport is not None
            request.transport.close()
        return web.json_response({"error": {"message": "no"}}, status=it.status or 500)

    async def flaky_list(desk: BatchRoutes, request: web.Request) -> web.Response:
        it.listings += 1
        if it.unlisted:
            return web.json_response({"error": {"message": "no"}}, status=502)
        if it.listings <= it.hidden:
            return web.json_response({"object": "list", "data": [], "has_more": False})
        return await listing(desk, request)

    monkeypatch.setattr(BatchRoutes, "_create", flaky_create)
    monkeypatch.setattr(BatchRoutes, "_list", flaky_list)
    return it


@pytest.mark.parametrize("status", [None, 500, 503])
async def test_a_batch_that_is_listed_late_is_waited_for(
    tmp_path: Path, flaky: Flaky, status: int | None
) -> None:
    flaky.status, flaky.hidden = status, 3

    async with case(tmp_path, 20) as it:
        assert await it.ask()
        it.check()
    assert (flaky.asked, len(flaky.made)) == (1, 1)


@pytest.mark.parametrize("status", [None, 500, 429])
async def test_a_batch_that_was_not_made_is_asked_for_again(
    tmp_path: Path, flaky: Flaky, status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "LISTED_S", 0.0)
    flaky.status, flaky.heard = status, False

    async with case(tmp_path, 20) as it:
        assert await it.ask()
        it.check()
    assert (flaky.asked, len(flaky.made)) == (3, 1)
    # Whoever is turned away knows that nothing was made.
    assert (flaky.listings == 0) is (status == 429)


async def test_a_spare_that_is_listed_too_late_is_cancelled(
    tmp_path: Path, flaky: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "LISTED_S", 0.0)
    flaky.hidden = 2

    async with case(tmp_path, 20, batch_latency_s=600) as it:
        await it.leave(lambda: flaky.statuses.count("in_progress") == 1 and len(flaky.made) == 3)
        with Store(it.path) as store:
            (kept,) = BatchTracker(store).batches()
        assert kept.remote == list(flaky.made)[-1]
    assert flaky.asked == 3
    assert [status[:6] for status in flaky.statuses] == ["cancel", "cancel", "in_pro"]


def orphan(it: Case) -> None:
    """The batches were submitted by a process that is gone."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with Store(it.path) as store, store.writing() as db:
        owner = BatchTracker(store).batches()[0].owner.rpartition(":")[0]
        db.execute("UPDATE batches SET owner = ?", (f"{owner}:{gone.pid}",))


async def test_an_interrupt_does_not_wait_for_the_list(
    tmp_path: Path, flaky: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "LISTED_S", float("inf"))
    flaky.hidden = float("inf")

    async with case(tmp_path, 20) as it:
        await it.leave(lambda: flaky.listings > 1)
        with Store(it.path) as store:
            (left,) = BatchTracker(store).batches()
        assert (left.status, left.remote, left.waiting) == ("creating", None, 20)
        orphan(it)
        flaky.hidden = 0
        assert await it.ask()
        it.check()
    assert flaky.asked == 1


async def test_an_interrupt_does_not_wait_for_a_turn(
    tmp_path: Path, flaky: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "retry_pause_s", lambda *_: 3600.0)
    flaky.heard, flaky.status = False, 429

    async with case(tmp_path, 20) as it:
        await it.leave(lambda: flaky.asked)
        with Store(it.path) as store:
            assert BatchTracker(store).batches() == []
    assert flaky.asked == 1


async def test_where_nobody_can_say_the_next_run_looks(tmp_path: Path, flaky: Flaky) -> None:
    flaky.unlisted = True

    async with case(tmp_path, 20) as it:
        with pytest.raises(BatchUncertainError):
            await it.ask()
        orphan(it)
        flaky.unlisted = False
        assert await it.ask()
        it.check()
    assert flaky.asked == 1


async def test_what_another_process_asks_for_is_waited_for(tmp_path: Path) -> None:
    """Some it has answered, some it lets go of."""

    async def settled(met: Callable[[], bool]) -> None:
        while not met():  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    async with case(tmp_path, 30) as it:
        claimant = LeaseOwner()
        with Store(it.path) as store:
            claimant.take(store, it.keys[:20])
            asking = asyncio.ensure_future(it.ask())
            await settled(lambda: it.answered() == 10)
            assert it.told.keys() == set(it.keys[20:])
            live = [(key, it.requests[key]) for key in it.keys[:15]]
            async for key, outcome in it.backend.answers(live):
                store.put(key, it.requests[key], outcome)  # type: ignore[arg-type]
            await settled(lambda: it.answered() == 25)
            claimant.release(store)
        assert await asking
        it.check()
        assert sum("another process is asking for 20" in note for note in it.notes) == 1


ADDRESS = Address("loopback", "m", "/v1/chat/completions", "http://x/v1", None, "OPENAI_API_KEY")


@pytest.mark.parametrize("known", [True, False])
async def test_what_is_out_is_reserved_once(tmp_path: Path, known: bool) -> None:
    """Even if it is more than there is; whether or not the run held it back at its start."""

    async with case(tmp_path, 6) as it:
        with Store(it.path) as store:
            tracker = BatchTracker(store)
            number = tracker.begin(ADDRESS)
            tracker.claim(number, dict.fromkeys(it.keys[:3], 10))
            budget, held = Budget(15), {}
            if known:
                held = dict.fromkeys(it.keys[:4], 10)
                budget.hold(40)
            run_batches = RunBatches(it.asked(budget=budget, reserved=held), store)
            assert run_batches.sort_keys(it.keys) == it.keys[3:]
            assert budget.reserved == 30
            assert not run_batches.reserve(it.keys[4], 1)
            for key in it.keys[:3]:
                run_batches.settle(key, 2)
            assert (budget.reserved, budget.spent, held) == (0, 6, {})
            assert run_batches.reserve(it.keys[4], 9)
