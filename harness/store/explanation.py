"""Why a request was not found in the store: the nearest stored ones, and how they differ."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harness.errors import UsageError
from harness.records import Request
from harness.store.describe import leaves, model_of, prompt_hash
from harness.store.key import canonical, identity, key_of
from harness.store.maintenance import Entry, entries_of, moment
from harness.store.store import Store, key_bytes

#: Bounds on what is looked at, so that a large store answers as fast as a small one.
_SAME_PROMPT, _SAME_MODEL, _LAST_ROWS = 50, 200, 5_000
#: Texts up to this long are shown whole, longer ones around their first difference.
_SHOWN, _CONTEXT = 60, 24

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A stored request, and each field in which it differs: ``path: stored → asked``."""

    key: str
    created: datetime
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the store has under a key; where it has nothing, what comes nearest to it.

    ``answers`` are newest first, ``neighbours`` nearest first; ``examined`` is the number of
    stored requests that were compared.
    """

    key: str
    answers: tuple[Entry, ...]
    neighbours: tuple[Neighbour, ...] = ()
    examined: int = 0

    def __str__(self) -> str:
        if self.answers:
            newest = self.answers[0]
            return (
                f"{self.key} is stored: {len(self.answers)} answer(s), the newest of "
                f"{newest.created:%Y-%m-%d %H:%M:%S} UTC by {newest.model or 'no named model'} "
                f"({newest.endpoint or 'no named endpoint'})."
            )
        if not self.neighbours:
            return f"{self.key} is not stored, and the store is empty."
        lines = [f"{self.key} is not stored. Nearest of {self.examined} compared (stored → asked):"]
        for near in self.neighbours:
            lines.append(f"  {near.key[:12]} of {near.created:%Y-%m-%d %H:%M:%S} UTC")
            lines.extend(f"    {difference}" for difference in near.differences)
        return "\n".join(lines)


def explain(store: Store, target: str | Request, *, limit: int = 1) -> Explanation:
    """What the store knows of a key, or why it has no answer to a request.

    A request that is not stored is compared with those that have the same prompt (the 50
    newest) and those of the same model (200 among the last 5,000 answers). A bare key that is
    not stored cannot be compared with anything.

    Raises:
        UsageError: a bare key that is not stored, or a text that is no key.
        StoreError: the store cannot be read.
    """
    if isinstance(target, str):
        answers = entries_of(store, key_bytes(target))
        if not answers:
            raise UsageError(
                f"No answer is stored under {target}. A key alone does not tell what was asked: "
                "explain the request itself."
            )
        return Explanation(target, tuple(answers))
    asked = identity(target.table())
    text = canonical(asked)
    key = key_of(text)
    answers = entries_of(store, bytes.fromhex(key))
    if answers:
        return Explanation(key, tuple(answers))
    # Read back, so that both sides of the comparison went through the same JSON.
    asked = json.loads(text)
    prompt = prompt_hash(asked)
    ranked: dict[bytes, tuple[tuple[bool, int], Neighbour]] = {}
    for blob, its_prompt, created, request in _candidates(store, prompt, model_of(asked)):
        if blob not in ranked:
            distance, differences = compare_requests(json.loads(zlib.decompress(request)), asked)
            near = Neighbour(blob.hex(), moment(created), differences)
            ranked[blob] = ((its_prompt != prompt, distance), near)
    nearest = sorted(ranked.values(), key=lambda pair: pair[0])[:limit]
    return Explanation(key, (), tuple(near for _, near in nearest), len(ranked))


def compare_requests(
    stored: Mapping[str, Any], asked: Mapping[str, Any]
) -> tuple[int, tuple[str, ...]]:
    """How far two requests are apart, and every field that differs, in order of its path.

    The distance counts ten for a field and one for every character that changed within it.
    """
    before, after = dict(leaves(stored)), dict(leaves(asked))
    distance, differences = 0, []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path, _MISSING), after.get(path, _MISSING)
        if type(old) is type(new) and old == new:  # 1 and True are two things here
            continue
        distance += 10
        if isinstance(old, str) and isinstance(new, str):
            start, end = _shared(old, new)
            distance += max(len(old), len(new)) - start - end
            if max(len(old), len(new)) > _SHOWN:
                differences.append(
                    f"{path}: first difference at character {start}: "
                    f"{_around(old, start)} → {_around(new, start)}"
                )
                continue
        differences.append(f"{path}: {_shown(old)} → {_shown(new)}")
    return distance, tuple(differences)


def _candidates(store: Store, prompt: int, model: str) -> list[tuple[Any, ...]]:
    columns = "SELECT key, prompt, created, request FROM answers"
    same_prompt = store.rows(
        f"{columns} WHERE prompt = ? ORDER BY id DESC LIMIT ?", [prompt, _SAME_PROMPT]
    )
    # The last rows are found by their number, in no time whatever the size of the store; other
    # models fill up what the same model leaves.
    same_model = store.rows(
        f"{columns} WHERE id IN (SELECT id FROM answers "
        "WHERE id > (SELECT max(id) FROM answers) - ? ORDER BY model <> ?, id DESC LIMIT ?)",
        [_LAST_ROWS, model, _SAME_MODEL],
    )
    return same_prompt + same_model


def _shared(one: str, other: str) -> tuple[int, int]:
    """The lengths of the common beginning and of the common end, which do not overlap."""
    start = _common(one, other)
    return start, _common(one[start:][::-1], other[start:][::-1])


def _common(one: str, other: str) -> int:
    """The length of the common beginning, by bisection: prompts are long and comparing is fast."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _around(text: str, position: int) -> str:
    part = text[max(0, position - _CONTEXT) : position + _CONTEXT]
    return (
        ("…" if position > _CONTEXT else "")
        + repr(part)
        + ("…" if position + _CONTEXT < len(text) else "")
    )


def _shown(value: object) -> str:
    if value is _MISSING:
        return "(absent)"
    # repr, not JSON: it also escapes what would do something to a terminal.
    text = repr(value)
    return text if len(text) <= 10 * _SHOWN else text[: 10 * _SHOWN] + "…"
