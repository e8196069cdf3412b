"""Asking through the Batch API: submit, wait or leave, collect.

The store's file says which keys are out with which batch (:mod:`harness.store.batch_tracker`).
So the next run takes over from one that died or was left, here or wherever the file was copied to.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

from harness.errors import EndpointError
from harness.models.batches import (
    BatchResponse,
    ProviderUnreachableError,
    RemoteBatch,
    UnansweredRequest,
    UnknownBatchError,
    read_chunks,
)
from harness.models.replies import read_usage
from harness.records import Answer, Failure
from harness.running.asking import submission
from harness.running.asking.run_batches import (
    BatchContext,
    RunBatches,
    RunStopped,
    TrackedBatch,
    request_count,
)
from harness.running.asking.submission import STEP, Submitter
from harness.store import Store
from harness.store.batch_tracker import CREATING, ENDED, Batch

__all__ = ["BatchContext", "ask_batches"]

#: Seconds between two looks at a batch, at most.
_LONGEST_WAIT_S = 60.0
#: The number of batches that one request is given to in one run, at most.
_TRIES = 3
#: Seconds after which a submission that nobody has touched is taken for dead.
_ABANDONED_S = 600.0
#: The provider's code for a batch that has to wait until another one ends.
_NO_ROOM = "token_limit_exceeded"
#: Seconds for which a run waits for a provider that it has reached before.
_OUTAGE_S = 3600.0


async def ask_batches(context: BatchContext, keys: Iterable[str], store: Store) -> bool:
    """Have keys answered by batches; ``False`` if the budget left some out.

    Collects batches that have ended, submits keys that are neither answered nor in a batch, and
    waits. Once ``stop`` is set it returns at once: batches go on at the provider, and the next run
    collects them. A request that a batch did not reach, or that met a 429 or 5xx, is submitted
    again, three times in all. The rest of a batch that somebody cancels meanwhile is not.

    Raises:
        CredentialsError: a key is needed and not there.
        EndpointError: the provider refuses a batch, or a question about one.
        StoreError: the tracker or an answer could not be written.
    """
    run = _BatchedRun(context, store)
    try:
        return await run.ask(list(keys))
    except RunStopped:
        if run.remote_ids:
            context.note(
                f"{', '.join(run.remote_ids)}: still at the provider. The same command collects "
                f"the answers, `harness batch cancel` stops it."
            )
        return True
    finally:
        await context.client.aclose()


class _Outage:
    """How long a provider has been unreachable, and whether to go on waiting for it."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.ongoing = False
        self._note = note
        self._last_contact = float("-inf")

    def end(self) -> None:
        """The provider was reached."""
        self._last_contact, self.ongoing = time.monotonic(), False

    def bear(self, error: ProviderUnreachableError) -> None:
        """Wait for a provider that was reached before.

        Raises:
            ProviderUnreachableError: it never was, or not for an hour.
        """
        if time.monotonic() - self._last_contact > _OUTAGE_S:
            raise error
        if not self.ongoing:
            self._note(f"out of reach, waiting: {error}")
        self.ongoing = True


