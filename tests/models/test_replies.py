from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.models.replies import is_answer, parse_body, read_reply, read_usage
from harness.records import Answer, Reply, Usage
from tests.helpers.loopback_server import completion


def _read(body: Any, cost: int | None = None) -> Reply:
    return read_reply(Answer(json.dumps(body), 1.5, cost), cached=True)


def test_a_chat_completion() -> None:
    body = completion(
        " [Person()]",
        model="gpt-4o-2024-08-06",
        system_fingerprint="fp_1",
        usage={
            "prompt_tokens": 700,
            "completion_tokens": 30,
            "prompt_tokens_details": {"cached_tokens": 512},
            "completion_tokens_details": {"reasoning_tokens": 12},
        },
    )
    assert _read(body, cost=7) == Reply(
        " [Person()]", "stop", Usage(700, 30, 512, 12), 7, 1.5, True, "gpt-4o-2024-08-06 fp_1"
    )


def test_a_completion_of_the_older_family() -> None:
    reply = _read({"choices": [{"text": " []", "finish_reason": "length"}], "model": "vicuna"})
    assert (reply.text, reply.finish_reason, reply.served_by) == (" []", "length", "vicuna")


def test_a_refusal_is_marked() -> None:
    body = completion(None)
    body["choices"][0]["message"]["refusal"] = "I can't help with that."  # type: ignore[index]
    reply = _read(body)
    assert (reply.text, reply.finish_reason) == ("I can't help with that.", "refusal")


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, None, {"text": 3}, {"text": "b"}]
    body = completion()
    body["choices"][0]["message"]["content"] = parts  # type: ignore[index]
    assert _read(body).text == "ab"


@pytest.mark.parametrize(
    "response",
    [
        "",
        "null",
        "[]",
        "{}",
        "not json",
        "[" * 100_000,
        '{"choices": null}',
        '{"choices": []}',
        '{"choices": [null]}',
        '{"choices": {"0": 1}}',
        '{"choices": [{"message": {"content": null}}]}',
        '{"choices": [{"message": "hi"}], "usage": [], "model": 7}',
        '{"choices": [{"text": 5, "finish_reason": {}}], "usage": {"prompt_tokens": "9"}}',
        '{"usage": {"prompt_tokens": true, "completion_tokens": -1}}',
        '{"usage": {"prompt_tokens": 99999999999999999999, "completion_tokens": 1.5}}',
        '{"usage": {"prompt_tokens_details": 1, "completion_tokens_details": null}}',
    ],
)
def test_odd_bodies_read_as_nothing(response: str) -> None:
    reply = read_reply(Answer(response, 0.0, None), cached=False)
    assert (reply.text, reply.finish_reason, reply.usage) == ("", None, Usage())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
_LIKE = st.fixed_dictionaries(
    {},
    optional={
        "choices": _JSON
        | st.lists(
            st.fixed_dictionaries(
                {
                    "message": st.fixed_dictionaries(
                        {}, optional={"content": _JSON, "refusal": _JSON}
                    )
                }
            )
        ),
        "usage": _JSON
        | st.fixed_dictionaries({"prompt_tokens": _JSON, "prompt_tokens_details": _JSON}),
        "model": _JSON,
        "system_fingerprint": _JSON,
    },
)


@given(_LIKE | _JSON)
def test_nothing_a_server_sends_makes_reading_raise(body: Any) -> None:
    reply = _read(body)
    reply.text.encode()
    assert reply.finish_reason is None or isinstance(reply.finish_reason, str)


@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")))
def test_nor_anything_else(response: str) -> None:
    assert isinstance(read_reply(Answer(response, 0.0, None), cached=False).text, str)


def test_half_a_surrogate_pair_cannot_reach_a_file() -> None:
    response = (
        '{"choices": [{"message": {"content": "a\\ud83db \\ud83d\\ude00"}}], "model": "\\udc00"}'
    )
    reply = read_reply(Answer(response, 0.0, None), cached=False)
    assert reply.text == "a\ufffdb 😀"
    assert reply.served_by == "\ufffd"


def test_what_counts_as_an_answer() -> None:
    assert is_answer(completion(None))
    assert is_answer({"choices": []})
    assert not is_answer({"error": {"message": "overloaded"}})
    assert not is_answer({"choices": None})
    assert parse_body("[1]") is None
    assert read_usage(completion()) == Usage(1000, 10)


@pytest.mark.parametrize(("total", "completion_tokens"), [(160, 50), (200, 90), (None, 50)])
def test_hidden_reasoning_is_part_of_what_was_written(
    total: int | None, completion_tokens: int
) -> None:
    """OpenAI counts it inside, others beside; the total tells."""
    usage = {
        "prompt_tokens": 110,
        "completion_tokens": 50,
        "total_tokens": total,
        "completion_tokens_details": {"reasoning_tokens": 40},
    }
    assert read_usage({"usage": usage}) == Usage(110, completion_tokens, None, 40)
