"""Reading responses in the shape of OpenAI's chat and completions endpoints.

Format: https://platform.openai.com/docs/api-reference/chat/object and
``/completions/object``. Whatever a server sent, reading it does not raise: what is missing or of
the wrong type is absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.records import Answer, Reply, Usage

# No single call uses more; a larger count is not believed (and would not fit the store).
_MOST_TOKENS = 1_000_000_000


def parse_body(text: str) -> dict[str, Any] | None:
    """A response body as a JSON object, ``None`` where it is anything else."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def is_answer(body: Mapping[str, Any]) -> bool:
    """Whether a body is a completion, as opposed to an error or something else altogether."""
    return isinstance(body.get("choices"), list)


def read_reply(answer: Answer, *, cached: bool) -> Reply:
    """An answer as read. ``cost`` is what it cost when it was paid for, cached or not."""
    body = parse_body(answer.response) or {}
    choices = body.get("choices")
    choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
    text, refusal = _text(choice)
    finish = choice.get("finish_reason")
    return Reply(
        text=_encodable(text),
        finish_reason="refusal" if refusal else finish if isinstance(finish, str) else None,
        usage=read_usage(body),
        cost=answer.cost,
        latency_s=answer.latency_s,
        cached=cached,
        served_by=_served_by(body),
    )


def read_usage(body: Mapping[str, Any]) -> Usage:
    """The token counts of a response body.

    Hidden reasoning is part of ``completion_tokens``, as OpenAI counts it. A server whose total
    shows that it counts it beside them (https://docs.x.ai/docs/guides/reasoning) is read so, too.
    """
    usage = _mapping(body.get("usage"))
    prompt, written = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    reasoning = _count(_mapping(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    total = _count(usage.get("total_tokens"))
    if reasoning and total == (prompt or 0) + (written or 0) + reasoning and written is not None:
        written += reasoning
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=written,
        cached_tokens=_count(_mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
        reasoning_tokens=reasoning,
    )


def _text(choice: Mapping[str, Any]) -> tuple[str, bool]:
    """The text of a choice of either family, and whether it is marked as a refusal."""
    message = choice.get("message")
    if not isinstance(message, Mapping):
        text = choice.get("text")
        return (text if isinstance(text, str) else ""), False
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        return refusal, True
    content = message.get("content")
    if isinstance(content, list):
        parts = [_mapping(part).get("text") for part in content]
        content = "".join(part for part in parts if isinstance(part, str))
    return (content if isinstance(content, str) else ""), False


def _served_by(body: Mapping[str, Any]) -> str | None:
    names = (body.get("model"), body.get("system_fingerprint"))
    return _encodable(" ".join(n for n in names if isinstance(n, str) and n)) or None


def _count(value: Any) -> int | None:
    plain = isinstance(value, int) and not isinstance(value, bool)
    return value if plain and 0 <= value <= _MOST_TOKENS else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _encodable(text: str) -> str:
    """JSON can escape half of a surrogate pair, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
