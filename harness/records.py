"""The nouns of the program: frozen, slotted, plain. Everything else is functions over these.

One sentence flows through them in this order::

    Example -> Translation -> Prompt -> Request -> Answer -> Reply -> Prediction

Texts are Python strings of Unicode code points, kept exactly as the corpus has them (no
normalisation); offsets count code points, end exclusive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

FieldValue = str | tuple[str, ...]


class Status(StrEnum):
    """What became of one example: the closed list.

    Only ``OK``, ``REPAIRED`` and ``TRUNCATED`` contribute annotations; every status except
    ``UNSENT`` stays in the denominator of a score (the gold set never shrinks).
    """

    OK = "ok"
    REPAIRED = "repaired"
    TRUNCATED = "truncated"
    UNPARSEABLE = "unparseable"
    MISSING_STAGE = "missing_stage"
    EMPTY = "empty"
    REFUSED = "refused"
    FILTERED = "filtered"
    TOO_LONG = "too_long"
    UNTRANSLATED = "untranslated"
    ERROR = "error"
    UNSENT = "unsent"

    @property
    def contributes(self) -> bool:
        """Whether annotations read under this status take part in a score."""
        return self in (Status.OK, Status.REPAIRED, Status.TRUNCATED)


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation of any task: ``Annotation("Person", {"span": "Kano"})``.

    Entities and values have the field ``span``; relations ``arg1`` and ``arg2``; events
    ``mention``, ``subtype`` and their roles (tuples of strings). ``offsets`` is
    ``(start, end)`` in code points of the example's text where the corpus gives a position,
    and ``None`` for everything a model wrote.
    """

    type: str
    fields: Mapping[str, FieldValue]
    offsets: tuple[int, int] | None = None

    @property
    def span(self) -> str:
        """The entity's surface, or the empty string where there is none."""
        value = self.fields.get("span", "")
        return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class Example:
    """One sentence of a corpus with its gold annotations.

    ``text`` is what the model reads: for token-annotated corpora the tokens joined by single
    spaces. ``english`` and ``english_gold`` are the translation that the corpus itself carries
    and the gold annotations of that translation, where it has them.
    """

    id: str
    dataset: str
    language: str
    split: str
    text: str
    tokens: tuple[str, ...] = ()
    gold: tuple[Annotation, ...] = ()
    english: str | None = None
    english_gold: tuple[Annotation, ...] | None = None


@dataclass(frozen=True, slots=True)
class Translation:
    """An English text standing beside an example.

    ``source`` is the kind of source (``reference``, ``file``, …) and ``identity`` the engine
    or file it came from, as the score's signature prints it. ``flags`` name what looks wrong
    with it (``truncated``, ``empty``, ``repeating``, ``wrong_script``, …).
    """

    text: str
    source: str
    identity: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """The exact text a model is given, and the answer lists expected back, in order.

    ``system`` is the system message of the chat wrapper, or ``None`` when the text is sent as
    it is (``wrap = "completion"``). ``text`` has the same bytes either way. ``response_format``
    is the JSON schema that the answer is held to (``format = "json"``), as OpenAI's parameter of
    that name has it, or ``None`` where the answer is Python.
    """

    example_id: str
    text: str
    answers: tuple[str, ...]
    system: str | None = None
    response_format: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to a model, and what its answer is stored under: all that it depends on.

    ``endpoint`` stands for the server or the engine, ``family`` for the kind of call
    (``chat.completions``, ``completions``; empty where there is only one), ``body`` is what goes
    over the wire. ``identity`` has the rest: the repeat, the hash of local weights, the version of
    a script. Nothing here is a secret. Nobody changes a request; :func:`dataclasses.replace` makes
    another one.
    """

    endpoint: str
    family: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)

    def table(self) -> dict[str, Any]:
        """The request as one table, of which the store makes the key."""
        table: dict[str, Any] = {"endpoint": self.endpoint, **self.identity}
        if self.family:
            table |= {"family": self.family, "body": self.body}
        return table


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the server reported them; ``None`` where it did not."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store keeps of one answered call: the raw response, verbatim, and its price.

    ``response`` is the body of the response as JSON text; ``latency_s`` the seconds of the
    attempt that succeeded; ``cost`` integer nano-dollars at the prices of that day, ``None``
    where the price is unknown (never 0 for that). ``lost_attempts`` is not stored: it counts the
    call's earlier attempts that brought no answer and may have been charged.
    """

    response: str
    latency_s: float
    cost: int | None = None
    lost_attempts: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that failed for good: nothing is stored, it is made again.

    ``message`` is one line fit for a user, free of secrets; ``status_code`` the HTTP status,
    ``None`` for a transport failure. ``too_long`` and ``filtered`` say that the prompt did not
    fit the model's context, or that the provider's filter rejected it. ``lost_attempts`` counts the
    attempts that brought no answer and may have been charged. A call that was ``cancelled``,
    because the run was stopped, has not failed: it is reported only for its lost attempts.
    """

    message: str
    status_code: int | None = None
    attempts: int = 1
    too_long: bool = False
    filtered: bool = False
    lost_attempts: int = 0
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """An :class:`Answer` as read: text, why it ended, what it used and cost.

    ``finish_reason`` is the server's word (``stop``, ``length``, ``content_filter``, …), or
    ``refusal`` where the server marked the message as one. ``cost`` is in nano-dollars.
    """

    text: str
    finish_reason: str | None
    usage: Usage = Usage()
    cost: int | None = None
    latency_s: float = 0.0
    cached: bool = False
    served_by: str | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """An element of a reply that is no annotation of the schema, and why."""

    stage: str
    reason: str
    item: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """A reply read into annotations by stage (``result``, ``final_result``).

    ``stages`` holds every list that could be read, also under a status that does not
    contribute; ``repairs`` names the recovery rules that were needed, in order of first use.
    """

    example_id: str
    stages: Mapping[str, tuple[Annotation, ...]]
    status: Status
    repairs: tuple[str, ...] = ()
    dropped: tuple[Dropped, ...] = field(default=())
