"""What every backend is to the rest of the program: prompts in, a stream of answers out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar

from pydantic import Field

from harness.models.batches import BatchClient
from harness.models.prices import Price
from harness.records import Answer, Failure, Prompt, Reply, Request
from harness.sections import Section

Wrap = Literal["chat", "completion"]
#: Whatever the caller tells its requests apart by: an index, a key.
K = TypeVar("K")
#: Stores outcomes. They are used only after it has returned.
Save = Callable[[Sequence[tuple[K, Answer | Failure]]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Requests and tokens a minute; ``None`` is no limit."""

    rpm: float | None = None
    tpm: float | None = None


class Settings(Section):
    """The keys of a ``[[systems]]`` table that one backend understands. Never holds a secret."""

    backend: ClassVar[str]
    default_wrap: ClassVar[Wrap] = "chat"
    #: Whether the same prompt gets the same answer each time.
    greedy: ClassVar[bool] = False
    #: What answers can be written in.
    formats: ClassVar[tuple[str, ...]] = ("python", "json")
    #: The keys whose value is the path of a file.
    paths: ClassVar[tuple[str, ...]] = ()
    #: The keys whose value may be the path of a folder, or a name.
    folders: ClassVar[tuple[str, ...]] = ()

    model: str = Field(min_length=1)

    def located(self, file: Callable[[str, str], str], folder: Callable[[str], str]) -> Self:
        """The same with every file (by its key and name) and folder (by its name) looked up."""
        files = {key: file(key, name) for key in self.paths if (name := getattr(self, key))}
        folders = {key: folder(name) for key in self.folders if (name := getattr(self, key))}
        return self.model_copy(update=files | folders)

    @property
    def endpoint(self) -> str:
        """What stands for the server or the engine in cache keys and price tables."""
        return self.backend

    @property
    def rate_limits(self) -> RateLimits:
        """The limits that calls of these settings are kept to."""
        return RateLimits()


class CallSettings(Settings):
    """Settings of a backend that sends calls.

    ``concurrency`` is the ceiling of calls in flight; it does not belong to a request.
    """

    concurrency: int = Field(default=64, ge=1, le=10_000)


def body_of(model: str, prompt: Prompt) -> tuple[str, dict[str, Any]]:
    """The endpoint family that a prompt goes to, and the body that carries it.

    A prompt with a system text is a chat of two messages (of one, where that text is empty); one
    without is sent as it is.
    """
    if prompt.system is None:
        return "completions", {"model": model, "prompt": prompt.text}
    messages = [{"role": "user", "content": prompt.text}]
    if prompt.system:
        messages.insert(0, {"role": "system", "content": prompt.system})
    body: dict[str, Any] = {"model": model, "messages": messages}
    if prompt.response_format is not None:
        body["response_format"] = prompt.response_format
    return "chat.completions", body


class Backend(Protocol):
    """A model behind some engine or server."""

    @property
    def settings(self) -> Settings:
        """The keys of the system's table that it was opened with."""
        ...

    #: What its tokens cost; ``None`` where that is unknown.
    price: Price | None

    @property
    def batch_client(self) -> Callable[[], BatchClient] | None:
        """Opens a client of the Batch API where requests go through one; ``None``: live calls.

        Opening it raises ``CredentialsError`` where a key is needed and not there.
        """
        ...

    @property
    def engine(self) -> str:
        """What a score's signature says of a local engine: the type it computes in, and more
        that changes outputs. Empty where that is a server's business."""
        ...

    def request(self, prompt: Prompt, repeat: int = 0) -> Request:
        """The canonical whole request: everything an answer depends on, and no secret.

        Costs microseconds and imports no engine: previews and cached reruns make it for every
        example.
        """
        ...

    def check(self) -> None:
        """Look whether requests could be sent at all, without sending one.

        Raises:
            CredentialsError: a key is needed and not there.
            CheckpointError: a local model is not there, or does not fit this machine.
        """
        ...

    def answers(
        self,
        requests: Iterable[tuple[K, Request]],
        stop: asyncio.Event | None = None,
        save: Save[K] | None = None,
    ) -> AsyncGenerator[tuple[K, Answer | Failure], None]:
        """Send requests and yield what came of each, as they complete.

        ``requests`` is read lazily: one more whenever a call may start. ``save`` is given the
        outcomes that have arrived together, and is awaited before any of them is yielded. At most
        ``concurrency`` calls (of a local model: one batch) are in flight, or answered and not
        saved (without ``save``: not yet taken by the caller). No more than those are lost if the
        process dies. Closing the iterator cancels the calls in flight. Once ``stop`` is set,
        nothing more is sent, calls that wait for another attempt end without an outcome, and those
        in flight are awaited.

        Raises:
            EndpointError: the server refuses every call.
            CredentialsError, CheckpointError: as :meth:`check`.
        """
        ...

    def reply(self, answer: Answer, *, cached: bool) -> Reply:
        """Read a stored answer. Never raises, whatever a server once sent."""
        ...

    async def aclose(self) -> None:
        """Close connections or unload the model; what is used again is opened anew."""
        ...
