"""Servers that a test plays itself, beside the code under test and on a thread of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.helpers.loopback_server import Handler, handled_by


@contextmanager
def hosted(handler: Handler) -> Iterator[str]:
    """A loopback server whose every POST is the handler's; yields its base URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    served = handled_by(handler)
    try:
        url = asyncio.run_coroutine_threadsafe(served.__aenter__(), loop).result()
        try:
            yield url
        finally:
            stopped = served.__aexit__(None, None, None)
            asyncio.run_coroutine_threadsafe(stopped, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
