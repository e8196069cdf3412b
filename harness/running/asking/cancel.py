"""Looking after batches at their providers: how they are doing, and stopping them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import suppress

from harness.errors import CredentialsError, EndpointError
from harness.models import open_batch_client
from harness.models.batches import BatchClient, BatchResponse, RemoteBatch, UnknownBatchError
from harness.running.asking.run_batches import request_count
from harness.store.batch_tracker import ENDED, Batch, BatchTracker

# Seconds between two looks at a batch that is being cancelled: the first and the longest.
_LOOK_S, _LONGEST_LOOK_S = 0.5, 15.0

#: Takes a line for the user.
Report = Callable[[str], None]


async def refresh_batches(tracker: BatchTracker, warn: Report) -> None:
    """Ask the providers for the state of every batch that has not ended.

    A batch whose provider cannot be asked stays as it was; ``warn`` is given the reason.
    """
    for batch in tracker.batches():
        if batch.remote is None or batch.status in ENDED:
            continue
        try:
            client = open_batch_client(batch.address)
            try:
                remote = await client.retrieve(batch.remote)
            finally:
                await client.aclose()
        except (CredentialsError, EndpointError) as error:
            warn(f"{batch.remote}: {error}")
        else:
            tracker.record_status(batch.id, remote.status, remote.completed, remote.failed)


async def cancel_batches(
    tracker: BatchTracker, batches: list[Batch], *, named: bool, report: Report, warn: Report
) -> bool:
    """Cancel batches, wait until they have ended, and give back what they did not answer.

    Args:
        named: the user named these batches; one that its provider does not know is given up.
        report: takes the result for each batch.
        warn: takes the reason where a provider refuses.

    Returns:
        Whether all of them were cancelled.
    """

    async def cancel_one(batch: Batch) -> bool:
        try:
            client = open_batch_client(batch.address)
            try:
                result = await _cancel(tracker, batch, client, named=named, report=report)
            finally:
                await client.aclose()
        except (CredentialsError, EndpointError) as error:
            warn(f"{batch_name(batch)}: {error}")
            return False
        report(f"{batch_name(batch)}: {result}")
        return True

    return all(await asyncio.gather(*map(cancel_one, batches)))


async def _cancel(
    tracker: BatchTracker, batch: Batch, client: BatchClient, *, named: bool, report: Report
) -> str:
    """Cancel one batch; returns the result in words."""

    if batch.remote is None:
        return (
            f"is being submitted by process {batch.process}. Interrupt that, or run its experiment "
            f"again if it is gone."
        )
    try:
        remote = await client.retrieve(batch.remote)
        if remote.status not in ENDED:
            remote = await client.cancel(batch.remote)
            report(f"{batch.remote}: {remote.status}; that may take ten minutes")
        pause = _LOOK_S
        while remote.status not in ENDED:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK_S)
            remote = await client.retrieve(batch.remote)
    except UnknownBatchError:
        if not named:
            # Perhaps another key is set than the one it was submitted with.
            return "the provider does not know it; name it to have it given up"
        lost = tracker.abandon(batch.id, "unknown")
        return f"the provider does not know it; {lost} requests are given up"
    tracker.record_status(batch.id, remote.status, remote.completed, remote.failed)
    freed = await _give_back(tracker, batch.id, client, remote)
    left = tracker.keys(batch.id)
    rest = f"; {request_count(left)} to be collected: run its experiment again" if left else ""
    return f"{remote.status}; {request_count(freed)} given back{rest}"


async def _give_back(
    tracker: BatchTracker, number: int, client: BatchClient, remote: RemoteBatch
) -> set[str]:
    """Let go of the keys that a batch which has ended did not answer; returns them."""

    keys = tracker.keys(number)
    if remote.output_file is not None:
        with tempfile.TemporaryFile() as answers:
            # Answers that the provider has removed are none any more.
            with suppress(UnknownBatchError):
                await client.download(remote.output_file, answers)
            for line in answers:
                key, outcome = client.read_result(line) or ("", None)
                if isinstance(outcome, BatchResponse):
                    keys.discard(key)
    return tracker.free(number, keys)


def batch_name(batch: Batch) -> str:
    return batch.remote or f"not-submitted-{batch.id}"
