"""What the backends that run a model on this machine have in common."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar, Literal, Protocol

from pydantic import Field

from harness.errors import CheckpointError
from harness.local import grouping
from harness.local.allocation import keep_memory
from harness.local.checkpoints import Checkpoint, TextTokenizer, find_checkpoint, load_tokenizer
from harness.models.prices import Price, Prices, find_price
from harness.models.protocol import Backend, K, Save, Settings, Wrap, body_of
from harness.models.replies import read_reply
from harness.reading.complete import is_complete
from harness.records import Answer, Failure, Prompt, Reply, Request

# So many requests are looked at together, to find what they share and to sort them.
_WINDOW = 2048
# A shared beginning that is this part of what is shared now is used again.
_NEARLY = 0.9


class LocalSettings(Settings):
    """The keys that all local backends have.

    ``model`` is a model that ships (``tiny-gollie-tf``), a folder, or a hub name with its
    ``revision``. ``device`` is ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or
    ``cuda:N``. ``max_tokens`` is the answer's budget. ``batch_tokens`` bounds a batch: rows
    times tokens of prompt tail and answer; by default it follows from the memory.
    """

    default_wrap: ClassVar[Wrap] = "completion"
    greedy: ClassVar[bool] = True
    formats: ClassVar[tuple[str, ...]] = ("python",)
    folders: ClassVar[tuple[str, ...]] = ("model",)

    revision: str | None = Field(default=None, min_length=1)
    device: str = "auto"
    max_tokens: int = Field(default=512, ge=1)
    batch_tokens: int | None = Field(default=None, ge=1)


@dataclass(frozen=True, slots=True)
class Generated:
    """What an engine wrote: the tokens without the end token, and why it ended."""

    tokens: list[int]
    finish_reason: Literal["stop", "length"]


class OutOfMemory(Exception):
    """An engine's batch did not fit; a smaller one may."""


#: Told every token of a row in turn (row, token); says whether the row is finished with it.
Done = Callable[[int, int], bool]


class Engine(Protocol):
    """A loaded model."""

    def generate(
        self, prefix: Sequence[int], tails: Sequence[Sequence[int]], max_tokens: int, done: Done
    ) -> list[Generated]:
        """Continue prompts greedily, one result a tail, in order.

        Prompt i is ``prefix + tails[i]``; the prefix may be empty, every tail has at least one
        token. End tokens are not told to ``done`` and end a row with ``stop``, as ``done`` does.

        Raises:
            OutOfMemory: the batch is too large; nothing of it is kept.
        """
        ...

    def rows(self, prefix: int, tail: int, max_tokens: int) -> int:
        """How many rows of at most ``tail`` tokens after a prefix of ``prefix`` fit one batch."""
        ...


