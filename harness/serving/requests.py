"""What a client may ask of a served model: the body of a request, read and judged.

Format: https://platform.openai.com/docs/api-reference/chat/create and ``/completions/create``.
Nothing is left out in silence: a parameter that a greedy server cannot honour is refused, unless
its value asks for what is done anyway.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ROLES = ("system", "user", "assistant")
# How many stop texts OpenAI takes.
_MOST_STOPS = 4
# Read here, or without effect on a greedy answer (the last two).
_HONOURED = frozenset(
    {"model", "messages", "prompt", "max_tokens", "max_completion_tokens", "stop", "stream"}
    | {"seed", "user"}
)
# The one value that each of these may have besides null, and what the server does.
_GREEDY = "it decodes greedily"
_ONE = "it gives one answer to a request"
_TEXT = "it gives text and nothing else"
_FIXED: Mapping[str, tuple[Any, str]] = {
    "temperature": (0, _GREEDY),
    "top_p": (1, _GREEDY),
    "frequency_penalty": (0, _GREEDY),
    "presence_penalty": (0, _GREEDY),
    "logit_bias": ({}, _GREEDY),
    "n": (1, _ONE),
    "best_of": (1, _ONE),
    "echo": (False, _TEXT),
    "logprobs": (False, _TEXT),
    "top_logprobs": (0, _TEXT),
    "response_format": ({"type": "text"}, _TEXT),
}


class ApiError(Exception):
    """A request that gets an error instead of an answer, in the words of OpenAI's error object."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "invalid_value",
        param: str | None = None,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A request that a local model can answer.

    ``content`` is the prompt of a completion or the messages of a chat. ``max_tokens`` is
    ``None`` where the client leaves it to the server.
    """

    content: str | list[dict[str, str]]
    max_tokens: int | None
    stop: tuple[str, ...]

    @property
    def chat(self) -> bool:
        """Whether it is a chat."""
        return not isinstance(self.content, str)


def json_bytes(body: Any) -> bytes:
    """JSON as it goes over the wire."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")


def read_body(sent: bytes, *, chat: bool) -> dict[str, Any]:
    """The body of a request to either endpoint.

    Raises:
        ApiError: it is no JSON object, lacks what is asked, or wants the answer in pieces.
    """
    key = "messages" if chat else "prompt"
    try:
        body = json.loads(sent)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or key not in body:
        raise ApiError(400, f"the body must be a JSON object with `{key}`", "invalid_request")
    if body.get("stream") not in (None, False):
        raise ApiError(
            400,
            "`stream` is not supported here: leave it out, and the answer comes in one piece.",
            "unsupported_value",
            "stream",
        )
    return body


def read_completion_request(
    body: Mapping[str, Any], *, chat: bool, model: str
) -> CompletionRequest:
    """What a body asks of the model that is served.

    Raises:
        ApiError: 404 where another model is meant, else 400 naming the parameter.
    """
    named = body.get("model", model)
    if named != model:
        raise ApiError(
            404,
            f"There is no model {json.dumps(named)} here. This server has: {model}.",
            "model_not_found",
            "model",
        )
    for name, value in body.items():
        _allow(name, value)
    content = _messages(body["messages"]) if chat else _prompt(body["prompt"])
    return CompletionRequest(content, _budget(body), _stop(body.get("stop")))


def _allow(name: str, value: Any) -> None:
    if name in _HONOURED or value is None:
        return
    if name not in _FIXED:
        raise ApiError(
            400, f"`{name}` is not supported by this server.", "unsupported_parameter", name
        )
    wanted, why = _FIXED[name]
    # False is no temperature, and 0 no yes or no.
    if value != wanted or isinstance(value, bool) != isinstance(wanted, bool):
        raise ApiError(
            400,
            f"`{name}` can only be {json.dumps(wanted)} with this server: {why}.",
            "unsupported_value",
            name,
        )


def _prompt(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ApiError(400, "`prompt` must be one text, and not an empty one.", param="prompt")
    return _encodable(value, "prompt")


def _messages(value: Any) -> list[dict[str, str]]:
    if not isinstance(value, list) or not value:
        raise ApiError(400, "`messages` must be a list of messages.", param="messages")
    messages = []
    for number, message in enumerate(value):
        where = f"messages[{number}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _ROLES:
            choices = ", ".join(_ROLES)
            raise ApiError(400, f"`{where}.role` must be one of: {choices}.", param="messages")
        content = _encodable(_content(message.get("content"), where), where)
        messages.append({"role": role, "content": content})
    return messages


def _content(value: Any, where: str) -> str:
    """A message's text, which may come in parts."""
    parts = value if isinstance(value, list) else [{"type": "text", "text": value}]
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise ApiError(400, f"`{where}.content` must be text.", param="messages")
        texts.append(text)
    return "".join(texts)


def _encodable(text: str, where: str) -> str:
    # JSON can escape half of a surrogate pair, which no tokenizer takes.
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ApiError(
            400,
            f"`{where}` holds half of a surrogate pair, which is no text.",
            param=where.partition("[")[0],
        ) from None
    return text


def _budget(body: Mapping[str, Any]) -> int | None:
    given = {
        name: body[name]
        for name in ("max_tokens", "max_completion_tokens")
        if body.get(name) is not None
    }
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ApiError(400, f"`{name}` must be a whole number from 1.", param=name)
    if len(set(given.values())) > 1:
        raise ApiError(
            400,
            "`max_tokens` and `max_completion_tokens` differ: give one of them.",
            param="max_tokens",
        )
    return next(iter(given.values()), None)


def _stop(value: Any) -> tuple[str, ...]:
    texts = [] if value is None else [value] if isinstance(value, str) else value
    if (
        not isinstance(texts, list)
        or len(texts) > _MOST_STOPS
        or not all(isinstance(text, str) and text for text in texts)
    ):
        raise ApiError(
            400, f"`stop` must be a text or a list of at most {_MOST_STOPS} texts.", param="stop"
        )
    return tuple(texts)
