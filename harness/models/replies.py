"""Reads responses of OpenAI's chat and completions endpoints.

Format: https://platform.openai.com/docs/api-reference/chat/object and ``/completions/object``.
Reading never raises, whatever a server has sent: a field of the wrong type counts as missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.records import Answer, Reply, Usage

# No call uses more. A larger count is wrong, and would not fit into the store.
_MOST_TOKENS = 1_000_000_000


def parse_body(text: str) -> dict[str, Any] | None:
    """A response body as a JSON object, ``None`` if it is anything else."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def is_answer(body: Mapping[str, Any]) -> bool:
    """Whether a response body is a completion, and not an error, for example."""
    return isinstance(body.get("choices"), list)


def read_reply(answer: Answer, *, cached: bool) -> Reply:
    """Read an answer. ``cost`` is what was paid for it, also if it is cached."""
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

    ``completion_tokens`` include hidden reasoning, as OpenAI counts it. Some servers count it
    beside them (https://docs.x.ai/docs/guides/reasoning), which their total shows: then it is
    added.
    """
    usage = _mapping(body.get("usage"))
    prompt, answer = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    reasoning = _count(_mapping(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    total = _count(usage.get("total_tokens"))
    if reasoning and total == (prompt or 0) + (answer or 0) + reasoning and answer is not None:
        answer += reasoning
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=answer,
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
    """The text as UTF-8 can represent it: JSON can escape half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
