"""Local backends: everything but the engine.

A new engine is one module in this folder and one line of ``_MODULES`` in
:mod:`harness.models`. The module has

- a subclass of :class:`LocalSettings` with ``backend``, the name of the engine in experiment
  files, and the engine's own keys, if any;
- a subclass of :class:`LocalBackend` with ``endpoint``, the name in cache keys and price tables,
  and the methods ``engine_identity``, ``require`` and ``open_engine``;
- what ``open_engine`` returns: a loaded model that has the two methods of
  :class:`~harness.local.engine.Engine`.

Prompts, tokens, batches, the end of answers, cache keys and replies are the same for all engines.
The heavy library is imported by ``open_engine``, not by the module: keys are made without it.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar

from pydantic import Field

from harness.errors import CheckpointError
from harness.local import grouping
from harness.local.allocation import keep_memory
from harness.local.checkpoints import Checkpoint, TextTokenizer, find_checkpoint, load_tokenizer
from harness.local.end_of_answer import EndOfAnswer
from harness.local.engine import Engine, GeneratedTokens, OutOfMemory
from harness.models.prices import Price, Prices, find_price
from harness.models.protocol import Backend, K, Save, Settings, Wrap, body_of
from harness.models.replies import read_reply
from harness.records import Answer, Failure, Prompt, Reply, Request

# The requests that are grouped by their prefixes and sorted at once.
_WINDOW = 2048
# The last prefix is used again where it has at least this part of the tokens shared now.
_REUSED_PART = 0.9


class LocalSettings(Settings):
    """The keys that all local backends have.

    ``model`` is a model that ships (``tiny-gollie-tf``), a folder, or a hub name with its
    ``revision``. ``device`` is ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or
    ``cuda:N``. ``max_tokens`` is the answer's budget. ``batch_tokens`` bounds a batch: prompts
    times the tokens of prompt tail and answer. By default the memory bounds it.
    """

    default_wrap: ClassVar[Wrap] = "completion"
    greedy: ClassVar[bool] = True
    formats: ClassVar[tuple[str, ...]] = ("python",)
    folders: ClassVar[tuple[str, ...]] = ("model",)

    revision: str | None = Field(default=None, min_length=1)
    device: str = "auto"
    max_tokens: int = Field(default=512, ge=1)
    batch_tokens: int | None = Field(default=None, ge=1)


class LocalBackend:
    """A model on this machine. Subclasses provide the engine, as the module's docstring says.

    One thread does all work, so calls from several places wait for each other.
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
        # Set to half of a batch that did not fit, for all later batches.
        self._batch_limit: int | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings!r})"

    def engine_identity(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """What of the engine changes outputs, for cache keys; imports no engine.

        ``version`` is the engine's major version, ``type`` the type that it computes in.

        Raises:
            CheckpointError: the engine is not installed.
        """
        raise NotImplementedError

    def require(self, checkpoint: Checkpoint) -> None:
        """Check that the engine is installed and the model fits the machine.

        Raises:
            CheckpointError: it is not, or does not.
        """
        raise NotImplementedError

    def open_engine(self, checkpoint: Checkpoint, tokenizer: TextTokenizer) -> Engine:
        """Load the model. Called on the worker thread, as are the engine's methods.

        Raises:
            CheckpointError: the model cannot be loaded.
        """
        raise NotImplementedError

    @property
    def engine(self) -> str:
        """The engine's part of a signature: ``float32``, or ``bfloat16+4bit``.

        The hash of an adapter is cut to 8 characters.
        """
        parts = {k: v for k, v in self._identity["engine"].items() if k != "version"}
        return "+".join(v[:8] if k == "adapter" else v for k, v in parts.items())

    def request(self, prompt: Prompt, repeat: int = 0) -> Request:
        """The canonical whole request, with model and engine by content, not by path."""
        family, body = body_of(self.settings.model, prompt)
        # Copies of a model in several folders share their answers.
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
        """Check that the model is there and fits, and that its engine is installed.

        Raises:
            CheckpointError: one of them does not hold.
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

        Requests are read in windows of 2,048; the prefixes that they share are computed once a
        window. Once ``stop`` is set, the current batch is finished. Closing the iterator ends it
        early.

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
                batches = await self._run(
                    self._outcomes, [request for _, request in window], abandoned
                )
                while (batch := await self._run(next, batches, None)) is not None:
                    outcomes = [(keys[index], outcome) for index, outcome in batch]
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
            keep_memory()  # it holds for threads that start after it
            self._worker = ThreadPoolExecutor(1, thread_name_prefix=self.endpoint)
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *arguments)

    def _load(self) -> tuple[Checkpoint, TextTokenizer, Engine]:
        if self._loaded is None:
            checkpoint = self._find()
            tokenizer = load_tokenizer(checkpoint)
            self._loaded = checkpoint, tokenizer, self.open_engine(checkpoint, tokenizer)
        return self._loaded

    def _outcomes(
        self, requests: Sequence[Request], abandoned: threading.Event
    ) -> Iterator[list[tuple[int, Answer | Failure]]]:
        """Outcomes by the index of their request: prompts that are too long, then each batch."""
        checkpoint, tokenizer, engine = self._load()
        prompts: dict[int, list[int]] = {}
        too_long: list[tuple[int, Answer | Failure]] = []
        for index, request in enumerate(requests):
            body = request.body
            ids = (
                tokenizer.chat(body["messages"])
                if "messages" in body
                else tokenizer.encode(body["prompt"])
            )
            if checkpoint.context and len(ids) + body["max_tokens"] > checkpoint.context:
                failure = _too_long(len(ids), body["max_tokens"], checkpoint.context)
                too_long.append((index, failure))
            else:
                prompts[index] = ids
        yield too_long
        budgets = {requests[index].body["max_tokens"] for index in prompts}
        for budget in sorted(budgets):
            same_budget = [i for i in prompts if requests[i].body["max_tokens"] == budget]
            for group in grouping.groups([prompts[i] for i in same_budget]):
                members = [same_budget[i] for i in group.members]
                prefix = self._prefix_length([prompts[i] for i in members], group.prefix)
                while members:
                    longest = len(prompts[members[0]]) - prefix
                    size = max(1, engine.max_batch_size(prefix, longest, budget))
                    size = min(size, self._batch_limit or size)
                    batch, members = members[:size], members[size:]
                    yield self._answer({i: prompts[i] for i in batch}, prefix, requests, abandoned)

    def _prefix_length(self, prompts: Sequence[list[int]], prefix: int) -> int:
        """The length of the prefix to give to the engine; the prompts share ``prefix`` tokens.

        The last prefix is kept where these prompts begin with it and it is not much shorter,
        because an engine keeps the KV cache of its last prefix.
        """
        last = len(self._last_prefix)
        fits = 0 < last < len(prompts[-1]) and prompts[0][:last] == self._last_prefix
        if fits and (len(prompts) == 1 or prefix * _REUSED_PART <= last <= prefix):
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
        """The outcomes of one batch; one that does not fit the memory is halved."""
        _, tokenizer, engine = self._load()
        rows = list(prompts)
        shared = prompts[rows[0]][:prefix]
        budget = requests[rows[0]].body["max_tokens"]
        started = time.perf_counter()
        end = EndOfAnswer(tokenizer, [requests[i].identity["until"] for i in rows], abandoned)
        try:
            generated = engine.generate(shared, [prompts[i][prefix:] for i in rows], budget, end)
        except OutOfMemory as error:
            if len(rows) == 1:
                return [(rows[0], _too_large(len(prompts[rows[0]]), error))]
            self._batch_limit = len(rows) // 2
            outcomes: list[tuple[int, Answer | Failure]] = []
            while rows:
                # The call below lowers the limit again if a half does not fit either.
                half, rows = rows[: self._batch_limit], rows[self._batch_limit :]
                outcomes += self._answer({i: prompts[i] for i in half}, prefix, requests, abandoned)
            return outcomes
        seconds = (time.perf_counter() - started) / len(rows)
        return [
            (i, self._as_answer(len(prompts[i]), row, requests[i], seconds))
            for i, row in zip(rows, generated, strict=True)
        ]

    def _as_answer(
        self, prompt_tokens: int, row: GeneratedTokens, request: Request, seconds: float
    ) -> Answer:
        """The answer for the store: a response in OpenAI's format."""
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
                "prompt_tokens": prompt_tokens,
                "completion_tokens": len(row.tokens),
                "total_tokens": prompt_tokens + len(row.tokens),
            },
        }
        cost = self.price.token_cost(prompt_tokens, len(row.tokens)) if self.price else None
        return Answer(json.dumps(response, ensure_ascii=False), seconds, cost)

    def reply(self, answer: Answer, *, cached: bool) -> Reply:
        """Read a stored answer."""
        return read_reply(answer, cached=cached)

    async def aclose(self) -> None:
        """Unload the model; the next request loads it again."""
        if self._worker is not None:
            await self._run(self._unload)
            self._worker.shutdown(wait=False)
            self._worker = None

    def _unload(self) -> None:
        self._loaded = None


def _too_long(prompt_tokens: int, budget: int, context: int) -> Failure:
    return Failure(
        f"The prompt has {prompt_tokens:,} tokens and the answer may have {budget:,}, but the "
        f"model's context is {context:,}. Lower max_tokens, or use a model with a longer context.",
        too_long=True,
    )


def _too_large(prompt_tokens: int, error: Exception) -> Failure:
    return Failure(
        f"A prompt of {prompt_tokens:,} tokens alone does not fit the memory beside the model "
        f"({error}). Use a smaller type or a larger machine."
    )
