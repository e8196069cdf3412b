"""Asking through the Batch API: submit, leave or wait, collect; whoever comes by goes on.

What is out, and with which batch, is in the store's own file (:mod:`harness.store.ledger`), so a
run that dies or is left is taken up by the next one, here or where the file was copied to.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from harness.errors import EndpointError
from harness.models.batches import (
    BatchResponse,
    ProviderUnreachableError,
    RemoteBatch,
    Unanswered,
    UnknownBatchError,
    lines,
)
from harness.models.replies import read_usage
from harness.records import Answer, Failure
from harness.running.asking import submission
from harness.running.asking.submission import (
    STEP,
    Asked,
    Books,
    Following,
    Stopped,
    Submitter,
    count,
)
from harness.store import Store
from harness.store.ledger import CREATING, ENDED, Batch

__all__ = ["Asked", "ask_batches"]

_LONGEST_WAIT_S = 60.0
# How often one request is given to a batch in one run.
_TRIES = 3
# A submission that nobody has touched for so long has no process any more, wherever that ran.
_FORSAKEN_S = 600.0
# A provider that has no room for more until a batch ends.
_FULL = "token_limit_exceeded"
# A provider that was there and is out of reach is waited for so long.
_OUTAGE_S = 3600.0


async def ask_batches(asked: Asked, keys: Iterable[str], store: Store) -> bool:
    """Have keys answered by batches; ``False`` if the budget left some out.

    Collects what is finished, submits what is neither answered nor out, and waits. Once
    ``stop`` is set it leaves at once: batches go on at the provider, and the next run collects
    them. Requests that a batch did not reach or that met a 429 or 5xx are submitted again, three
    times in all; those of a batch that somebody cancels meanwhile are not.

    Raises:
        CredentialsError: a key is needed and not there.
        EndpointError: the provider refuses a batch, or what is asked about one.
        StoreError: the ledger or an answer could not be written.
    """
    run = _Run(asked, store)
    try:
        return await run.ask(list(keys))
    except Stopped:
        if run.out:
            asked.note(
                f"{', '.join(run.out)}: still at the provider. The same command collects what "
                f"comes of it, `harness batch cancel` stops it."
            )
        return True
    finally:
        await asked.client.aclose()


class _Run:
    def __init__(self, asked: Asked, store: Store) -> None:
        self._asked = asked
        self._books = Books(asked, store)
        self._client = asked.client
        self._submitter = Submitter(self._books, self._client)
        self._ledger = self._books.ledger
        self._following = self._books.following
        # How often a key has come back without an outcome.
        self._tries: dict[str, int] = {}
        # Why a batch was not taken, and whether one that ends makes room for it.
        self._refused = ""
        self._full = False
        # When the provider was last reached, and whether it is out of reach since.
        self._reached = float("-inf")
        self._away = False

    @property
    def out(self) -> list[str]:
        """The batches that are at the provider, by its names."""
        return [f.remote for f in self._following.values() if f.remote is not None]

    async def ask(self, keys: list[str]) -> bool:
        """As :func:`ask_batches`."""
        shortest = wait = self._client.poll_s
        # What has finished meanwhile comes first: it tells what is still to be paid.
        books = self._books
        loose = books.sort(keys)
        loose += await self._look()
        told = False
        while True:
            loose = await self._submit(books.sort(loose))
            if books.elsewhere and not told:
                told = True
                self._asked.note(
                    f"another process is asking for {count(books.elsewhere)}: waiting for it"
                )
            if not (self._following or self._away) and (self._refused or not books.elsewhere):
                break
            await self._sleep(min(wait, shortest) if books.elsewhere else wait)
            before = len(self._following)
            loose += await self._look()
            loose += books.look_elsewhere()
            fewer = len(self._following) < before
            wait = shortest if fewer else min(2 * wait, _LONGEST_WAIT_S)
        if self._refused:
            raise EndpointError(self._refused)
        return not loose

    async def _submit(self, loose: Sequence[str]) -> list[str]:
        """Submit keys in as many batches as it takes; returns those there was no room for."""
        queue = deque(loose)
        while queue and not self._refused:
            if self._asked.stop.is_set():
                raise Stopped
            before = len(self._following)
            try:
                room = await self._submitter.submit(queue)
                if len(self._following) > before:
                    self._met()
            except ProviderUnreachableError as error:
                self._bear(error)
                break
            if not room:
                break
        return list(queue)

    async def _look(self) -> list[str]:
        """Look at every batch, and collect those that have ended; returns what is to be asked."""
        loose: list[str] = []
        for number, following in list(self._following.items()):
            batch = self._ledger.get(number)
            try:
                if batch is not None and batch.remote is None:
                    await self._recover(batch)
                    batch = self._ledger.get(number)
                if batch is None or not batch.waiting:
                    # Given up, given back, or collected by another process.
                    if batch is not None:
                        following.remote, following.status = batch.remote, batch.status
                    keys = self._books.sort(self._following.pop(number).keys)
                    loose += self._unless_cancelled(keys, following)
                elif batch.remote is not None:
                    loose += await self._follow(batch, batch.remote, following)
                    self._met()
            except ProviderUnreachableError as error:
                self._bear(error)
                break
        return loose

    def _met(self) -> None:
        """The provider was reached."""
        self._reached, self._away = time.monotonic(), False

    def _bear(self, error: ProviderUnreachableError) -> None:
        """Wait for a provider that was there before, for a while.

        Raises:
            ProviderUnreachableError: it was not, or has been away for too long.
        """
        if time.monotonic() - self._reached > _OUTAGE_S:
            raise error
        if not self._away:
            self._asked.note(f"out of reach, waiting: {error}")
        self._away = True

    async def _follow(self, batch: Batch, name: str, following: Following) -> list[str]:
        try:
            remote = await self._books.until(self._client.look(name))
        except UnknownBatchError:
            at = batch.address
            raise EndpointError(
                f"Batch {name}, submitted to {at.base_url} with the key in {at.api_key_env}, is "
                f"not known there. Set that key and address, or have `harness batch cancel {name}` "
                f"give it up and run again."
            ) from None
        self._ledger.saw(batch.id, remote.status, remote.done, remote.failed)
        if following.again is None:
            following.again = remote.status in ("cancelling", "cancelled")
        if remote.status != following.status:
            done = "" if remote.done is None else f", {remote.done} of {batch.requests} done"
            self._asked.note(f"{name}: {remote.status}{done}")
        following.remote, following.status = name, remote.status
        if remote.status not in ENDED:
            return []
        if remote.status == "failed":
            return self._fail(batch, remote)
        return await self._collect(batch, remote, following)

    async def _recover(self, batch: Batch) -> None:
        """Find what a submission that was cut off has come to, or give it up."""
        age = time.time() - batch.touched
        if not batch.orphaned and age < _FORSAKEN_S:
            return
        if batch.status == CREATING:
            remote = await self._books.until(self._client.find(batch.nonce, since=batch.created))
            if remote is not None:
                self._ledger.adopt(batch.id, remote.id, remote.status)
                return
            if age < submission.LISTED_S:
                return
        self._ledger.give_up(batch.id)

    def _fail(self, batch: Batch, remote: RemoteBatch) -> list[str]:
        """A batch that was not begun: no other is submitted, unless room was all it wanted."""
        self._ledger.abandon(batch.id, remote.status)
        keys = self._following.pop(batch.id).keys
        for key in keys:
            self._books.settle(key, 0)
        self._full = remote.code == _FULL
        self._refused = (
            f"Batch {remote.id} of model '{batch.address.model}' was refused by "
            f"{batch.address.endpoint} ({remote.why.rstrip(' .') or 'no reason given'}). Change "
            f'what it says in the experiment file, or leave out mode = "batch".'
        )
        return list(keys)

    async def _collect(self, batch: Batch, remote: RemoteBatch, following: Following) -> list[str]:
        """Store every answer of a batch; returns the keys that are to be asked again."""
        elsewhere: list[str] = []
        undone: dict[str, Unanswered] = {}
        for file in (remote.output_file, remote.error_file):
            if file is None:
                continue
            with tempfile.TemporaryFile() as copy:
                try:
                    await self._books.until(self._client.download(file, copy))
                except UnknownBatchError:
                    self._asked.note(f"{remote.id}: its file {file} is gone at the provider")
                    continue
                for chunk in lines(copy, STEP):
                    elsewhere += self._take(batch, following.keys, chunk, undone)
                    await asyncio.sleep(0)
                    if self._asked.stop.is_set():
                        raise Stopped
        self._ledger.free(batch.id, following.keys)
        del self._following[batch.id]
        if self._full:
            self._refused, self._full = "", False
        for key in following.keys:
            self._books.settle(key, 0)
        left = self._unless_cancelled(following.keys, following)
        return elsewhere + [key for key in left if self._again(key, remote, undone.get(key))]

    def _unless_cancelled(self, keys: Collection[str], following: Following) -> Collection[str]:
        """What is left of a batch, but for one that somebody has cancelled while we waited."""
        if following.status != "cancelled" or following.again:
            return keys
        if keys:
            self._asked.note(
                f"{following.remote} was cancelled with {count(keys)} left. The same command "
                f"submits what is left again."
            )
        return ()

    def _take(
        self, batch: Batch, keys: set[str], chunk: Sequence[bytes], undone: dict[str, Unanswered]
    ) -> list[str]:
        """Take lines of a batch off ``keys``; returns keys that another process has taken."""
        answers: dict[str, Answer] = {}
        price = self._asked.price
        for line in chunk:
            key, outcome = self._client.read(line) or ("", Unanswered(""))
            if key not in keys:
                continue  # another experiment's: it stays until that comes by
            if isinstance(outcome, BatchResponse):
                cost = None if price is None else price.cost(read_usage(outcome.body))
                answers[key] = Answer(outcome.text, 0.0, cost)
            elif isinstance(outcome, Unanswered):
                undone[key] = outcome
            else:
                self._ledger.free(batch.id, [key])
                keys.discard(key)
                self._books.settle(key, 0)
                self._asked.tell(key, outcome)
        stored = self._ledger.store(
            batch.id,
            [(key, self._asked.request_of(key), answer) for key, answer in answers.items()],
            kind=self._asked.kind,
        )
        keys.difference_update(answers)
        for key in stored:
            self._books.settle(key, answers[key].cost)
            self._asked.tell(key, answers[key])
        return [key for key in answers if key not in stored]

    def _again(self, key: str, remote: RemoteBatch, undone: Unanswered | None) -> bool:
        """Whether a key that has no outcome is asked once more; else that is its failure."""
        tries = self._tries[key] = self._tries.get(key, 0) + 1
        if tries < _TRIES:
            return True
        undone = undone or Unanswered(f"batch {remote.id} ({remote.status}) says nothing of it")
        self._asked.tell(key, Failure(undone.message, undone.status_code, tries))
        return False

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._asked.stop.wait()
        if self._asked.stop.is_set():
            raise Stopped
