"""Hosted models: any server that speaks OpenAI's protocol.

Requests are written by the openai SDK (:mod:`harness.models.hosted.transport`), but its retries
and its response models are not used. A retry has to free its slot while it sleeps
(:mod:`harness.models.pace.calls`), and the raw text of a response is what is stored.

Measured with 2,000 prompts of 3 kB, 200 ms per answer and 64 in flight (6.25 s at best) on a
machine with two cores, imports included:

    SDK as it comes                    7.6 s, 3.7 s of CPU
    the same, raw responses            7.4 s, 3.5 s
    SDK on aiohttp                     8.1 s, 3.0 s
    the same, raw responses            7.5 s, 2.4 s
    the transport alone                7.4 s, 0.9 s      of that, 0.5 s to import the SDK
    this module                        7.3 s, 1.0 s      with rate limiter, retries and checks
    aiohttp without the SDK            6.8 s, 0.4 s

``benchmarks/transports.py`` repeats the measurement; ``benchmarks/throughput.py`` measures a whole
run. HTTP/2 is not used: aiohttp does not support it, and one connection would carry all calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from importlib import import_module
from typing import Any

from harness.errors import EndpointError
from harness.models.batches import BatchClient
from harness.models.hosted import failures
from harness.models.hosted.circuit_breaker import CircuitBreaker
from harness.models.hosted.connection import EndpointConnection
from harness.models.hosted.credentials import read_api_key
from harness.models.hosted.explanations import explain_refusal
from harness.models.hosted.headers import read_quota, read_retry_after
from harness.models.hosted.openai_settings import OpenAISettings
from harness.models.hosted.redaction import redact, redact_line
from harness.models.hosted.transport import (
    HTTPResponse,
    ResponseTooLargeError,
    Transport,
    find_proxy,
)
from harness.models.pace.calls import Call, stream_calls
from harness.models.pace.limiter import LONGEST_RETRY_AFTER_S, Permit, StopRequested
from harness.models.pace.retries import RetryableError, call_with_retries
from harness.models.prices import Prices, answer_budget, estimate_tokens, find_price
from harness.models.protocol import Backend, K, Save, body_of
from harness.models.replies import is_answer, parse_body, read_reply, read_usage
from harness.records import Answer, Failure, Prompt, Reply, Request, Usage

# Importing them takes half a second.
_NEEDED_TO_SEND = ("aiohttp", "httpx2", "openai", "tenacity")

# How the message begins if something other than a model's endpoint answered.
_NOT_AN_ENDPOINT = "HTTP 200, but not JSON"
# A server that was never reached is given up after this many failed look-ups of its name.
_MOST_DNS_FAILURES = 3
# Reserved of a limit on tokens if a request does not bound its answer.
_UNBOUNDED_ANSWER_TOKENS = 4096


class OpenAIBackend:
    """A model behind a server that speaks OpenAI's protocol.

    Whatever goes wrong with one call is that call's :class:`Failure`. If the
    :class:`~harness.models.hosted.circuit_breaker.CircuitBreaker` opens, no more calls are sent.
    Then the stream ends with :class:`EndpointError`, unless one of the calls in flight is answered
    and closes the breaker. The rejected calls have no outcome then, but ``save`` has been given
    their failures.

    ``peers`` are other backends of the same run. Those with the same server and key share the
    connections, the ceiling and the limits.
    """

    engine = ""

    def __init__(
        self,
        settings: OpenAISettings,
        prices: Prices | None = None,
        peers: Sequence[Backend] = (),
    ) -> None:
        self.settings = settings
        price = find_price(settings.endpoint, settings.model, prices)
        batched = settings.mode == "batch"
        self.price = price.batched() if batched and price is not None else price
        self._endpoint = settings.endpoint
        self._parameters = settings.parameters
        #: Shared with the peers that have the same server and key.
        self.connection = _shared_connection(peers, settings) or EndpointConnection(settings)
        self.connection.adjust(settings)
        self._breaker = CircuitBreaker(settings.concurrency, settings.max_attempts)
        self._server_reached = False
        self._dns_failures = 0
        # Whether the breaker opened before all requests were read.
        self._interrupted = False

    def __repr__(self) -> str:
        return f"OpenAIBackend(model={self.settings.model!r}, endpoint={self._endpoint!r})"

    def request(self, prompt: Prompt, repeat: int = 0) -> Request:
        """The canonical whole request: endpoint, family, the exact body, and the repeat."""
        family, body = body_of(self.settings.model, prompt)
        body |= self._parameters
        return Request(self._endpoint, family, body, {"repeat": repeat})

    @property
    def batch_client(self) -> Callable[[], BatchClient] | None:
        """Opens a client of the server's Batch API, for ``mode = "batch"``."""
        if self.settings.mode != "batch":
            return None
        from harness.models.hosted.batch_api import BatchAPI

        return partial(BatchAPI, self.settings)

    def check(self) -> None:
        """Check that calls can be sent, and import what sends them: later that would delay calls.

        Raises:
            CredentialsError: the server needs a key and there is none; names the variable.
            UsageError: the environment names a proxy that cannot be used.
        """
        read_api_key(self.settings)
        find_proxy(self.settings.base_url)
        for module in _NEEDED_TO_SEND:
            import_module(module)

    async def answers(
        self,
        requests: Iterable[tuple[K, Request]],
        stop: asyncio.Event | None = None,
        save: Save[K] | None = None,
    ) -> AsyncGenerator[tuple[K, Answer | Failure], None]:
        """Send requests, at most ``concurrency`` at a time; yield outcomes as they complete.

        Use one event loop between two calls of :meth:`aclose`, and close the iterator
        (``contextlib.aclosing``) if it is left early.

        Raises:
            CredentialsError, UsageError: as :meth:`check`.
            EndpointError: the circuit breaker is open.
        """
        self.connection.adjust(self.settings)
        self.connection.open(self)
        source = iter(requests)
        while True:
            self._interrupted = False
            # Failures that may concern all calls, until an answer shows that they do not.
            suspects: list[tuple[K, Answer | Failure]] = []
            calls = stream_calls(
                self._while_closed(source), self._call, self.connection.limiter, stop, save
            )
            async with aclosing(calls):
                async for key, outcome in calls:
                    if isinstance(outcome, Failure) and self._breaker.may_concern_all(outcome):
                        suspects.append((key, outcome))
                        continue
                    if isinstance(outcome, Answer):
                        while suspects:
                            yield suspects.pop(0)
                    yield key, outcome
            if self._breaker.is_open:
                raise EndpointError(
                    explain_refusal(
                        self.settings, self._breaker, server_reached=self._server_reached
                    )
                )
            for suspect in suspects:
                yield suspect
            if not self._interrupted:
                return

    def reply(self, answer: Answer, *, cached: bool) -> Reply:
        """Read a stored answer."""
        return read_reply(answer, cached=cached)

    async def aclose(self) -> None:
        """Close the connections, unless a peer uses them."""
        await self.connection.close(self)

    def _while_closed(self, source: Iterator[Any]) -> Iterator[Any]:
        """The requests, while the circuit breaker is closed."""
        while not self._breaker.is_open:
            try:
                yield next(source)
            except StopIteration:
                return
        self._interrupted = True

    async def _call(self, request: Request, call: Call) -> Answer | Failure:
        transport = self.connection.open(self)
        try:
            outcome = await call_with_retries(
                lambda: self._attempt(transport, request, call),
                call,
                max_attempts=self.settings.max_attempts,
                backoff_s=self.settings.backoff_s,
            )
        except StopRequested:
            if call.lost_attempts:
                return Failure("given up", lost_attempts=call.lost_attempts, cancelled=True)
            raise
        except Exception as error:
            # An unforeseen error of one call must not end the others.
            message = self._redact(f"{type(error).__name__}: {error}")
            outcome = Failure(message, lost_attempts=call.lost_attempts)
        if isinstance(outcome, Failure) and self._is_wrong_address(outcome):
            outcome = failures.SystemWideFailure(
                outcome.message,
                outcome.status_code,
                outcome.attempts,
                lost_attempts=outcome.lost_attempts,
            )
        self._breaker.record(outcome)
        return outcome

    def _is_wrong_address(self, failure: Failure) -> bool:
        """Whether the address seems to lead to no server, or to a web page."""
        return (
            not self._breaker.answer_count
            and failure.attempts >= self.settings.max_attempts
            and (not self._server_reached or failure.message.startswith(_NOT_AN_ENDPOINT))
        )

    async def _attempt(
        self, transport: Transport, request: Request, call: Call
    ) -> Answer | Failure:
        from aiohttp import ClientError

        body = request.body
        path = "/chat/completions" if "messages" in body else "/completions"
        counts_tokens = self.connection.limiter.counts_tokens
        permit = await call.begin_attempt(_most_tokens(body) if counts_tokens else 0)
        started = time.perf_counter()
        try:
            response = await transport.post(path, body, self.settings.timeout_s)
        except (ClientError, TimeoutError, OSError) as error:
            permit.complete(used_tokens=0)
            call.lost_attempts += failures.may_have_been_charged(error)
            return self._read_transport_error(error)
        except ResponseTooLargeError:
            permit.complete()
            call.lost_attempts += 1
            return Failure("a response of more than 32 MB, which is no answer of a model")
        except Exception as error:
            # The prompt cannot be encoded: it has half of a surrogate pair, for example.
            permit.complete(used_tokens=0)
            return Failure(self._redact(f"could not be sent: {type(error).__name__}: {error}"))
        self._server_reached = True
        if response.status >= 300:
            return self._read_error_response(transport, response, permit)
        return self._read_answer(response, time.perf_counter() - started, permit, call)

    def _read_transport_error(self, error: Exception) -> Failure:
        """The failure of an attempt without a response, if the server's name does not exist.

        Raises:
            RetryableError: in all other cases.
        """
        from aiohttp import ClientConnectorDNSError

        message = self._redact(failures.describe_transport_error(error))
        if self._server_reached:
            raise RetryableError(message) from None
        if isinstance(error, ClientConnectorDNSError):
            # A look-up may take seconds, and a misspelled name never resolves.
            self._dns_failures += 1
            if self._dns_failures >= _MOST_DNS_FAILURES:
                return failures.SystemWideFailure(message)
        raise RetryableError(message, None, self._first_answer_pause_s) from None

    def _read_error_response(
        self, transport: Transport, response: HTTPResponse, permit: Permit
    ) -> Failure:
        """The failure that an error response means.

        Raises:
            RetryableError: another attempt may succeed.
        """
        permit.complete(
            used_tokens=0,
            throttled=response.status == 429,
            retry_after_s=read_retry_after(response.headers),
            quota=read_quota(response.headers),
        )
        try:
            return failures.read_error(transport.sdk_error(response), self.connection.secrets)
        except RetryableError as error:
            if (error.retry_after_s or 0.0) > LONGEST_RETRY_AFTER_S:
                return failures.out_of_service(error)
            raise

    def _read_answer(
        self, response: HTTPResponse, latency_s: float, permit: Permit, call: Call
    ) -> Answer:
        """The answer in a response of status 200.

        Raises:
            RetryableError: it holds no completion. The attempt is lost, since it may be charged.
        """
        quota = read_quota(response.headers)
        call.lost_attempts += 1
        usage = Usage()
        try:
            text = self._read_text(response)
            body = parse_body(text)
            if body is None or not is_answer(body):
                message = self._redact(f"HTTP 200, but no completion: {text}")
                raise RetryableError(message, 200, self._first_answer_pause_s)
            usage = read_usage(body)
        finally:
            permit.complete(used_tokens=_used_tokens(usage), quota=quota)
        call.lost_attempts -= 1
        return Answer(text, latency_s, None if self.price is None else self.price.cost(usage))

    def _read_text(self, response: HTTPResponse) -> str:
        """The body of a response, without our own key if the server repeats it.

        Raises:
            RetryableError: it is neither JSON nor UTF-8.
        """
        content_type = response.headers.get("content-type", "")
        if "json" not in content_type.lower():
            message = self._redact(f"{_NOT_AN_ENDPOINT}: {content_type}")
            raise RetryableError(message, 200, self._first_answer_pause_s)
        try:
            text = response.content.decode()
        except UnicodeDecodeError:
            raise RetryableError(
                "HTTP 200, but not UTF-8", 200, self._first_answer_pause_s
            ) from None
        return redact(text, self.connection.answer_secrets)

    @property
    def _first_answer_pause_s(self) -> float | None:
        """A short pause before retries while there has been no answer; ``None`` afterwards.

        The address may be wrong. With growing pauses the user would learn it only after minutes.
        """
        return None if self._breaker.answer_count else 4 * self.settings.backoff_s

    def _redact(self, message: str) -> str:
        return redact_line(message, self.connection.secrets)


def _shared_connection(
    peers: Sequence[Backend], settings: OpenAISettings
) -> EndpointConnection | None:
    for peer in peers:
        if isinstance(peer, OpenAIBackend) and peer.connection.matches(settings):
            return peer.connection
    return None


def _most_tokens(body: Mapping[str, Any]) -> int:
    """The most tokens that a call may cost: its prompt, and its whole budget for the answer."""
    texts = [m["content"] for m in body["messages"]] if "messages" in body else [body["prompt"]]
    prompt = sum(estimate_tokens(text)[1] for text in texts)
    return prompt + (answer_budget(body) or _UNBOUNDED_ANSWER_TOKENS)


def _used_tokens(usage: Usage) -> int | None:
    """The tokens that a call cost; ``None`` if the server did not count them."""
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    return usage.prompt_tokens + usage.completion_tokens
