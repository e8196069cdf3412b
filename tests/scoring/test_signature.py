"""Signatures and the hash of what was scored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.errors import UnknownNameError
from harness.records import Annotation, Example
from harness.scoring import RULES, examples_hash, signature

ARGUMENTS = {
    "dataset": "masakhaner2",
    "language": "swa",
    "split": "test",
    "n": 200,
    "data_sha256": "d" * 64,
    "schema_sha256": "5" * 64,
    "template": "transfusion",
    "template_sha256": "7" * 64,
    "wrap": "chat",
    "backend": "openai",
}
EXAMPLE = Example(
    "test-0", "demo", "swa", "test", "Ada aliona Kano", gold=(Annotation("P", {"span": "Ada"}),)
)


def test_a_signature() -> None:
    text = signature(
        "gollie",
        **ARGUMENTS,  # type: ignore[arg-type]
        translation="nllb-200-3.3B b5",
        resamples=1000,
        seed=0,
        program="1.2.3",
    )
    assert text == (
        "rule:gollie|filter:occurrence|norm:lower+strip|data:masakhaner2/swa/test#dddddddd|n:200"
        "|schema:55555555|template:transfusion#77777777|wrap:chat|backend:openai"
        "|mt:nllb-200-3.3B_b5|bs:1000|seed:0|version:1.2.3"
    )


@pytest.mark.parametrize("rule", RULES)
def test_every_argument_shows(rule: str) -> None:
    plain = signature(rule, **ARGUMENTS)  # type: ignore[arg-type]
    for name, value in ARGUMENTS.items():
        other = f"x{value}"
        changed = signature(rule, **(ARGUMENTS | {name: other}))  # type: ignore[arg-type]
        assert changed != plain, name
    assert len({signature(r, **ARGUMENTS) for r in RULES}) == len(RULES)  # type: ignore[arg-type]
    assert "|bs:" not in plain


def test_what_is_not_the_default_is_added() -> None:
    plain = signature("gollie", **ARGUMENTS, program="1")  # type: ignore[arg-type]
    more = signature(
        "gollie",
        **ARGUMENTS,  # type: ignore[arg-type]
        format="json",
        shots="3@train/random/0#1a2b3c4d",
        repeats=5,
        vote="majority",
        program="1",
    )
    added = [part for part in more.split("|") if part not in plain.split("|")]
    assert added == [
        "shots:3@train/random/0#1a2b3c4d",
        "format:json",
        "repeats:5",
        "vote:majority",
    ]
    assert [part for part in more.split("|") if part not in added] == plain.split("|")


def test_a_signature_splits_back() -> None:
    text = signature("strict", **ARGUMENTS, translation="file:a|b c.jsonl")  # type: ignore[arg-type]
    parts = dict(part.split(":", 1) for part in text.split("|"))
    assert parts["mt"] == "file:a/b_c.jsonl"
    assert parts["version"] != "unknown"


def test_an_unknown_rule() -> None:
    with pytest.raises(UnknownNameError, match="Choices: gollie, strict, published"):
        signature("exact", **ARGUMENTS)  # type: ignore[arg-type]


def test_the_hash_covers_id_text_and_gold() -> None:
    base = examples_hash([EXAMPLE])
    gold = EXAMPLE.gold[0]
    changed = [
        [],
        [EXAMPLE, EXAMPLE],
        [replace(EXAMPLE, id="test-1")],
        [replace(EXAMPLE, text="Ada aliona Kano.")],
        [replace(EXAMPLE, gold=())],
        [replace(EXAMPLE, gold=(replace(gold, type="L"),))],
        [replace(EXAMPLE, gold=(replace(gold, offsets=(0, 3)),))],
        [replace(EXAMPLE, gold=(replace(gold, fields={"span": "Kano"}),))],
    ]
    assert base not in {examples_hash(examples) for examples in changed}
    assert len({examples_hash(examples) for examples in changed}) == len(changed)


def test_the_hash_ignores_what_is_not_scored() -> None:
    base = examples_hash([EXAMPLE])
    assert examples_hash([replace(EXAMPLE, english="Ada saw Kano", tokens=("Ada",))]) == base
    a = Annotation("B", {"arg1": "x", "arg2": "y"})
    b = Annotation("B", {"arg2": "y", "arg1": "x"})
    assert examples_hash([replace(EXAMPLE, gold=(a,))]) == examples_hash(
        [replace(EXAMPLE, gold=(b,))]
    )
    assert len(examples_hash([replace(EXAMPLE, text="\ud800")])) == 64


def test_the_hash_is_the_same_on_every_machine() -> None:
    """The SHA-256 of ``[["test-0","Ada aliona Kano",[["P",[["span","Ada"]],null]]]]``."""
    assert examples_hash([EXAMPLE])[:16] == "3db7a275390889d7"
