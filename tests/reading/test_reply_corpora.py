"""The names of real corpora, quoted in every way that models quote them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.reading.reply import parse_reply
from harness.records import Status

FIELDS = {"PER": ("span",), "LOC": ("span",), "ORG": ("span",), "DATE": ("span",)}


def names(folder: Path) -> Iterator[tuple[str, str]]:
    """Label and surface of every entity, by a reader of the tests' own."""
    for path in sorted(folder.glob("*/test.txt")):
        label, tokens = "", []
        for line in path.read_text("utf-8").split("\n"):
            token, _, tag = line.partition("\t") if "\t" in line else line.partition(" ")
            if tag.startswith("I-") and label == tag[2:]:
                tokens.append(token)
                continue
            if label:
                yield label, " ".join(tokens)
            label, tokens = (tag[2:], [token]) if tag.startswith("B-") else ("", [])


QUOTINGS: dict[str, Callable[[str], str]] = {
    "as Python does": repr,
    "double": lambda span: f'"{span}"',
    "single": lambda span: f"'{span}'",
    "typographic": lambda span: f"“{span}”",
    "German": lambda span: f"„{span}“",
    "French": lambda span: f"«{span}»",
}


@pytest.mark.parametrize("quoting", QUOTINGS)
@pytest.mark.parametrize("separator", [", ", ",\n    "], ids=["one line", "one a line"])
def test_every_name_is_read(corpora: Path, quoting: str, separator: str) -> None:
    entities = list(names(corpora / "masakhaner2"))
    assert len(entities) > 10_000
    awkward = [entity for entity in entities if not entity[1].replace(" ", "").isalnum()]
    chosen = awkward + entities[::20]
    assert any("'" in span for _, span in chosen)
    for start in range(0, len(chosen), 5):
        batch = chosen[start : start + 5]
        items = (f"{label}(span={QUOTINGS[quoting](span)})" for label, span in batch)
        prediction = parse_reply(f" [{separator.join(items)}]", ("result",), fields=FIELDS)
        assert [(a.type, a.span) for a in prediction.stages["result"]] == batch
        if quoting == "as Python does":
            assert prediction.status is Status.OK