class LocalBackend:
    """A model on this machine: everything but the engine.

    A subclass has ``endpoint``, :meth:`engine_identity`, :meth:`require` and :meth:`open_engine`.
    All work is done by one thread, so that calls from several places wait for each other.
    """

    endpoint: ClassVar[str]

    batch_client = None

    def __init__(
        self, settings: LocalSettings, prices: Prices | None = None, _peers: Sequence[Backend] = ()
    ) -> None:
        self.settings = settings
        self.price: Price | None = find_price(self.endpoint, settings.model, prices)
        self._worker: ThreadPoolExecutor | None = None
        self._loaded: tuple[Checkpoint, TextTokenizer, Engine] | None = None
        self._last_prefix: list[int] = []
        # Lowered for good once a batch of more rows did not fit.
        self._most_rows: int | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings!r})"

    def engine_identity(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """What of the engine changes outputs: ``version`` (its major one), ``type``, …

        Imports no engine.
        """
        raise NotImplementedError

    def require(self, checkpoint: Checkpoint) -> None:
        """Look whether the engine is installed and the model fits the machine.

        Raises:
            CheckpointError: it is not, or does not.
        """
        raise NotImplementedError

    def open_engine(self, checkpoint: Checkpoint, tokenizer: TextTokenizer) -> Engine:
        """Load the model. Called on the worker thread, as are the engine's methods."""
        raise NotImplementedError

    @property
    def engine(self) -> str:
        """``float32``; with what else changes outputs, ``bfloat16+4bit``. Hashes are cut."""
        engine = self._identity["engine"]
        told = {name: value for name, value in engine.items() if name != "version"}
        return "+".join(v[:8] if name == "adapter" else v for name, v in told.items())

    def request(self, prompt: Prompt, repeat: int = 0) -> Request:
        """The canonical whole request: model and engine by what they are, not by where."""
        family, body = body_of(self.settings.model, prompt)
        # Two copies of a model are one model, whatever their folders are called.
        del body["model"]
        body |= {"max_tokens": self.settings.max_tokens, "temperature": 0}
        return Request(
            self.endpoint,
            family,
            body,
            {**self._identity, "until": list(prompt.answers), "repeat": repeat},
        )

    @cached_property
    def _identity(self) -> dict[str, Any]:
        checkpoint = find_checkpoint(self.settings.model, self.settings.revision, weights=False)
        return {
            "engine": self.engine_identity(checkpoint),
            "weights": checkpoint.sha256,
            "tokenizer": checkpoint.tokenizer_sha256,
        }

    def check(self) -> None:
        """Look whether the model is there, fits, and its engine is installed.

        Raises:
            CheckpointError: it is not, or does not.
        """
        self._find()

    def _find(self) -> Checkpoint:
        checkpoint = find_checkpoint(self.settings.model, self.settings.revision)
        if checkpoint.config.get("is_encoder_decoder"):
            raise CheckpointError(
                f"Model '{checkpoint.name}' translates (it has an encoder), and cannot go on "
                f"from a prompt. Such models belong into [translation]; a system needs one like "
                f"GoLLIE-TF."
            )
        self.require(checkpoint)
        return checkpoint

    async def answers(
        self,
        requests: Iterable[tuple[K, Request]],
        stop: asyncio.Event | None = None,
        save: Save[K] | None = None,
    ) -> AsyncGenerator[tuple[K, Answer | Failure], None]:
        """Answer requests, batch by batch, those with the longest prompts first.

        Requests are taken by windows of some thousand: what they share is computed once a window.
        Once ``stop`` is set, the batch under way is finished. Closing the iterator ends it early.

        Raises:
            CheckpointError: as :meth:`check`, or the model cannot be loaded.
        """
        source = iter(requests)
        abandoned = threading.Event()
        try:
            while window := list(islice(source, _WINDOW)):
                if stop is not None and stop.is_set():
                    return
                keys = [key for key, _ in window]
                steps = await self._run(self._steps, [request for _, request in window], abandoned)
                while (done := await self._run(next, steps, None)) is not None:
                    outcomes = [(keys[index], outcome) for index, outcome in done]
                    if save is not None and outcomes:
                        await save(outcomes)
                    for item in outcomes:
                        yield item
                    if stop is not None and stop.is_set():
                        return
        finally:
            abandoned.set()

    async def _run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        if self._worker is None:
            keep_memory()  # heeded by threads that begin after it
            self._worker = ThreadPoolExecutor(1, thread_name_prefix=self.endpoint)
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *arguments)

    def _load(self) -> tuple[Checkpoint, TextTokenizer, Engine]:
        if self._loaded is None:
            checkpoint = self._find()
            tokenizer = load_tokenizer(checkpoint)
            self._loaded = checkpoint, tokenizer, self.open_engine(checkpoint, tokenizer)
        return self._loaded

    def _steps(
        self, requests: Sequence[Request], abandoned: threading.Event
    ) -> Iterator[list[tuple[int, Answer | Failure]]]:
        """What comes of requests by their index: first what cannot be asked, then by batches."""
        checkpoint, tokenizer, engine = self._load()
        prompts: dict[int, list[int]] = {}
        refused: list[tuple[int, Answer | Failure]] = []
        for index, request in enumerate(requests):
            body = request.body
            ids = (
                tokenizer.chat(body["messages"])
                if "messages" in body
                else tokenizer.encode(body["prompt"])
            )
            if checkpoint.context and len(ids) + body["max_tokens"] > checkpoint.context:
                refused.append((index, _too_long(len(ids), body["max_tokens"], checkpoint.context)))
            else:
                prompts[index] = ids
        yield refused
        budgets = {requests[index].body["max_tokens"] for index in prompts}
        for budget in sorted(budgets):
            chosen = [i for i in prompts if requests[i].body["max_tokens"] == budget]
            for group in grouping.groups([prompts[i] for i in chosen]):
                members = [chosen[i] for i in group.members]
                prefix = self._shared([prompts[i] for i in members], group.prefix)
                while members:
                    longest = len(prompts[members[0]]) - prefix
                    rows = max(1, engine.rows(prefix, longest, budget))
                    rows = min(rows, self._most_rows or rows)
                    batch, members = members[:rows], members[rows:]
                    yield self._answer({i: prompts[i] for i in batch}, prefix, requests, abandoned)

    def _shared(self, prompts: Sequence[list[int]], prefix: int) -> int:
        """How many first tokens to give to the engine as shared, of those that are.

        As many as last time where they are the same ones and not far fewer: an engine keeps what
        it has computed of them.
        """
        last = len(self._last_prefix)
        fits = 0 < last < len(prompts[-1]) and prompts[0][:last] == self._last_prefix
        if fits and (len(prompts) == 1 or prefix * _NEARLY <= last <= prefix):
            return last
        self._last_prefix = prompts[0][:prefix] or self._last_prefix
        return prefix

    def _answer(
        self,
        prompts: Mapping[int, list[int]],
        prefix: int,
        requests: Sequence[Request],
        abandoned: threading.Event,
    ) -> list[tuple[int, Answer | Failure]]:
        """What comes of one batch, halved where it does not fit."""
        _, tokenizer, engine = self._load()
        rows = list(prompts)
        shared = prompts[rows[0]][:prefix]
        budget = requests[rows[0]].body["max_tokens"]
        started = time.perf_counter()
        ends = _Ends(tokenizer, [requests[i].identity["until"] for i in rows], abandoned)
        try:
            written = engine.generate(shared, [prompts[i][prefix:] for i in rows], budget, ends)
        except OutOfMemory as error:
            if len(rows) == 1:
                return [(rows[0], _too_large(len(prompts[rows[0]]), error))]
            self._most_rows = len(rows) // 2
            outcomes: list[tuple[int, Answer | Failure]] = []
            while rows:
                # The halves of a half that does not fit either are not too large again.
                half, rows = rows[: self._most_rows], rows[self._most_rows :]
                outcomes += self._answer({i: prompts[i] for i in half}, prefix, requests, abandoned)
            return outcomes
        seconds = (time.perf_counter() - started) / len(rows)
        return [
            (i, self._as_answer(len(prompts[i]), row, requests[i], seconds))
            for i, row in zip(rows, written, strict=True)
        ]

    def _as_answer(self, read: int, row: Generated, request: Request, seconds: float) -> Answer:
        """What the store keeps: a response in the shape of OpenAI's. The time is its share."""
        _, tokenizer, _ = self._load()
        chat = request.family == "chat.completions"
        text = tokenizer.decode(row.tokens)
        choice: dict[str, Any] = {"index": 0, "finish_reason": row.finish_reason}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        engine = request.identity["engine"]
        response = {
            "object": "chat.completion" if chat else "text_completion",
            "model": self.settings.model,
            "system_fingerprint": f"{self.endpoint}-{engine['version']}-{engine['type']}",
            "choices": [choice],
            "usage": {
                "prompt_tokens": read,
                "completion_tokens": len(row.tokens),
                "total_tokens": read + len(row.tokens),
            },
        }
        cost = self.price.token_cost(read, len(row.tokens)) if self.price else None
        return Answer(json.dumps(response, ensure_ascii=False), seconds, cost)

    def reply(self, answer: Answer, *, cached: bool) -> Reply:
        """Read a stored answer."""
        return read_reply(answer, cached=cached)

    async def aclose(self) -> None:
        """Unload the model; it is loaded again when it is asked again."""
        if self._worker is not None:
            await self._run(self._unload)
            self._worker.shutdown(wait=False)
            self._worker = None

    def _unload(self) -> None:
        self._loaded = None


