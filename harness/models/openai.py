"""Hosted models: any server that speaks OpenAI's protocol, through the openai SDK.

The SDK gives authentication, Azure, configuration from the environment and error types; it is
imported when something is sent, never before. Two of its ways are not taken. Its retries are off,
since a retry must let go of its slot while it sleeps (:mod:`harness.models.flow`). And it sends on
its aiohttp client and hands back the raw response, because the text is what is stored: for 2,000
prompts of 3 kB at 200 ms and 64 in flight (ideal 6.25 s) on a machine with two cores,

    SDK as it comes                    7.6 s, 4.4 s of CPU
    the same, raw responses            7.1 s, 3.6 s
    SDK on aiohttp                     7.5 s, 4.0 s
    the same, raw responses            7.3 s, 2.8 s
    the same, through client.post      7.1 s, 2.3 s      what is used here
    the same inside this module        7.1 s, 3.1 s      with its retries, checks and imports
    aiohttp without the SDK            6.7 s, 0.7 s

``benchmarks/transports.py`` measures them again. HTTP/2 is no choice: aiohttp does not speak it,
and one connection would carry all calls of a run.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from harness.errors import CredentialsError, EndpointError
from harness.models import failures, flow
from harness.models.base import K, body_of
from harness.models.openai_settings import OPENAI_URL, OpenAISettings
from harness.models.pricing import find_price
from harness.models.replies import is_answer, parse_body, read_reply, read_usage
from harness.records import Answer, Failure, Prompt, Reply

if TYPE_CHECKING:
    from openai import AsyncOpenAI

# A server of one's own needs no key, but the SDK insists on one.
_NO_KEY = "none"
# How the failure of a call begins that something else than a model's endpoint answered.
_NO_ENDPOINT = "HTTP 200, but not JSON"
_KEEPALIVE_S = 30.0
_CONNECT_S = 10.0


class OpenAIBackend:
    """A server behind the openai SDK. One connection pool, as large as the concurrency.

    Everything that goes wrong with one call is that call's :class:`Failure`. A server that
    refuses the first calls in a way that concerns all of them (401 to 404, an empty quota, or
    nobody there) ends the stream with :class:`EndpointError` as soon as the calls in flight are
    back, unless one of them succeeded; after a first success such answers are failures of their
    calls alone.
    """

    engine = ""

    def __init__(self, settings: OpenAISettings) -> None:
        self.settings = settings
        self.price = find_price(settings.endpoint, settings.model)
        self._endpoint = settings.endpoint
        self._parameters = settings.parameters
        self._client: AsyncOpenAI | None = None
        self._secrets: tuple[str, ...] = ()
        self._reached = False
        self._succeeded = False
        self._refusal: str | None = None

    def __repr__(self) -> str:
        return f"OpenAIBackend(model={self.settings.model!r}, endpoint={self._endpoint!r})"

    def request(self, prompt: Prompt, repeat: int = 0) -> dict[str, Any]:
        """The canonical whole request: endpoint, family, the exact body, and the repeat."""
        family, body = body_of(self.settings.model, prompt)
        body |= self._parameters
        return {"endpoint": self._endpoint, "family": family, "body": body, "repeat": repeat}

    def check(self) -> None:
        """Look whether there is a key.

        Raises:
            CredentialsError: there is none and the server needs one; names the variable.
        """
        self._key()

    async def answers(
        self, requests: Iterable[tuple[K, Mapping[str, Any]]], stop: asyncio.Event | None = None
    ) -> AsyncGenerator[tuple[K, Answer | Failure], None]:
        """Send requests, at most ``concurrency`` at a time; yield as they complete.

        Use one event loop between two calls of :meth:`aclose`, and close the iterator
        (``contextlib.aclosing``) if it is left early.

        Raises:
            CredentialsError: as :meth:`check`.
            EndpointError: the server refuses every call.
        """
        source = iter(requests)
        while True:
            # Failures met while it looks as if every call were refused, until the calls in flight
            # have told. The first answer among them ends the suspicion.
            held: list[tuple[K, Answer | Failure]] = []
            welcome = self._while_welcome(source)
            calls = flow.stream(welcome, self._call, self.settings.concurrency, stop)
            async with aclosing(calls):
                async for key, outcome in calls:
                    if self._refused:
                        held.append((key, outcome))
                    else:
                        yield key, outcome
            if self._refused:
                raise EndpointError(self._explain())
            for item in held:
                yield item
            if not held:
                return

    def reply(self, answer: Answer, *, cached: bool) -> Reply:
        """Read a stored answer."""
        return read_reply(answer, cached=cached)

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def _refused(self) -> bool:
        return self._refusal is not None and not self._succeeded

    def _while_welcome(self, source: Iterator[Any]) -> Iterator[Any]:
        """The requests, until the server turns out to refuse them all."""
        while not self._refused:
            try:
                yield next(source)
            except StopIteration:
                return

    def _explain(self) -> str:
        settings = self.settings
        said = (self._refusal or "").rstrip(" .:")
        if not self._reached:
            return (
                f"{self._endpoint} gives no answer ({said}). Is {settings.base_url} the right "
                f"base_url, and is the server running?"
            )
        return (
            f"{self._endpoint} refuses every call of model '{settings.model}' ({said}). Check the "
            f"model's name, base_url ({settings.base_url}) and the key in {settings.api_key_env}."
        )

    async def _call(self, request: Mapping[str, Any], nap: flow.Nap) -> Answer | Failure:
        if self._client is None:
            self._client = self._connect()
        client = self._client
        try:
            outcome = await flow.persist(
                lambda: self._attempt(client, request),
                nap,
                attempts=self.settings.max_attempts,
                backoff_s=self.settings.backoff_s,
            )
        except flow.Stopped:
            raise
        except Exception as error:
            # Whatever a server does to one call, the others go on.
            return Failure(self._clean(f"{type(error).__name__}: {error}"))
        if isinstance(outcome, Answer):
            self._succeeded = True
        elif isinstance(outcome, failures.Refused) or (
            # Nobody there, or a web page where a model should be.
            (not self._reached or outcome.message.startswith(_NO_ENDPOINT))
            and outcome.attempts >= self.settings.max_attempts
        ):
            self._refusal = outcome.message
        return outcome

    async def _attempt(self, client: AsyncOpenAI, request: Mapping[str, Any]) -> Answer | Failure:
        import httpx2
        from aiohttp import ClientError
        from openai import APIConnectionError, APIStatusError

        started = time.perf_counter()
        path = "/chat/completions" if "messages" in request["body"] else "/completions"
        try:
            # The SDK's timeout is between two bytes; a server that trickles never passes it.
            async with asyncio.timeout(self.settings.timeout_s):
                response = await client.post(
                    path,
                    cast_to=httpx2.Response,
                    body=request["body"],
                    options={"security": {"bearer_auth": True}},
                )
        except APIStatusError as error:
            self._reached = True
            return failures.read(error, self._secrets)
        except (APIConnectionError, ClientError, TimeoutError) as error:
            message = self._clean(failures.transport(error))
            if self._reached:
                raise flow.TryAgain(message) from None
            raise flow.TryAgain(message, None, self._pause) from None
        except Exception as error:
            # A prompt that cannot be sent, such as one with half a surrogate pair.
            return Failure(self._clean(f"could not be sent: {type(error).__name__}: {error}"))
        self._reached = True
        text = self._text(response.content, response.headers.get("content-type", ""))
        body = parse_body(text)
        if body is None or not is_answer(body):
            raise flow.TryAgain(
                self._clean(f"HTTP 200, but no completion: {text}"), 200, self._pause
            )
        cost = None if self.price is None else self.price.cost(read_usage(body))
        return Answer(text, time.perf_counter() - started, cost)

    def _text(self, content: bytes, content_type: str) -> str:
        """The body of a response, less our own key should the server have put it there."""
        if "json" not in content_type.lower():
            message = self._clean(f"{_NO_ENDPOINT}: {content_type}")
            raise flow.TryAgain(message, 200, self._pause)
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise flow.TryAgain("HTTP 200, but not UTF-8", 200, self._pause) from None
        for secret in self._secrets:
            text = text.replace(secret, failures.HIDDEN)
        return text

    @property
    def _pause(self) -> float | None:
        """How long to wait where a server has never answered.

        Perhaps nobody is there, or something else than a model, which a user wants to know
        before minutes have passed.
        """
        return None if self._succeeded else 4 * self.settings.backoff_s

    def _clean(self, message: str) -> str:
        return failures.clean(message, self._secrets)

    def _key(self) -> str:
        settings = self.settings
        name = settings.api_key_env
        key = os.environ.get(name, "").strip()
        if key:
            if not (key.isascii() and key.isprintable()) or " " in key:
                raise CredentialsError(f"{name} does not hold a key: it has spaces or odd letters.")
            return key
        if settings.provider == "azure" and os.environ.get("AZURE_OPENAI_AD_TOKEN"):
            return ""
        azure = settings.provider == "azure"
        if not azure and settings.base_url != OPENAI_URL and name == "OPENAI_API_KEY":
            return _NO_KEY
        where = settings.base_url if azure or settings.base_url != OPENAI_URL else "OpenAI"
        raise CredentialsError(
            f"No key for {where}: set the environment variable {name} (export {name}=…), name "
            f"another with api_key_env, or use a server of your own with base_url."
        )

    def _connect(self) -> AsyncOpenAI:
        import httpx2
        import openai

        settings = self.settings
        key = self._key()
        pool = httpx2.Limits(
            max_connections=settings.concurrency,
            max_keepalive_connections=settings.concurrency,
            keepalive_expiry=_KEEPALIVE_S,
        )
        timeout = httpx2.Timeout(settings.timeout_s, connect=min(_CONNECT_S, settings.timeout_s))
        shared: dict[str, Any] = {
            "max_retries": 0,
            "timeout": timeout,
            "http_client": openai.DefaultAioHttpClient(limits=pool, timeout=timeout),
        }
        self._secrets = failures.secrets(key if key != _NO_KEY else "")
        if settings.provider == "azure":
            return openai.AsyncAzureOpenAI(
                api_key=key or None,
                azure_endpoint=settings.base_url,
                api_version=settings.api_version,
                **shared,
            )
        return openai.AsyncOpenAI(api_key=key, base_url=settings.base_url, **shared)
