"""Faults of the scripted server, to test clients with.

:class:`AdmissionControl` has the faults that all requests share: a storm of 429s, a key that
expires, rate limits. :func:`with_wire_faults` has those of the wire: an answer that is cut, broken
or never sent.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from harness.serving.requests import ApiError
from harness.serving.script import ScriptedSettings, most_tokens

if TYPE_CHECKING:
    from aiohttp import web

Handler = Callable[["web.Request"], Awaitable["web.StreamResponse"]]

_MINUTE_S = 60.0
_PAGE = b"<!doctype html><title>Sign in</title><p>This network asks you to sign in."


def rate_limit_error(
    message: str, wait_s: float, headers: Mapping[str, str] | None = None
) -> ApiError:
    """A 429 with its Retry-After, or without one where ``wait_s`` is 0."""
    # Rounded up, so that a client that waits exactly this long is admitted.
    wait = {"Retry-After": f"{math.ceil(wait_s * 1000) / 1000:g}"} if wait_s else {}
    code = "rate_limit_exceeded"
    return ApiError(429, message, code, kind=code, headers={**(headers or {}), **wait})


class ScriptedLimit:
    """A limit of units per minute.

    ``bucket`` is a token bucket with the units of one minute, which refills steadily. ``fixed`` is
    a count that restarts every 60 seconds from the first request on.
    """

    def __init__(
        self, a_minute: float, window: Literal["bucket", "fixed"], clock: Callable[[], float]
    ) -> None:
        self._most = a_minute
        self._fixed = window == "fixed"
        self._clock = clock
        self._left = a_minute
        self._since = clock()

    def wait(self, units: float) -> float:
        """Seconds until so many are left, 0 where they are.

        More than the whole limit can never be: that much is enough.
        """
        self._refill()
        missing = min(units, self._most) - self._left
        if missing <= 0:
            return 0.0
        return self._rest() if self._fixed else missing * _MINUTE_S / self._most

    def take(self, units: float) -> None:
        """Use some up; what is negative comes back."""
        self._left = min(self._most, self._left - units)

    def headers(self, name: str) -> dict[str, str]:
        """What OpenAI says of a limit: its size, what is left, and when it is whole again.

        Format: https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers.
        """
        used = self._most - self._left
        reset = self._rest() if self._fixed else used * _MINUTE_S / self._most
        return {
            f"x-ratelimit-limit-{name}": f"{self._most:.0f}",
            f"x-ratelimit-remaining-{name}": f"{max(0, math.floor(self._left))}",
            f"x-ratelimit-reset-{name}": duration(reset),
        }

    def _refill(self) -> None:
        now = self._clock()
        if not self._fixed:
            self._left = min(self._most, self._left + (now - self._since) * self._most / _MINUTE_S)
            self._since = now
        elif now - self._since >= _MINUTE_S:
            self._left = self._most
            self._since += _MINUTE_S * ((now - self._since) // _MINUTE_S)

    def _rest(self) -> float:
        return max(0.0, self._since + _MINUTE_S - self._clock())


def duration(seconds: float) -> str:
    """Seconds as the headers have them: ``1h2m3.5s``, below a second ``120ms``."""
    thousandths = math.ceil(seconds * 1000)
    if thousandths < 1000:
        return f"{thousandths}ms"
    minutes, rest = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return (
        (f"{hours}h" if hours else "")
        + (f"{minutes}m" if hours or minutes else "")
        + f"{rest / 1000:g}s"
    )


class AdmissionControl:
    """Refuses requests during a storm, after the key expired, and beyond the rate limits.

    A request is charged its prompt and its answer budget when it is admitted. Once it is answered,
    the charge becomes the tokens that it used. A refused request is not charged, and is counted in
    ``faults``.
    """

    def __init__(
        self,
        settings: ScriptedSettings,
        faults: Counter[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._faults = faults
        self._clock = clock
        self._storm_ends: float | None = None
        self._answered = 0
        self._limits = {
            name: ScriptedLimit(a_minute, settings.window, clock)
            for name, a_minute in (("requests", settings.rpm), ("tokens", settings.tpm))
            if a_minute is not None
        }

    def enter(self, body: Mapping[str, Any]) -> int:
        """Admit a request; returns the tokens that it is charged.

        Raises:
            ApiError: it is turned away, with a 429 or a 401.
        """
        settings = self._settings
        if settings.storm_s:
            if self._storm_ends is None:
                self._storm_ends = self._clock() + settings.storm_s
            if self._clock() < self._storm_ends:
                self._faults["storm"] += 1
                raise rate_limit_error("scripted storm", settings.retry_after_s)
        if settings.key_expires_after is not None and self._answered >= settings.key_expires_after:
            self._faults["expired"] += 1
            raise ApiError(401, "Incorrect API key provided.", "invalid_api_key")
        if not self._limits:
            return 0
        tokens = most_tokens(body)
        units = {"requests": 1, "tokens": tokens}
        wait = max(limit.wait(units[name]) for name, limit in self._limits.items())
        if wait:
            self._faults["limit"] += 1
            raise rate_limit_error("scripted limit reached", wait, self.headers())
        self._take(1, tokens)
        return tokens

    def settle(self, charged: int, used: int | None) -> None:
        """A request is answered, or failed where ``used`` is ``None``: it is charged its due."""
        self._answered += used is not None
        self._take(0, (used or 0) - charged)

    def headers(self) -> dict[str, str]:
        """What each response says of the limits."""
        return {
            key: value
            for name, limit in self._limits.items()
            for key, value in limit.headers(name).items()
        }

    def _take(self, requests: int, tokens: int) -> None:
        units = {"requests": requests, "tokens": tokens}
        for name, limit in self._limits.items():
            limit.take(units[name])


async def _drop(request: web.Request, content: bytes) -> web.StreamResponse:
    half = await _begin(request, content)
    if request.transport is not None:
        request.transport.close()
    return half


async def _half(request: web.Request, content: bytes) -> web.StreamResponse:
    await _begin(request, content)
    return await _hang(request, content)


async def _hang(request: web.Request, content: bytes) -> web.StreamResponse:
    # The client's leaving cancels the handler, and so does the server's end.
    await asyncio.Event().wait()
    raise AssertionError("nothing sets it")


async def _garble(request: web.Request, content: bytes) -> web.StreamResponse:
    return await _write(request, content[: len(content) // 2], "application/json")


async def _web_page(request: web.Request, content: bytes) -> web.StreamResponse:
    return await _write(request, _PAGE, "text/html")


class WireFault(Exception):
    """An answer that breaks on the wire, in the way that a key of ``_FAULTY_WRITERS`` names."""

    def __init__(self, fault: str, content: bytes) -> None:
        super().__init__(f"scripted {fault}")
        self.fault = fault
        self.content = content


def with_wire_faults(handler: Handler) -> Handler:
    """A handler that writes the broken answer where ``handler`` raises a :class:`WireFault`."""

    async def faulty(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except WireFault as error:
            fault = error
        return await _FAULTY_WRITERS[fault.fault](request, fault.content)

    return faulty


_FAULTY_WRITERS: Mapping[str, Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]] = {
    "drop": _drop,
    "hang": _hang,
    "half": _half,
    "garble": _garble,
    "web_page": _web_page,
}


async def _begin(request: web.Request, content: bytes) -> web.StreamResponse:
    """Send half of an answer that was announced whole."""
    from aiohttp import web

    half = web.StreamResponse(headers={"Content-Length": str(len(content))})
    half.content_type = "application/json"
    await half.prepare(request)
    await half.write(content[: len(content) // 2])
    return half


async def _write(request: web.Request, content: bytes, kind: str) -> web.StreamResponse:
    from aiohttp import web

    whole = web.Response(body=content, content_type=kind)
    await whole.prepare(request)
    await whole.write_eof()
    return whole
