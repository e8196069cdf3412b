"""Hosted models: any server that speaks OpenAI's protocol.

Requests are the openai SDK's (:mod:`harness.models.hosted.transport`), but neither its retries nor its models
are used: a retry must let go of its slot while it sleeps (:mod:`harness.models.pace.calls`), and the
text of a response is what is stored. For 2,000 prompts of 3 kB at 200 ms and 64 in flight (ideal
6.25 s) on a machine with two cores, importing included,

    SDK as it comes                    7.6 s, 3.7 s of CPU
    the same, raw responses            7.4 s, 3.5 s
    SDK on aiohttp                     8.1 s, 3.0 s
    the same, raw responses            7.5 s, 2.4 s
    the wire alone                     7.4 s, 0.9 s      of that, 0.5 s to import the SDK
    this module                        7.3 s, 1.0 s      with its pace, retries and checks
    aiohttp without the SDK            6.8 s, 0.4 s

``benchmarks/transports.py`` measures them again, ``benchmarks/throughput.py`` a whole run. HTTP/2
is no choice: aiohttp does not speak it, and one connection would carry all calls of a run.
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
from harness.models.hosted import failures, secrets
from harness.models.hosted.circuit_breaker import Standing
from harness.models.hosted.headers import read_quota, read_retry_after
from harness.models.hosted.openai_settings import PARAMETERS, OpenAISettings
from harness.models.hosted.transport import Line, Received, TooLarge, Wire, find_key, find_proxy
from harness.models.pace.calls import Call, RetryableError, call_with_retries, stream_calls
from harness.models.pace.limiter import LONGEST_RETRY_AFTER_S, StopRequested
from harness.models.prices import Prices, answer_budget, estimate_tokens, find_price
from harness.models.protocol import Backend, K, Keep, body_of
from harness.models.replies import is_answer, parse_body, read_reply, read_usage
from harness.records import Answer, Failure, Prompt, Reply, Request, Usage

# Half a second of imports.
_SENDING = ("aiohttp", "httpx2", "openai", "tenacity")

# How the failure of a call begins that something else than a model's endpoint answered.
_NO_ENDPOINT = "HTTP 200, but not JSON"
# A server that was never reached is given up after its name could not be resolved so often.
_MOST_LOOK_UPS = 3
# What is reserved of a limit on tokens where a request sets no bound.
_UNBOUNDED_TOKENS = 4096


class OpenAIBackend:
    """A server behind the openai SDK.

    Everything that goes wrong with one call is that call's :class:`Failure`. A server that
    refuses calls in a way that concerns all of them (401 to 404, an empty quota, a parameter it
    does not take, or nobody there) ends the stream with :class:`EndpointError` as soon as the
    calls in flight are back, unless one of them succeeded: at once if no call ever did, else when
    it has refused many in a row (:class:`~harness.models.hosted.circuit_breaker.Standing`). So does one that
    asks for a longer pause than a run waits, and one that is gone in mid-run. Refused calls have
    no outcome then; ``keep`` is told of them.

    ``peers`` are other backends of the same run; with one that has the same server and key, the
    connections, the ceiling and the limits are shared.
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
        self.line: Line = _line_of(peers, settings) or Line(settings)
        self.line.join(settings)
        self._standing = Standing(settings.concurrency, settings.max_attempts)
        self._reached = False
        self._look_ups = 0
        self._cut = False

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
        """Look whether there is a key, and load what sends: later it would hold up calls.

        Raises:
            CredentialsError: there is none and the server needs one; names the variable.
            UsageError: the environment names a proxy that cannot be used.
        """
        find_key(self.settings)
        find_proxy(self.settings.base_url)
        for module in _SENDING:
            import_module(module)

    async def answers(
        self,
        requests: Iterable[tuple[K, Request]],
        stop: asyncio.Event | None = None,
        keep: Keep[K] | None = None,
    ) -> AsyncGenerator[tuple[K, Answer | Failure], None]:
        """Send requests, at most ``concurrency`` at a time; yield as they complete.

        Use one event loop between two calls of :meth:`aclose`, and close the iterator
        (``contextlib.aclosing``) if it is left early.

        Raises:
            CredentialsError, UsageError: as :meth:`check`.
            EndpointError: the server refuses every call.
        """
        self.line.join(self.settings)
        self.line.wire(self)
        source = iter(requests)
        while True:
            self._cut = False
            # Failures that may be every call's, until an answer shows that they are not.
            held: list[tuple[K, Answer | Failure]] = []
            welcome = self._while_welcome(source)
            calls = stream_calls(welcome, self._call, self.line.pace, stop, keep)
            async with aclosing(calls):
                async for key, outcome in calls:
                    if isinstance(outcome, Failure) and self._standing.doubts(outcome):
                        held.append((key, outcome))
                        continue
                    if isinstance(outcome, Answer):
                        while held:
                            yield held.pop(0)
                    yield key, outcome
            if self._standing.refused:
                raise EndpointError(self._explain())
            for item in held:
                yield item
            if not self._cut:
                return

    def reply(self, answer: Answer, *, cached: bool) -> Reply:
        """Read a stored answer."""
        return read_reply(answer, cached=cached)

    async def aclose(self) -> None:
        """Close the connections, unless a peer uses them."""
        await self.line.release(self)

    def _while_welcome(self, source: Iterator[Any]) -> Iterator[Any]:
        """The requests, until the server turns out to refuse them all."""
        while not self._standing.refused:
            try:
                yield next(source)
            except StopIteration:
                return
        self._cut = True

    def _explain(self) -> str:
        settings, standing = self.settings, self._standing
        refusal = standing.silence if standing.gone else standing.refusal
        assert refusal is not None
        said = refusal.message.rstrip(" .:")
        stored = f"; {standing.answers} answers before that are stored" if standing.answers else ""
        if not self._reached:
            return (
                f"{self._endpoint} gives no answer ({said}). Is {settings.base_url} the right "
                f"base_url, and is the server running?"
            )
        if standing.gone:
            return (
                f"{self._endpoint} gives no answer any more ({said}){stored}. Is the server at "
                f"{settings.base_url} still running? Run it again once it is back: it goes on from "
                f"there."
            )
        if isinstance(refusal, failures.Refused) and refusal.retry_after_s is not None:
            return (
                f"{self._endpoint} takes no call of model '{settings.model}' now ({said})"
                f"{stored}. Run it again in {failures.duration(refusal.retry_after_s)}: it goes on "
                f"from there."
            )
        if isinstance(refusal, failures.Refused) and refusal.parameter is not None:
            return f"{self._endpoint} takes no call as it is ({said}). {self._way_out(refusal)}"
        if standing.answers:
            return (
                f"{self._endpoint} refuses every call of model '{settings.model}' now ({said})"
                f"{stored}. Check the key in {settings.api_key_env} and the account, then run it "
                f"again: it goes on from there."
            )
        if not isinstance(refusal, failures.Refused):
            return (
                f"{self._endpoint} rejects every request of model '{settings.model}' ({said}). "
                f'Change or drop = ["…"] the parameter it does not take, or correct the model, '
                f"wrap or format of the system."
            )
        return (
            f"{self._endpoint} refuses every call of model '{settings.model}' ({said}). Check the "
            f"model's name, base_url ({settings.base_url}) and the key in {settings.api_key_env}."
        )

    def _way_out(self, refusal: failures.Refused) -> str:
        name = refusal.parameter or ""
        if name in self.settings.extra_body:
            return f"Take {name} out of extra_body."
        if name.partition(".")[0] == "response_format":
            return 'Ask for answers with format = "python".'
        if name not in PARAMETERS:
            return 'Leave a parameter out with drop = ["NAME"] in the system\'s table.'
        other = " or give max_completion_tokens in its place" if name == "max_tokens" else ""
        names = ", ".join(f'"{dropped}"' for dropped in (*self.settings.drop, name))
        return f"Leave it out with drop = [{names}] in the system's table{other}."

    async def _call(self, request: Request, call: Call) -> Answer | Failure:
        wire = self.line.wire(self)
        try:
            outcome = await call_with_retries(
                lambda: self._attempt(wire, request, call),
                call,
                max_attempts=self.settings.max_attempts,
                backoff_s=self.settings.backoff_s,
            )
        except StopRequested:
            if call.lost_attempts:
                return Failure("given up", lost_attempts=call.lost_attempts, cancelled=True)
            raise
        except Exception as error:
            # Whatever a server does to one call, the others go on.
            outcome = Failure(
                self._clean(f"{type(error).__name__}: {error}"), lost_attempts=call.lost_attempts
            )
        if (
            isinstance(outcome, Failure)
            and not self._standing.answers
            and outcome.attempts >= self.settings.max_attempts
            and (not self._reached or outcome.message.startswith(_NO_ENDPOINT))
        ):
            # Nobody there, or a web page where a model should be.
            outcome = failures.Refused(
                outcome.message,
                outcome.status_code,
                outcome.attempts,
                lost_attempts=outcome.lost_attempts,
            )
        self._standing.note(outcome)
        return outcome

    async def _attempt(self, wire: Wire, request: Request, call: Call) -> Answer | Failure:
        from aiohttp import ClientConnectorDNSError, ClientError

        body = request.body
        path = "/chat/completions" if "messages" in body else "/completions"
        counted = self.line.pace.counts_tokens
        permit = await call.begin_attempt(_tokens(body) if counted else 0)
        started = time.perf_counter()
        try:
            received = await wire.post(path, body, self.settings.timeout_s)
        except (ClientError, TimeoutError, OSError) as error:
            permit.complete(used_tokens=0)
            call.lost_attempts += failures.may_have_arrived(error)
            message = self._clean(failures.transport(error))
            if isinstance(error, ClientConnectorDNSError) and not self._reached:
                # Each look-up may take seconds, and a name that is misspelled stays so.
                self._look_ups += 1
                if self._look_ups >= _MOST_LOOK_UPS:
                    return failures.Refused(message)
            raise RetryableError(message, None, None if self._reached else self._pause) from None
        except TooLarge:
            permit.complete()
            call.lost_attempts += 1
            return Failure("a response of more than 32 MB, which is no answer of a model")
        except Exception as error:
            # A prompt that cannot be sent, such as one with half a surrogate pair.
            permit.complete(used_tokens=0)
            return Failure(self._clean(f"could not be sent: {type(error).__name__}: {error}"))
        self._reached = True
        quota = read_quota(received.headers)
        if received.status >= 300:
            permit.complete(
                used_tokens=0,
                throttled=received.status == 429,
                retry_after_s=read_retry_after(received.headers),
                quota=quota,
            )
            try:
                return failures.read(wire.error(received), self.line.secrets)
            except RetryableError as again:
                if (again.retry_after_s or 0.0) > LONGEST_RETRY_AFTER_S:
                    return failures.out_of_service(again)
                raise
        latency = time.perf_counter() - started
        # Until it turns out to be an answer.
        call.lost_attempts += 1
        usage = Usage()
        try:
            text = self._text(received)
            read = parse_body(text)
            if read is None or not is_answer(read):
                message = self._clean(f"HTTP 200, but no completion: {text}")
                raise RetryableError(message, 200, self._pause)
            usage = read_usage(read)
        finally:
            permit.complete(used_tokens=_spent(usage), quota=quota)
        call.lost_attempts -= 1
        return Answer(text, latency, None if self.price is None else self.price.cost(usage))

    def _text(self, received: Received) -> str:
        """The body of a response, less our own key should the server have put it there."""
        kind = received.headers.get("content-type", "")
        if "json" not in kind.lower():
            raise RetryableError(self._clean(f"{_NO_ENDPOINT}: {kind}"), 200, self._pause)
        try:
            text = received.content.decode()
        except UnicodeDecodeError:
            raise RetryableError("HTTP 200, but not UTF-8", 200, self._pause) from None
        for secret in self.line.stored_secrets:
            text = text.replace(secret, secrets.HIDDEN)
        return text

    @property
    def _pause(self) -> float | None:
        """How long to wait where a server has never answered.

        Perhaps nobody is there, or something else than a model, which a user wants to know
        before minutes have passed.
        """
        return None if self._standing.answers else 4 * self.settings.backoff_s

    def _clean(self, message: str) -> str:
        return secrets.clean(message, self.line.secrets)


def _line_of(peers: Sequence[Backend], settings: OpenAISettings) -> Line | None:
    for peer in peers:
        if isinstance(peer, OpenAIBackend) and peer.line.serves(settings):
            return peer.line
    return None


def _tokens(body: Mapping[str, Any]) -> int:
    """At most so many tokens does a call count for: its prompt and its whole budget."""
    texts = [m["content"] for m in body["messages"]] if "messages" in body else [body["prompt"]]
    prompt = sum(estimate_tokens(text)[1] for text in texts)
    return prompt + (answer_budget(body) or _UNBOUNDED_TOKENS)


def _spent(usage: Usage) -> int | None:
    """What a call took of a limit on tokens, as far as its answer says."""
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    return usage.prompt_tokens + usage.completion_tokens
