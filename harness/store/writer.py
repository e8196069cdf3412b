"""The store for asynchronous code: a thread of its own waits for the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

from harness.store.store import KeyedAnswer, Store

T = TypeVar("T")


class Writer:
    """Uses a store without blocking the event loop. Use it as a context manager.

    It has a connection of its own. Answers that are stored together cost one transaction.
    """

    def __init__(self, store: Store) -> None:
        self._store = Store(store.path, read_only=store.read_only, run=store.run)
        self._store.not_before = store.not_before
        self._thread = ThreadPoolExecutor(1, "store")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Answers that were handed over are stored, even if their caller was cancelled.
        self._thread.submit(self._store.close).result()
        self._thread.shutdown()

    async def do(self, work: Callable[[Store], T]) -> T:
        """Call ``work`` with the store on the thread; returns or raises what ``work`` does.

        Raises:
            StoreError: as the store does.
        """
        done = asyncio.get_running_loop().run_in_executor(self._thread, work, self._store)
        return await asyncio.shield(done)

    async def put(self, entries: Sequence[KeyedAnswer], *, kind: str, unknown_nano: int = 0) -> int:
        """Add answers as :meth:`~harness.store.Store.put_many`; they are committed when this
        returns, and once it has begun they will be, whatever becomes of who waits for it.

        Raises:
            StoreError: nothing was stored.
        """
        return await self.do(
            lambda store: store.put_many(entries, kind=kind, unknown_nano=unknown_nano)
        )
