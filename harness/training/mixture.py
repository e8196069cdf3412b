"""The stream of samples that a recipe describes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count

from harness.prompting.rendering import Renderer
from harness.prompting.schema import Schema, load_schema
from harness.prompting.templates import load_template
from harness.records import Example
from harness.training.recipe import SampleText
from harness.training.samples import Sample, make_sample
from harness.training.synthetic.clauses import clauses
from harness.training.synthetic.noise import translated_badly
from harness.training.synthetic.sentences import sentences
from harness.training.synthetic.variety import exchanged, spliced

# The number of words of earlier sentences, by language, from which a wrong word is drawn.
_WORDS = 2_000
# The largest share of words that are exchanged in a sentence.
_EXCHANGED = 0.5


def samples(text: SampleText, seed: int, *, held_out: bool = False) -> Iterator[Sample]:
    """An endless stream of samples, the same for the same seed.

    With ``held_out`` the sentences are of patterns and names that training never draws, and they
    are not varied.
    """
    rng = random.Random(f"samples {seed} {held_out}")
    schema = load_schema(text.schema_)
    templates = {name: load_template("ner", name) for name in text.strategies}
    renderers: dict[tuple[str, str], Renderer] = {}
    words: dict[str, list[str]] = {}
    stream = sentences(seed, text.languages, held_out=True) if held_out else None
    for example in stream or _varied(text, seed, rng, words):
        strategy = _drawn(text.strategies, rng)
        shown = _variant(schema, rng) if rng.random() < text.schema_variants else schema
        renderer = renderers.get((strategy, shown.source))
        if renderer is None:
            renderer = Renderer(templates[strategy], shown)
            renderers[strategy, shown.source] = renderer
        # Before the first English sentence there is no English word yet.
        known = words.get("eng") or ["the"]
        yield make_sample(renderer, translated_badly(example, text.noise, rng, known))


def _varied(
    text: SampleText, seed: int, rng: random.Random, words: dict[str, list[str]]
) -> Iterator[Example]:
    """The sentences that are trained on; their words are added to ``words``, by language."""
    patterns, composed = sentences(seed, text.languages), clauses(seed, text.languages)
    last: Example | None = None
    for number in count():
        plain = number < text.plain
        example = next(composed if not plain and rng.random() < text.composed else patterns)
        known = words.setdefault(example.language, ["a"])
        known += [w for w in example.text.split() if w.isalpha() and w.islower()]
        del known[:-_WORDS]
        if example.language == "eng":
            other, last = last, example
            if other is not None and not plain and rng.random() < text.spliced:
                example = spliced(example, other, rng)
        if not plain and rng.random() < text.exchanged:
            example = exchanged(example, rng.random() * _EXCHANGED, rng, known)
        yield example


def _variant(schema: Schema, rng: random.Random) -> Schema:
    """The schema with a random choice of its classes, in random order."""
    chosen = rng.sample(range(len(schema.classes)), rng.randint(1, len(schema.classes)))
    sources = schema.source.split("\n\n\n")
    return replace(
        schema,
        source="\n\n\n".join(sources[i] for i in chosen),
        classes=tuple(schema.classes[i] for i in chosen),
    )


def _drawn(shares: Mapping[str, float], rng: random.Random) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]
