"""Prompts are the ones that runs send, and answers the right ones."""

from __future__ import annotations

import dataclasses
from itertools import islice

import pytest

from harness.errors import TemplateError
from harness.prompting.rendering import Renderer, render
from harness.prompting.schema import load_schema
from harness.prompting.templates import load_template
from harness.reading.reply import parse_reply
from harness.records import Annotation, Example
from harness.training.samples import make_sample
from harness.training.synthetic.sentences import sentences

black = pytest.importorskip("black")

SCHEMA = load_schema("demo")
EXAMPLE = Example(
    id="1",
    dataset="synthetic",
    language="swa",
    split="train",
    text="Msemaji wa Benki Kuu, Asha Juma, alikwenda Mombasa.",
    gold=(
        Annotation("Organization", {"span": "Benki Kuu"}),
        Annotation("Person", {"span": "Asha Juma"}),
        Annotation("Location", {"span": "Mombasa"}),
    ),
    english="A spokesperson for the Central Bank, Asha Juma, went to Mombasa.",
    english_gold=(
        Annotation("Organization", {"span": "Central Bank"}),
        Annotation("Person", {"span": "Asha Juma"}),
        Annotation("Location", {"span": "Mombasa"}),
    ),
)


def formatted(source: str) -> str:
    return black.format_str(source, mode=black.Mode())


@pytest.mark.parametrize("strategy", ["direct", "no-annotate", "transfusion"])
def test_a_sample_is_the_prompt_of_a_run_and_an_answer_that_parses_to_the_gold(
    strategy: str,
) -> None:
    renderer = Renderer(load_template("ner", strategy), SCHEMA)
    for example in [EXAMPLE, *islice(sentences(3, {"yor": 1, "zul": 1}), 50)]:
        sample = make_sample(renderer, example)
        assert sample.prompt == render(example, strategy, schema=SCHEMA).text
        read = parse_reply(sample.answer, renderer.template.answers, fields=SCHEMA.fields())
        assert read.status == "ok"
        gold = dict.fromkeys(renderer.template.answers, example.gold)
        if len(gold) > 1:
            gold["result"] = example.english_gold or ()
        for name, right in gold.items():
            found = [(a.type, a.span) for a in read.stages[name]]
            assert found == [(a.type, a.span) for a in right]


def test_prompt_and_answer_together_are_black_formatted() -> None:
    renderer = Renderer(load_template("ner", "transfusion"), SCHEMA)
    sample = make_sample(renderer, EXAMPLE)
    whole = sample.prompt + sample.answer + "\n"
    assert formatted(whole) == whole


def test_classes_that_the_schema_lacks_are_not_annotated() -> None:
    schema = dataclasses.replace(SCHEMA, classes=SCHEMA.classes[2:])
    sample = make_sample(Renderer(load_template("ner", "direct"), schema), EXAMPLE)
    assert sample.answer == ' [\n    Location(span="Mombasa"),\n]'
    nothing = dataclasses.replace(EXAMPLE, gold=EXAMPLE.gold[:2])
    assert make_sample(Renderer(load_template("ner", "direct"), schema), nothing).answer == " []"


def test_where_the_english_stands() -> None:
    sample = make_sample(Renderer(load_template("ner", "no-annotate"), SCHEMA), EXAMPLE)
    assert sample.eng_text is not None
    start, end = sample.eng_text
    assert sample.prompt[start:end] == f'"{EXAMPLE.english}"'
    # An English sentence is its own English: the second one is meant.
    english = dataclasses.replace(EXAMPLE, text=EXAMPLE.english or "")
    sample = make_sample(Renderer(load_template("ner", "no-annotate"), SCHEMA), english)
    assert sample.eng_text is not None
    assert sample.prompt[: sample.eng_text[0]].endswith("eng_text = ")


def test_a_template_that_asks_for_more_is_refused() -> None:
    renderer = Renderer(load_template("ner", "self-translate"), SCHEMA)
    with pytest.raises(TemplateError, match=r"self-translate\.j2:1: no model is trained"):
        make_sample(renderer, EXAMPLE)