class _BatchedRun:
    def __init__(self, context: BatchContext, store: Store) -> None:
        self._context = context
        self._client = context.client
        self._batches = RunBatches(context, store)
        self._submitter = Submitter(self._batches, self._client)
        self._tracker = self._batches.tracker
        self._tracked = self._batches.tracked
        self._outage = _Outage(context.note)
        # The number of times that a key has come back from a batch without an outcome.
        self._tries: dict[str, int] = {}
        # Why the provider refused a batch, and whether another one that ends makes room for it.
        self._refusal = ""
        self._waits_for_room = False

    @property
    def remote_ids(self) -> list[str]:
        """The provider's ids of the batches that are there."""
        return [batch.remote for batch in self._tracked.values() if batch.remote is not None]

    async def ask(self, keys: list[str]) -> bool:
        """As :func:`ask_batches`."""
        shortest = wait = self._client.poll_s
        batches = self._batches
        # Batches that have ended come first: they tell how much money is left.
        free_keys = batches.sort_keys(keys)
        free_keys += await self._check_batches()
        announced = False
        while True:
            free_keys = await self._submit(batches.sort_keys(free_keys))
            if batches.keys_elsewhere and not announced:
                announced = True
                count = request_count(batches.keys_elsewhere)
                self._context.note(f"another process is asking for {count}: waiting for it")
            waiting = self._tracked or self._outage.ongoing
            if not waiting and (self._refusal or not batches.keys_elsewhere):
                break
            await self._sleep(min(wait, shortest) if batches.keys_elsewhere else wait)
            before = len(self._tracked)
            free_keys += await self._check_batches()
            free_keys += batches.recheck_elsewhere()
            ended = len(self._tracked) < before
            wait = shortest if ended else min(2 * wait, _LONGEST_WAIT_S)
        if self._refusal:
            raise EndpointError(self._refusal)
        return not free_keys

    async def _submit(self, free_keys: Sequence[str]) -> list[str]:
        """Submit keys in as many batches as it takes; returns those there was no room for."""
        queue = deque(free_keys)
        while queue and not self._refusal:
            if self._context.stop.is_set():
                raise RunStopped
            before = len(self._tracked)
            try:
                room = await self._submitter.submit(queue)
                if len(self._tracked) > before:
                    self._outage.end()
            except ProviderUnreachableError as error:
                self._outage.bear(error)
                break
            if not room:
                break
        return list(queue)

    async def _check_batches(self) -> list[str]:
        """Look at every batch and collect those that have ended; returns the keys that are free
        again."""
        free_keys: list[str] = []
        for number, tracked in list(self._tracked.items()):
            batch = self._tracker.get(number)
            try:
                if batch is not None and batch.remote is None:
                    await self._recover(batch)
                    batch = self._tracker.get(number)
                if batch is None or not batch.waiting:
                    # It was given up, given back, or collected by another process.
                    if batch is not None:
                        tracked.remote, tracked.status = batch.remote, batch.status
                    keys = self._batches.sort_keys(self._tracked.pop(number).keys)
                    free_keys += self._unless_cancelled(keys, tracked)
                elif batch.remote is not None:
                    free_keys += await self._check(batch, batch.remote, tracked)
                    self._outage.end()
            except ProviderUnreachableError as error:
                self._outage.bear(error)
                break
        return free_keys

    async def _check(self, batch: Batch, remote_id: str, tracked: TrackedBatch) -> list[str]:
        """Look at one batch; collects it if it has ended."""
        try:
            remote = await self._batches.unless_stopped(self._client.retrieve(remote_id))
        except UnknownBatchError:
            address = batch.address
            raise EndpointError(
                f"Batch {remote_id}, submitted to {address.base_url} with the key in "
                f"{address.api_key_env}, is not known there. Set that key and address, or have "
                f"`harness batch cancel {remote_id}` give it up and run again."
            ) from None
        self._tracker.record_status(batch.id, remote.status, remote.completed, remote.failed)
        if tracked.resubmit is None:
            tracked.resubmit = remote.status in ("cancelling", "cancelled")
        if remote.status != tracked.status:
            done = (
                "" if remote.completed is None else f", {remote.completed} of {batch.requests} done"
            )
            self._context.note(f"{remote_id}: {remote.status}{done}")
        tracked.remote, tracked.status = remote_id, remote.status
        if remote.status not in ENDED:
            return []
        if remote.status == "failed":
            return self._abandon(batch, remote)
        return await self._collect(batch, remote, tracked)

    async def _recover(self, batch: Batch) -> None:
        """Find the batch of a submission that was cut off, or give the submission up."""
        age = time.time() - batch.touched
        if not batch.orphaned and age < _ABANDONED_S:
            return
        if batch.status == CREATING:
            find = self._client.find_batch(batch.nonce, since=batch.created)
            remote = await self._batches.unless_stopped(find)
            if remote is not None:
                self._tracker.adopt(batch.id, remote.id, remote.status)
                return
            if age < submission.LISTED_S:
                return
        self._tracker.give_up(batch.id)

    def _abandon(self, batch: Batch, remote: RemoteBatch) -> list[str]:
        """Free the keys of a batch that the provider did not begin.

        No other batch is submitted, unless this one only lacked room.
        """
        self._tracker.abandon(batch.id, remote.status)
        keys = self._tracked.pop(batch.id).keys
        for key in keys:
            self._batches.settle(key, 0)
        self._waits_for_room = remote.code == _NO_ROOM
        self._refusal = (
            f"Batch {remote.id} of model '{batch.address.model}' was refused by "
            f"{batch.address.endpoint} ({remote.reason.rstrip(' .') or 'no reason given'}). Change "
            f'what it says in the experiment file, or leave out mode = "batch".'
        )
        return list(keys)

    async def _collect(self, batch: Batch, remote: RemoteBatch, tracked: TrackedBatch) -> list[str]:
        """Store every answer of a batch; returns the keys that are to be asked again."""
        keys_elsewhere: list[str] = []
        unanswered: dict[str, UnansweredRequest] = {}
        for file in (remote.output_file, remote.error_file):
            if file is None:
                continue
            with tempfile.TemporaryFile() as copy:
                try:
                    await self._batches.unless_stopped(self._client.download(file, copy))
                except UnknownBatchError:
                    self._context.note(f"{remote.id}: its file {file} is gone at the provider")
                    continue
                for chunk in read_chunks(copy, STEP):
                    keys_elsewhere += self._store_lines(batch, tracked.keys, chunk, unanswered)
                    await asyncio.sleep(0)
                    if self._context.stop.is_set():
                        raise RunStopped
        self._tracker.free(batch.id, tracked.keys)
        del self._tracked[batch.id]
        if self._waits_for_room:
            self._refusal, self._waits_for_room = "", False
        for key in tracked.keys:
            self._batches.settle(key, 0)
        rest = self._unless_cancelled(tracked.keys, tracked)
        return keys_elsewhere + [
            key for key in rest if self._may_resubmit(key, remote, unanswered.get(key))
        ]

    def _unless_cancelled(self, keys: Collection[str], tracked: TrackedBatch) -> Collection[str]:
        """The rest of a batch; nothing of a batch that somebody cancelled while we waited."""
        if tracked.status != "cancelled" or tracked.resubmit:
            return keys
        if keys:
            self._context.note(
                f"{tracked.remote} was cancelled with {request_count(keys)} left. The same command "
                f"submits what is left again."
            )
        return ()

    def _store_lines(
        self,
        batch: Batch,
        keys: set[str],
        chunk: Sequence[bytes],
        unanswered: dict[str, UnansweredRequest],
    ) -> list[str]:
        """Store the answers in lines of a batch's file, and remove their keys from ``keys``.

        Returns keys whose answers another process has taken.
        """
        answers: dict[str, Answer] = {}
        price = self._context.price
        for line in chunk:
            key, outcome = self._client.read_result(line) or ("", UnansweredRequest(""))
            if key not in keys:
                continue  # it belongs to another experiment, whose run collects it
            if isinstance(outcome, BatchResponse):
                cost = None if price is None else price.cost(read_usage(outcome.body))
                answers[key] = Answer(outcome.text, 0.0, cost)
            elif isinstance(outcome, UnansweredRequest):
                unanswered[key] = outcome
            else:
                self._tracker.free(batch.id, [key])
                keys.discard(key)
                self._batches.settle(key, 0)
                self._context.record(key, outcome)
        stored = self._tracker.store(
            batch.id,
            [(key, self._context.request_of(key), answer) for key, answer in answers.items()],
            kind=self._context.kind,
        )
        keys.difference_update(answers)
        for key in stored:
            self._batches.settle(key, answers[key].cost)
            self._context.record(key, answers[key])
        return [key for key in answers if key not in stored]

    def _may_resubmit(
        self, key: str, remote: RemoteBatch, unanswered: UnansweredRequest | None
    ) -> bool:
        """Whether a key without an outcome is asked once more; if not, it has failed."""
        tries = self._tries[key] = self._tries.get(key, 0) + 1
        if tries < _TRIES:
            return True
        reason = unanswered or UnansweredRequest(
            f"batch {remote.id} ({remote.status}) says nothing of it"
        )
        self._context.record(key, Failure(reason.message, reason.status_code, tries))
        return False

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._context.stop.wait()
        if self._context.stop.is_set():
            raise RunStopped
