"""Submitting free keys as batches: claimed in the store, uploaded, created at the provider."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import deque
from contextlib import suppress
from typing import IO

from harness.errors import EndpointError
from harness.models.batches import (
    MOST_ATTEMPTS,
    BatchClient,
    BatchThrottledError,
    BatchUncertainError,
    RemoteBatch,
    retry_pause_s,
)
from harness.records import Failure
from harness.running.asking.run_batches import RunBatches, RunStopped, TrackedBatch, request_count
from harness.store.batch_tracker import SUBMITTING, Batch

#: The number of requests that are rendered, claimed and stored at once: the event loop does
#: nothing else for that long.
STEP = 50
#: Seconds after which a provider lists a batch that it was asked to create, if it created it.
LISTED_S = 30.0
_LOOK_S = 1.0


class Submitter:
    """Makes batches of free keys."""

    def __init__(self, batches: RunBatches, client: BatchClient) -> None:
        self._batches = batches
        self._client = client

    async def submit(self, queue: deque[str]) -> bool:
        """Submit a batch of the first keys; ``False`` if the budget has no room for more.

        Keys of a batch that was certainly not created go back to the front of the queue.
        """
        context, tracker = self._batches.context, self._batches.tracker
        address = self._client.address(context.request_of(queue[0]).family)
        number = tracker.begin(address)
        keys: set[str] = set()
        created = False
        try:
            with tempfile.TemporaryFile() as file:
                room = await self._fill(number, address.url, queue, keys, file)
                if keys:
                    upload = await self._batches.unless_stopped(self._client.upload(file))
                    created = await self._create(number, upload, address.url, keys)
        except BaseException as error:
            # Once the provider was asked for a batch, only its own refusal is certain.
            refused = isinstance(error, EndpointError) and not isinstance(
                error, BatchUncertainError
            )
            batch = tracker.get(number)
            created = not refused and batch is not None and batch.status != SUBMITTING
            raise
        finally:
            if not created:
                tracker.give_up(number)
                for key in keys:
                    self._batches.settle(key, 0)
                queue.extendleft(keys)
        return room

    async def _fill(
        self, number: int, url: str, queue: deque[str], keys: set[str], file: IO[bytes]
    ) -> bool:
        """Move keys from the queue into a batch's file; ``False`` where the budget ends it."""
        context, size, room, full = self._batches.context, 0, True, False
        while queue and room and not full and len(keys) < context.most_requests:
            lines: dict[str, bytes] = {}
            worst_costs: dict[str, int | None] = {}
            most = min(STEP, context.most_requests - len(keys))
            while queue and len(lines) < most:
                key = queue[0]
                body = context.request_of(key).body
                try:
                    line = self._client.request_line(key, url, body)
                    if len(line) > context.most_bytes:
                        raise ValueError(f"{len(line)} bytes are too many for a file")
                except ValueError as error:
                    queue.popleft()
                    message = f"could not be sent: {type(error).__name__}: {error}"
                    context.record(key, Failure(message))
                    continue
                full = size + len(line) > context.most_bytes
                worst = None if context.price is None else context.price.worst_case(body)
                room = full or self._batches.reserve(key, worst)
                if full or not room:
                    break
                queue.popleft()
                lines[key], worst_costs[key] = line, worst
                size += len(line)
            claimed = self._batches.tracker.claim(number, worst_costs, since=context.since)
            keys |= claimed
            if not claimed and self._batches.tracker.get(number) is None:
                full = True  # another process took this submission for dead and gave it up
            file.writelines(line for key, line in lines.items() if key in claimed)
            # Other processes ask for the rest, or have just had it answered.
            queue.extendleft(self._batches.sort_keys(key for key in lines if key not in claimed))
            await asyncio.sleep(0)
            if context.stop.is_set():
                raise RunStopped
        return room

    async def _create(self, number: int, upload: str, url: str, keys: set[str]) -> bool:
        """Have the provider create a batch of an uploaded file.

        Returns ``False`` if another process took this submission for dead meanwhile.
        """
        batches, tracker = self._batches, self._batches.tracker
        batch = tracker.get(number)
        if batch is None:
            return False
        remote: RemoteBatch | None = None
        attempt = uncertain = 0
        while remote is None:
            if not tracker.create(number):
                return False
            attempt += 1
            try:
                # Not cancelled by a stop: it is short, and its result has to be written down.
                remote = await self._client.create(upload, url, batch.nonce)
            except BatchThrottledError as error:
                tracker.recall(number)
                if attempt == MOST_ATTEMPTS:
                    raise
                await batches.unless_stopped(asyncio.sleep(retry_pause_s(attempt - 1, error.cause)))
            except BatchUncertainError:
                uncertain += 1
                remote = await batches.unless_stopped(self._find_listed(batch))
                if remote is None and attempt == MOST_ATTEMPTS:
                    raise
        if not tracker.adopt(number, remote.id, remote.status):
            current = tracker.get(number)
            # Another process may have found this very batch and track it.
            if current is None or current.remote != remote.id:
                await self._client.cancel(remote.id)
                return False
        batches.tracked[number] = TrackedBatch(keys, remote.id, remote.status, resubmit=False)
        batches.context.note(f"{remote.id}: {request_count(keys)} submitted")
        if uncertain:
            # An earlier call may have created a batch that was listed too late.
            with suppress(EndpointError):
                await batches.unless_stopped(
                    self._client.find_batch(batch.nonce, since=batch.created, adopted_id=remote.id)
                )
        return True

    async def _find_listed(self, batch: Batch) -> RemoteBatch | None:
        """A batch that may have been created, once it is listed; ``None``: it was not created.

        Raises:
            BatchUncertainError: the provider does not say.
        """
        deadline = time.monotonic() + LISTED_S
        while True:
            try:
                remote = await self._client.find_batch(batch.nonce, since=batch.created)
            except EndpointError as error:
                raise BatchUncertainError(str(error)) from None
            if remote is not None or time.monotonic() > deadline:
                return remote
            await asyncio.sleep(_LOOK_S)
