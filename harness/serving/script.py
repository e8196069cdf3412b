"""The script of the fake model: answers from a rule or a file, and faults on demand.

An answer or a fault depends on the seed, the request and the number of the attempt, and on
nothing else. So a run with faults can be repeated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from harness.errors import ExperimentError, unknown_name_message
from harness.models.protocol import CallSettings
from harness.serving.json_answer import as_json

Fault = Literal["429", "500", "drop", "hang", "half", "garble", "web_page"]
Probability = Annotated[float, Field(ge=0, le=1)]

#: How an attempt may fail, and the setting that holds the probability of it.
FAULTS: Mapping[Fault, str] = {
    "429": "error_429",
    "500": "error_500",
    "drop": "drop",
    "hang": "hang",
    "half": "half",
    "garble": "garble",
    "web_page": "web_page",
}

# Part of every request: what a rule answers may change with a version, and then is asked anew.
SCRIPT_VERSION = 1


def _tagger(prompt: str) -> str:
    from harness.serving import tagger

    return tagger.answer(prompt)


#: What a model name of this backend does with a prompt.
RULES: Mapping[str, Callable[[str], str]] = {
    "capitals": _tagger,
    "empty": lambda prompt: " []\n",
}


class ScriptedSettings(CallSettings):
    """The keys of ``backend = "scripted"``.

    ``model`` is a rule: ``capitals`` (a small tagger that reads the prompt) or ``empty``.
    ``answers`` is a JSONL file of replies that come before the rule, each with ``reply`` and
    either ``prompt_sha256`` or ``contains``, a piece of the prompt. ``latency_s`` of every attempt
    and ``retry_after_s`` of a 429 are seconds.

    Probabilities of an answer: ``truncate`` (cut, ``length``) and ``null`` (no content, ``stop``).
    Of an attempt: ``error_429``, ``error_500`` and ``drop`` (half an answer, then the connection
    ends).

    Behind the server alone, and without effect in this process: ``hang`` (no answer at all until
    the client leaves), ``half`` (half of one, then silence until it leaves), ``garble`` (broken
    JSON) and ``web_page`` (a 200 with HTML), probabilities of an attempt; ``storm_s``, seconds from
    the first request on in which all get a 429; ``key_expires_after`` so many answers, from when on
    all get a 401; ``rpm`` and ``tpm``, limits of requests and tokens a minute as
    :class:`harness.serving.faults.ScriptedLimit` keeps them, and ``window``, their kind;
    ``batch_latency_s``, how long a batch takes, and ``batch_error`` and ``batch_expire``,
    probabilities of a request of a batch (it gets a 500, or is not reached).
    """

    backend: ClassVar[str] = "scripted"
    paths: ClassVar[tuple[str, ...]] = ("answers",)

    model: str = "capitals"
    answers: str | None = None
    latency_s: float = Field(default=0.0, ge=0, le=3600)
    error_429: Probability = 0.0
    error_500: Probability = 0.0
    drop: Probability = 0.0
    hang: Probability = 0.0
    half: Probability = 0.0
    garble: Probability = 0.0
    web_page: Probability = 0.0
    truncate: Probability = 0.0
    null: Probability = 0.0
    retry_after_s: float = Field(default=1.0, ge=0, le=3600)
    storm_s: float = Field(default=0.0, ge=0, le=3600)
    key_expires_after: int | None = Field(default=None, ge=0)
    rpm: float | None = Field(default=None, gt=0)
    tpm: float | None = Field(default=None, gt=0)
    window: Literal["bucket", "fixed"] = "bucket"
    batch_latency_s: float = Field(default=0.0, ge=0, le=86_400)
    batch_error: Probability = 0.0
    batch_expire: Probability = 0.0
    seed: int = 0
    max_tokens: int = Field(default=512, ge=1)
    max_attempts: int = Field(default=10, ge=8)

    @model_validator(mode="after")
    def _possible(self) -> ScriptedSettings:
        if self.model not in RULES:
            raise ValueError(unknown_name_message("rule", self.model, RULES))
        if sum(getattr(self, name) for name in FAULTS.values()) > 1:
            raise ValueError(f"{', '.join(FAULTS.values())} add up to more than 1")
        return self


class Script:
    """What is answered to a request, and which attempts at it fail."""

    def __init__(self, settings: ScriptedSettings) -> None:
        self.settings = settings
        self._rule = RULES[settings.model]
        chances = ((fault, getattr(settings, name)) for fault, name in FAULTS.items())
        self._chances = [(fault, chance) for fault, chance in chances if chance]
        self._by_hash: dict[str, str] = {}
        self._by_piece: list[tuple[str, str]] = []
        self.answers_sha256: str | None = None
        if settings.answers is not None:
            self._load(Path(settings.answers))

    def fault(self, request: bytes, attempt: int) -> Fault | None:
        """How an attempt at a request (its bytes; attempts count from 0) fails, if it does."""
        if not self._chances:
            return None
        draw = self._draw(request, f"attempt {attempt}")
        for fault, chance in self._chances:
            draw -= chance
            if draw < 0:
                return fault
        return None

    def response(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The response object to a request body of the chat or the completions endpoint."""
        chat = "messages" in body
        texts = _contents(body["messages"]) if chat else [_text(body.get("prompt"))]
        prompt = texts[-1] if texts else ""
        asked = json.dumps(body, sort_keys=True).encode()
        digest = hashlib.sha256(asked).hexdigest()
        text, finish = self._reply(prompt), "stop"
        if isinstance(body.get("response_format"), Mapping):
            text = as_json(text, body["response_format"])
        if self._happens("truncate", asked):
            text, finish = text[: int(len(text) * self._draw(asked, "length"))], "length"
        budget = body.get("max_completion_tokens") or body.get("max_tokens")
        if isinstance(budget, int) and _tokens(text) > budget:
            text, finish = text.encode()[: 4 * budget].decode("utf-8", "ignore"), "length"
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish}
        content: str | None = text
        if self._happens("null", asked):
            content, choice["finish_reason"] = None, "stop"
        if chat:
            choice["message"] = {"role": "assistant", "content": content, "error": None}
        else:
            choice["text"] = content
        read, written = sum(map(_tokens, texts)), _tokens(text)
        return {
            "id": f"scripted-{digest[:24]}",
            "object": "chat.completion" if chat else "text_completion",
            "created": 0,
            "model": str(body.get("model", self.settings.model)),
            "system_fingerprint": f"scripted-{SCRIPT_VERSION}",
            "choices": [choice],
            "usage": {
                "prompt_tokens": read,
                "completion_tokens": written,
                "total_tokens": read + written,
            },
        }

    def _reply(self, prompt: str) -> str:
        if self._by_hash:
            reply = self._by_hash.get(hashlib.sha256(prompt.encode()).hexdigest())
            if reply is not None:
                return reply
        for piece, reply in self._by_piece:
            if piece in prompt:
                return reply
        return self._rule(prompt)

    def _happens(self, flaw: str, request: bytes) -> bool:
        """Whether the answer to a request has a flaw, by the setting of that name."""
        chance: float = getattr(self.settings, flaw)
        return chance > 0 and self._draw(request, flaw) < chance

    def _draw(self, request: bytes, what: str) -> float:
        """A number in [0, 1) that the seed, the request and the occasion determine."""
        text = f"{self.settings.seed}/{what}/".encode() + request
        return int.from_bytes(hashlib.sha256(text).digest()[:7]) / 2**56

    def _load(self, path: Path) -> None:
        try:
            content = path.read_bytes()
            lines = content.decode().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ExperimentError(f"answers = '{path}' cannot be read: {error}.") from None
        self.answers_sha256 = hashlib.sha256(content).hexdigest()
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                reply = row["reply"]
                if not isinstance(reply, str):
                    raise TypeError
                if "prompt_sha256" in row:
                    self._by_hash[row["prompt_sha256"]] = reply
                else:
                    self._by_piece.append((row["contains"] + "", reply))
            except (ValueError, TypeError, KeyError):
                raise ExperimentError(
                    f'{path}:{number}: a line is {{"reply": "…"}} with either "prompt_sha256" or '
                    f'"contains", all of them text.'
                ) from None


def _tokens(text: str) -> int:
    """A token is four bytes here."""
    return (len(text.encode()) + 3) // 4


def most_tokens(body: Mapping[str, Any]) -> int:
    """The most tokens that a request body can use: those of its prompt, and its answer budget."""
    texts = _contents(body["messages"]) if "messages" in body else [_text(body.get("prompt"))]
    budget = body.get("max_completion_tokens") or body.get("max_tokens")
    return sum(map(_tokens, texts)) + (budget if isinstance(budget, int) else 0)


def _contents(messages: Any) -> list[str]:
    parts = messages if isinstance(messages, list) else []
    return [_text(part.get("content")) for part in parts if isinstance(part, Mapping)]


def _text(value: Any) -> str:
    # Half a surrogate pair, which JSON can carry and UTF-8 cannot, becomes a question mark.
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""
