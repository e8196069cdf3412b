"""The script behind the loopback server, with the faults of a server and of the wire."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from harness.serving.faults import AdmissionControl, WireFault, rate_limit_error
from harness.serving.requests import ApiError, json_bytes
from harness.serving.script import Script, ScriptedSettings
from harness.serving.served_model import Response


class ScriptedModel:
    """The script, at its latency and with its faults, which it counts in ``faults``.

    It answers to any model's name.
    """

    # Whoever stops this one wants it gone.
    grace_s = 0.1

    def __init__(self, settings: ScriptedSettings, faults: Counter[str]) -> None:
        self._settings = settings
        self._script = Script(settings)
        self._faults = faults
        self._admission = AdmissionControl(settings, faults)

    async def start(self) -> None:
        """It is ready."""

    async def answer(
        self, body: Mapping[str, Any], *, chat: bool, digest: bytes, attempt: int
    ) -> Response:
        """Answer, or fail, as the script has it.

        Raises:
            ApiError: it is turned away, or the attempt fails with a 429 or a 500.
            WireFault: its answer breaks on the wire.
        """
        started = time.monotonic()
        charged = self._admission.enter(body)
        fault = self._script.fault(digest, attempt)
        used, content = None, b""
        if fault not in ("429", "500"):
            response = self._script.response(body)
            used, content = response["usage"]["total_tokens"], json_bytes(response)
        await asyncio.sleep(self._settings.latency_s - (time.monotonic() - started))
        self._admission.settle(charged, used if fault is None else None)
        if fault is not None:
            self._faults[fault] += 1
        if fault == "429":
            raise rate_limit_error("scripted rate limit", self._settings.retry_after_s)
        if fault == "500":
            code = "server_error"
            raise ApiError(500, "scripted server error", code, kind=code)
        if fault is not None:
            raise WireFault(fault, content)
        return Response(content, self._admission.headers())

    async def drain(self) -> None:
        """Nothing is worth waiting for."""

    async def aclose(self) -> None:
        """Nothing is open."""

    def counts(self) -> dict[str, int]:
        """Nothing more."""
        return {}
