"""Looking after batches at their providers: how they are doing, and stopping them."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.errors import CredentialsError, EndpointError
from harness.terminal import visible

if TYPE_CHECKING:
    from harness.models.hosted.batch_api import BatchAPI, Remote
    from harness.models.hosted.openai_settings import OpenAISettings
    from harness.store.ledger import Address, Batch, Ledger

# Seconds between two looks at a batch that is being cancelled: the first and the longest.
_LOOK_S, _LONGEST_LOOK_S = 0.5, 15.0


async def refresh_batches(ledger: Ledger) -> None:
    """Ask the providers how their batches are doing; what cannot be asked is left as it was."""
    from harness.models.hosted.batch_api import BatchAPI
    from harness.store.ledger import ENDED

    for batch in ledger.batches():
        if batch.remote is None or batch.status in ENDED:
            continue
        try:
            api = BatchAPI(_settings(batch.address))
            try:
                seen = await api.look(batch.remote)
            finally:
                await api.aclose()
        except (CredentialsError, EndpointError) as error:
            print(f"harness: {batch.remote}: {visible(str(error))}", file=sys.stderr)
        else:
            ledger.saw(batch.id, seen.status, seen.done, seen.failed)


async def cancel_batches(ledger: Ledger, batches: list[Batch], *, named: bool) -> bool:
    from harness.models.hosted.batch_api import BatchAPI

    async def cancel_one(batch: Batch) -> bool:
        try:
            api = BatchAPI(_settings(batch.address))
            try:
                print(f"{batch_name(batch)}: {await _stop(ledger, batch, api, named=named)}")
            finally:
                await api.aclose()
        except (CredentialsError, EndpointError) as error:
            print(f"harness: {batch_name(batch)}: {visible(str(error))}", file=sys.stderr)
            return False
        return True

    return all(await asyncio.gather(*map(cancel_one, batches)))


async def _stop(ledger: Ledger, batch: Batch, api: BatchAPI, *, named: bool) -> str:
    """Cancel a batch; returns what became of it. One that is not there is given up if named."""
    from harness.models.hosted.batch_api import Unknown
    from harness.running.asking.submission import count
    from harness.store.ledger import ENDED

    if batch.remote is None:
        return (
            f"is being submitted by process {batch.process}. Interrupt that, or run its experiment "
            f"again if it is gone."
        )
    try:
        seen = await api.look(batch.remote)
        if seen.status not in ENDED:
            seen = await api.cancel(batch.remote)
            print(f"{batch.remote}: {seen.status}; that may take ten minutes", flush=True)
        pause = _LOOK_S
        while seen.status not in ENDED:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK_S)
            seen = await api.look(batch.remote)
    except Unknown:
        if not named:
            # Perhaps another key is set than the one it was submitted with.
            return "the provider does not know it; name it to have it given up"
        lost = ledger.abandon(batch.id, "unknown")
        return f"the provider does not know it; {lost} requests are given up"
    ledger.saw(batch.id, seen.status, seen.done, seen.failed)
    freed = await _give_back(ledger, batch.id, api, seen)
    left = ledger.keys(batch.id)
    rest = f"; {count(left)} to be collected: run its experiment again" if left else ""
    return f"{seen.status}; {count(freed)} given back{rest}"


async def _give_back(ledger: Ledger, number: int, api: BatchAPI, seen: Remote) -> set[str]:
    """Let go of the keys that a batch which has ended did not answer; returns them."""
    from harness.models.hosted.batch_api import Response, Unknown

    keys = ledger.keys(number)
    if seen.output_file is not None:
        with tempfile.TemporaryFile() as answers:
            # Answers that the provider has removed are none any more.
            with suppress(Unknown):
                await api.download(seen.output_file, answers)
            for line in answers:
                key, outcome = api.read(line) or ("", None)
                if isinstance(outcome, Response):
                    keys.discard(key)
    return ledger.free(number, keys)


def _settings(address: Address) -> OpenAISettings:
    from harness.models.hosted.openai_settings import OpenAISettings

    return OpenAISettings(
        model=address.model,
        base_url=address.base_url,
        provider="azure" if address.api_version else None,
        api_version=address.api_version,
        api_key_env=address.api_key_env,
    )


def batch_name(batch: Batch) -> str:
    return batch.remote or f"not-submitted-{batch.id}"
