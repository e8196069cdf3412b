"""Asking through batches: whatever happens, every answer comes, and none is paid for twice."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import EndpointError
from harness.models.batches import ProviderUnreachableError, RemoteBatch
from harness.models.hosted.batch_api import BatchAPI
from harness.models.prices import Price
from harness.records import Answer, Failure, Prompt, Usage
from harness.running.asking import batched, submission
from harness.running.asking.batched import ask_batches
from harness.running.asking.cancel import cancel_batches
from harness.running.budget import Budget
from harness.store import Store, request_key
from harness.store.batch_tracker import BatchTracker
from tests.helpers.batch_runs import Case, case

PRICE = Price(input=1_000_000_000, output=2_000_000_000, cached_input=1_000_000_000)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith(("OPENAI_", "AZURE_OPENAI_", "HARNESS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


async def test_requests_are_split_and_all_answered(tmp_path: Path) -> None:
    async with case(tmp_path) as it:
        assert await it.ask()
        it.check()
        assert [note.split(": ")[1] for note in it.notes if "submitted" in note] == [
            "100 requests submitted",
            "100 requests submitted",
            "50 requests submitted",
        ]
        assert await it.ask()
        assert it.answered() == 250
        assert it.notes == []


async def test_files_are_split_by_bytes(tmp_path: Path) -> None:
    async with case(tmp_path, 60) as it:
        url = "/v1/chat/completions"
        sizes = [len(BatchAPI.request_line(key, url, r.body)) for key, r in it.requests.items()]
        assert await it.ask(most_bytes=10 * max(sizes))
        it.check()
        assert sum("submitted" in note for note in it.notes) == 6


async def test_what_cannot_be_sent_fails_alone(tmp_path: Path) -> None:
    async with case(tmp_path, 3) as it:
        for text in ("\ud800", "x" * 10_000):
            request = it.backend.request(Prompt("odd", text, (), "sys"))
            it.requests[request_key(request)] = request
        assert await it.ask(most_bytes=5_000)
        it.check(3)
        failed = [o.message for o in it.told.values() if isinstance(o, Failure)]
        assert len(failed) == 2
        assert all(message.startswith("could not be sent") for message in failed)


async def test_lines_that_fail_and_expire_are_submitted_again(tmp_path: Path) -> None:
    async with case(tmp_path, batch_error=0.1, batch_expire=0.1) as it:
        assert await it.ask()
        left = {k: o for k, o in it.told.items() if isinstance(o, Failure)}
        assert len(left) < 10
        assert {o.attempts for o in left.values()} <= {3}
        assert len(it.told) == 250
        # The next run asks for the rest.
        while left:
            assert await it.ask(list(left))
            left = {k: o for k, o in it.told.items() if isinstance(o, Failure)}
        assert await it.ask()
        it.check()


async def test_a_line_that_always_fails_is_a_failure(tmp_path: Path) -> None:
    async with case(tmp_path, 5, batch_error=1.0) as it:
        assert await it.ask()
        assert {(o.status_code, o.attempts) for o in it.told.values()} == {(500, 3)}  # type: ignore[union-attr]
        it.check(0)


async def test_leaving_and_taking_up_again(tmp_path: Path) -> None:
    """Also elsewhere: the file is copied to another place between the two."""

    async with case(tmp_path, batch_latency_s=0.5) as it:
        await it.leave(lambda: sum("submitted" in note for note in it.notes) == 3)
        assert it.answered() == 0
        assert "The same command collects" in it.notes[-1]
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        shutil.copy(it.path, elsewhere / "answers.sqlite")
        it.path = elsewhere / "answers.sqlite"
        assert await it.ask()
        assert not any("submitted" in note for note in it.notes)
        it.check()


async def test_leaving_at_any_moment(tmp_path: Path) -> None:
    async with case(tmp_path, batch_latency_s=0.05) as it:
        for moment in range(12):
            ticks = iter(range(10_000))
            await it.leave(lambda m=moment, t=ticks: next(t) > 3 * m)
        assert await it.ask()
        it.check()


async def test_batch_live_and_stored_answers_are_one(tmp_path: Path) -> None:
    async with case(tmp_path, 20) as it:
        assert await it.ask(it.keys[:10])
        with Store(it.path) as store:
            rest = [(key, it.requests[key]) for key in it.keys if key not in store]
            async for key, outcome in it.backend.answers(rest):
                assert isinstance(outcome, Answer)
                store.put(key, it.requests[key], outcome)
        attempts = it.server.stats.attempts.copy()
        assert await it.ask()
        it.check()
        assert it.server.stats.attempts == attempts
        # Live, the same requests are the same bytes.
        async for _ in it.backend.answers(it.requests.items()):
            pass
        assert it.server.stats.attempts.keys() == attempts.keys()


async def test_two_runs_on_one_store(tmp_path: Path) -> None:
    async def it_again(it: Case) -> None:
        third = replace(it, told={}, notes=[], stop=asyncio.Event())
        assert await third.ask(it.keys[50:])
        assert third.answered() == 200

    async with case(tmp_path, batch_latency_s=0.2) as it:
        other = replace(it, told={}, notes=[], stop=asyncio.Event())
        await asyncio.gather(it.ask(), other.ask(), it_again(other))
        assert other.answered() == 250
        it.check()


async def test_another_experiment_collects_its_own(tmp_path: Path) -> None:
    async with case(tmp_path, 60, batch_latency_s=0.2) as it:
        await it.leave(lambda: "submitted" in "".join(it.notes))
        assert await it.ask(it.keys[:20])
        assert it.answered() == 20
        with Store(it.path) as store:
            assert [batch.waiting for batch in BatchTracker(store).batches()] == [40]
        assert await it.ask()
        it.check()


async def test_a_batch_cancelled_elsewhere_is_collected_and_not_repeated(tmp_path: Path) -> None:
    async with case(tmp_path, 80, batch_latency_s=2) as it:
        asking = asyncio.ensure_future(it.ask())
        with Store(it.path) as store:
            api = BatchAPI(it.settings)
            while not (out := BatchTracker(store).batches()) or not out[0].done:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await api.cancel(out[0].remote or "")
            await api.aclose()
        assert await asking
        assert 0 < it.answered() < 80
        assert len(it.told) == it.answered() == it.server.stats.answered.total()
        assert "was cancelled" in it.notes[-1]
        assert await it.ask()
        it.check()


async def test_what_is_given_back_while_a_run_waits_is_not_repeated(tmp_path: Path) -> None:
    async with case(tmp_path, 20, batch_latency_s=600) as it:
        it.settings = it.settings.model_copy(update={"poll_s": 0.5})
        asking = asyncio.ensure_future(it.ask())
        while not it.notes:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        with Store(it.path) as store:
            tracker, said = BatchTracker(store), list[str]()
            assert await cancel_batches(
                tracker, tracker.batches(), named=True, report=said.append, warn=said.append
            )
            assert "given back" in said[-1]
            assert tracker.batches() == []
        assert await asking
        assert "was cancelled with 20 requests left" in it.notes[-1]
        assert it.told == {}


async def test_a_refused_batch_is_told_and_leaves_nothing_out(tmp_path: Path) -> None:
    async with case(tmp_path, 3) as it:
        first = it.requests[it.keys[0]]
        it.requests[it.keys[0]] = replace(first, body={**first.body, "model": "other"})
        key = request_key(it.requests[it.keys[0]])
        it.requests = {key: it.requests.pop(it.keys[0])} | it.requests
        with pytest.raises(EndpointError, match=r"mismatched_model.*line 2"):
            await it.ask()
        it.check(0)


async def test_a_batch_without_room_waits_for_another_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = BatchAPI.retrieve
    seen: list[str] = []

    async def crowded(api: BatchAPI, name: str) -> RemoteBatch:
        remote = await look(api, name)
        if name not in seen:
            seen.append(name)
        if seen.index(name) == 1:
            return replace(remote, status="failed", code="token_limit_exceeded", reason="no room")
        return remote

    monkeypatch.setattr(BatchAPI, "retrieve", crowded)
    async with case(tmp_path, 150, batch_latency_s=0.2) as it:
        assert await it.ask()
        assert it.answered() == 150
        assert sum("submitted" in note for note in it.notes) == 3
        assert it.notes[-1].endswith("completed, 50 of 50 done")


async def test_the_budget_is_never_passed(tmp_path: Path) -> None:
    async with case(tmp_path, 60) as it:
        worst = PRICE.worst_case(it.requests[it.keys[0]].body)
        assert worst is not None
        none = Budget(worst // 2)
        assert not await it.ask(price=PRICE, budget=none)
        assert (it.told, it.notes, none.spent, none.reserved) == ({}, [], 0, 0)
        budget = Budget(20 * worst)
        assert await it.ask(price=PRICE, budget=budget)
        it.check()
        # What the first batch leaves of the money pays for the next ones.
        submitted = [int(n.split()[1]) for n in it.notes if "submitted" in n]
        assert 18 <= submitted[0] <= 22
        assert sum(submitted) == 60
        spent = sum(o.cost or 0 for o in it.told.values() if isinstance(o, Answer))
        assert 0 < spent == budget.spent <= 20 * worst
        assert budget.reserved == 0


async def test_an_answer_without_usage_counts_as_its_worst_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batched, "read_usage", lambda _: Usage())

    async with case(tmp_path, 10) as it:
        worst = sum(PRICE.worst_case(r.body) or 0 for r in it.requests.values())
        budget = Budget(worst)
        with Store(it.path, run="r") as store:
            asked = it.asked(price=PRICE, budget=budget)
            assert await ask_batches(asked, it.keys, store)
            assert store.spent("r") == budget.spent == worst
        assert {o.cost for o in it.told.values() if isinstance(o, Answer)} == {None}


async def test_what_is_out_is_held_back_before_anything_is_submitted(tmp_path: Path) -> None:
    async with case(tmp_path, 40, batch_latency_s=0.3) as it:
        await it.leave(lambda: "submitted" in "".join(it.notes), price=PRICE, keys=it.keys[:20])
        worst = max(PRICE.worst_case(r.body) or 0 for r in it.requests.values())
        budget = Budget(20 * worst)
        asked = it.asked(price=PRICE, budget=budget)
        with Store(it.path) as store:
            asking = asyncio.ensure_future(ask_batches(asked, it.keys, store))
            while not it.notes:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            assert budget.reserved + budget.spent <= 20 * worst
            assert not any("submitted" in note for note in it.notes)
            await asking
        assert budget.spent <= 20 * worst


async def test_a_submission_that_was_cut_off_is_adopted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `kill -9` between the provider's making a batch and our writing down its id."""
    monkeypatch.setattr(submission, "LISTED_S", 0.0)
    process = subprocess.Popen([sys.executable, "-c", ""])  # noqa: ASYNC220
    process.wait()

    async def main(*, made: bool) -> None:
        folder = tmp_path / str(made)
        folder.mkdir()
        async with case(folder, 10) as it:
            with Store(it.path) as store, monkeypatch.context() as patch:

                async def cut_off(api: BatchAPI, *arguments: Any) -> Any:
                    if made:
                        await create(api, *arguments)
                    raise asyncio.CancelledError

                create = BatchAPI.create
                patch.setattr(BatchAPI, "create", cut_off)
                with suppress(asyncio.CancelledError):
                    await ask_batches(it.asked(), it.keys, store)
                (batch,) = BatchTracker(store).batches()
                assert (batch.status, batch.waiting) == ("creating", 10)
                with store.writing() as db:
                    owner = batch.owner.rpartition(":")[0] + f":{process.pid}"
                    db.execute("UPDATE batches SET owner = ?", (owner,))
            assert await it.ask()
            assert any("submitted" in note for note in it.notes) is not made
            it.check()

    await main(made=True)
    await main(made=False)


async def test_a_provider_that_goes_away_for_a_while_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, upload, calls = BatchAPI.retrieve, BatchAPI.upload, 0

    def away() -> None:
        nonlocal calls
        calls += 1
        if 3 <= calls <= 6:
            raise ProviderUnreachableError("nobody there")

    async def look_in_vain(api: BatchAPI, name: str) -> Any:
        away()
        return await look(api, name)

    async def upload_in_vain(api: BatchAPI, file: Any) -> str:
        away()
        return await upload(api, file)

    monkeypatch.setattr(BatchAPI, "retrieve", look_in_vain)
    monkeypatch.setattr(BatchAPI, "upload", upload_in_vain)
    async with case(tmp_path) as it:
        assert await it.ask()
        it.check()
        assert sum("out of reach" in note for note in it.notes) == 1