class _Ends:
    """Says of each row of a batch when it is finished: once its last expected list is closed."""

    def __init__(
        self,
        tokenizer: TextTokenizer,
        until: Sequence[Sequence[str]],
        abandoned: threading.Event,
    ) -> None:
        self._tokenizer = tokenizer
        self._until = until
        self._abandoned = abandoned
        self._written: list[list[int]] = [[] for _ in until]
        # By token, whether a list can end with it: few can, and only then is the text read.
        self._brackets: dict[int, bool] = {}

    def __call__(self, row: int, token: int) -> bool:
        written = self._written[row]
        written.append(token)
        bracket = self._brackets.get(token)
        if bracket is None:
            bracket = self._brackets[token] = "]" in self._tokenizer.decode([token])
        if bracket and is_complete(self._tokenizer.decode(written), self._until[row]):
            return True
        return self._abandoned.is_set()


def _too_long(read: int, budget: int, context: int) -> Failure:
    return Failure(
        f"The prompt has {read:,} tokens and the answer may have {budget:,}, but the model's "
        f"context is {context:,}. Lower max_tokens, or use a model with a longer context.",
        too_long=True,
    )


def _too_large(read: int, error: Exception) -> Failure:
    return Failure(
        f"A prompt of {read:,} tokens alone does not fit the memory beside the model ({error}). "
        f"Use a smaller type or a larger machine."
    )
