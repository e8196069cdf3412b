"""Requests and answers that the store's tests share, and a process that puts them."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

from harness.records import Answer, Request
from harness.store import Store, table_key

GUIDELINES = "class Person(Entity):\n    '''Names of people, real or made up.'''\n" * 20


def request(number: int, *, model: str = "gpt-4o", repeat: int = 0, **body: Any) -> dict[str, Any]:
    """A chat request as a table; ``body`` adds to its body or overrides it."""
    return {
        "endpoint": "openai",
        "family": "chat.completions",
        "body": {
            "model": model,
            "messages": [
                {"role": "system", "content": "You annotate text."},
                {"role": "user", "content": f"{GUIDELINES}text = 'Sentensi ya {number}: Kanò.'"},
            ],
            "temperature": 0,
            "max_tokens": 512,
        }
        | body,
        "repeat": repeat,
    }


class _TableRequest(Request):
    """A request of any table, also of one that no backend makes."""

    def table(self) -> dict[str, Any]:
        return dict(self.identity)


def as_request(table: dict[str, Any]) -> Request:
    """The request whose table this is."""
    return _TableRequest("", identity=table)


def answer(text: object, *, cost: int | None = 1_234_567) -> Answer:
    body = {"choices": [{"message": {"content": f"result = [{text}]"}, "finish_reason": "stop"}]}
    return Answer(json.dumps(body, ensure_ascii=False), 0.25, cost)


def put(store: Store, number: int, text: object = "", **kwargs: Any) -> str:
    """Store an answer to ``request(number, **kwargs)`` and return its key."""
    asked = request(number, **kwargs)
    key = table_key(asked)
    store.put(key, as_request(asked), answer(text or number))
    return key


def main(path: str, start: str, count: str) -> None:
    """Put answers number ``start`` and on (``count`` 0: forever), a line for each when it is in.

    The answer before is read back each time, as a run does that shares its store.
    """
    numbers = itertools.count(int(start))
    with Store(Path(path)) as store:
        previous = None
        for number in itertools.islice(numbers, int(count) or None):
            key = put(store, number)
            print(number, key, flush=True)
            assert previous is None or previous in store
            previous = key


if __name__ == "__main__":
    main(*sys.argv[1:])
