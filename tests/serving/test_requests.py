"""What a served model may be asked: what is read, and what is refused and how."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.serving.requests import ApiError, CompletionRequest, read_body, read_completion_request

HELLO = [{"role": "user", "content": "hello"}]


def _refused(chat: bool, **body: Any) -> tuple[int, dict[str, Any]]:
    with pytest.raises(ApiError) as caught:
        read_completion_request(
            read_body(json.dumps(body).encode(), chat=chat), chat=chat, model="m"
        )
    return caught.value.status, caught.value.body["error"]


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"prompt": "a"}, CompletionRequest("a", None, ())),
        ({"prompt": "a", "model": "m", "max_tokens": 3}, CompletionRequest("a", 3, ())),
        ({"prompt": "a", "stop": "b"}, CompletionRequest("a", None, ("b",))),
        ({"prompt": "a", "stop": ["b", "c"]}, CompletionRequest("a", None, ("b", "c"))),
        ({"messages": HELLO, "max_completion_tokens": 3}, CompletionRequest(HELLO, 3, ())),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]},
            CompletionRequest(HELLO, None, ()),
        ),
        (
            # What the SDK and others send along, at values that a greedy server honours.
            {
                "prompt": "a",
                "temperature": 0.0,
                "top_p": 1,
                "n": 1,
                "best_of": None,
                "echo": False,
                "logprobs": None,
                "frequency_penalty": 0,
                "presence_penalty": 0.0,
                "logit_bias": {},
                "seed": 7,
                "user": "me",
                "stream": False,
                "suffix": None,
            },
            CompletionRequest("a", None, ()),
        ),
    ],
)
def test_what_is_read(body: dict[str, Any], asked: CompletionRequest) -> None:
    chat = "messages" in body
    read = read_completion_request(
        read_body(json.dumps(body).encode(), chat=chat), chat=chat, model="m"
    )
    assert read == asked
    assert read.chat == chat


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("temperature", 0.7, "can only be 0 with this server: it decodes greedily"),
        ("temperature", False, "can only be 0"),
        ("top_p", 0.9, "can only be 1"),
        ("frequency_penalty", 1, "greedily"),
        ("presence_penalty", -1, "greedily"),
        ("logit_bias", {"50256": -100}, "greedily"),
        ("n", 2, "one answer"),
        ("best_of", 3, "one answer"),
        ("echo", True, "text and nothing else"),
        ("logprobs", True, "text and nothing else"),
        ("response_format", {"type": "json_object"}, "text and nothing else"),
        ("stream", True, "leave it out, and the answer comes in one piece"),
        ("top_k", 1, "`top_k` is not supported"),
        ("reasoning_effort", "low", "`reasoning_effort` is not supported"),
        ("max_tokens", 0, "a whole number from 1"),
        ("max_tokens", 1.5, "a whole number from 1"),
        ("max_tokens", True, "a whole number from 1"),
        ("max_completion_tokens", "8", "a whole number from 1"),
        ("stop", 3, "at most 4 texts"),
        ("stop", "", "at most 4 texts"),
        ("stop", ["a", "b", "c", "d", "e"], "at most 4 texts"),
    ],
)
def test_a_parameter_that_cannot_be_honoured_is_a_400_that_names_it(
    name: str, value: Any, said: str
) -> None:
    for chat, asked in ((False, {"prompt": "a"}), (True, {"messages": HELLO})):
        status, error = _refused(chat, **asked, **{name: value})
        assert (status, error["param"], error["type"]) == (400, name, "invalid_request_error")
        assert f"`{name}`" in error["message"]
        assert said in error["message"]


def test_two_budgets_that_differ_are_refused() -> None:
    status, error = _refused(True, messages=HELLO, max_tokens=3, max_completion_tokens=4)
    assert (status, error["param"]) == (400, "max_tokens")


@pytest.mark.parametrize("prompt", ["", ["a", "b"], [1, 2], None, "\ud800"])
def test_a_prompt_is_one_text(prompt: Any) -> None:
    status, error = _refused(False, prompt=prompt)
    assert (status, error["param"]) == (400, "prompt")


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "hello",
        ["hello"],
        [{"role": "tool", "content": "a"}],
        [{"content": "a"}],
        [{"role": "user"}],
        [{"role": "user", "content": 1}],
        [{"role": "user", "content": ["a"]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]}],
        [{"role": "user", "content": "\ud800"}],
        [*HELLO, {"role": "assistant", "content": None}],
    ],
)
def test_messages_are_texts_of_known_roles(messages: Any) -> None:
    status, error = _refused(True, messages=messages)
    assert (status, error["param"], error["type"]) == (400, "messages", "invalid_request_error")
    assert "`messages" in error["message"]


@pytest.mark.parametrize("model", ["gpt-4o", "", 7])
def test_another_model_is_a_404_that_names_both(model: Any) -> None:
    status, error = _refused(False, prompt="a", model=model)
    assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert json.dumps(model) in error["message"]
    assert error["message"].endswith("This server has: m.")
