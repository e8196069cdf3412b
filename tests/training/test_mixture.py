"""What is trained on: names keep their places whatever is done to a sentence."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from harness.reading.reply import parse_reply
from harness.records import Example
from harness.training.mixture import samples
from harness.training.recipe import Noise, SampleText
from harness.training.synthetic.noise import translated_badly
from harness.training.synthetic.sentences import sentences
from harness.training.synthetic.variety import exchanged, spliced

LANGUAGES = {"eng": 0.5, "swa": 0.1, "hau": 0.1, "yor": 0.1, "zul": 0.1, "por": 0.1}
STRATEGIES = {"direct": 0.4, "no-annotate": 0.2, "transfusion": 0.4}


def text(**changes: object) -> SampleText:
    plain = {"schema": "demo", "languages": LANGUAGES, "strategies": STRATEGIES}
    return SampleText.model_validate({**plain, **changes})


def placed(example: Example) -> bool:
    """Whether every name stands where its offsets say, in both texts."""
    sides = [(example.text, example.gold), (example.english or "", example.english_gold or ())]
    return all(
        a.offsets is not None and words[slice(*a.offsets)] == a.span
        for words, gold in sides
        for a in gold
    )


def test_a_bad_translation_has_its_names_where_it_says() -> None:
    noise, rng = Noise(sentences=1.0, words=0.5, names=1.0), random.Random(1)
    changed = lost = 0
    for example in islice(sentences(1, LANGUAGES), 500):
        worse = translated_badly(example, noise, rng, ["some", "words"])
        assert placed(worse)
        assert (worse.text, worse.gold) == (example.text, example.gold)
        changed += worse.english != example.english
        lost += len(worse.english_gold or ()) < len(example.english_gold or ())
    assert changed > 400
    assert 10 < lost < 250


def test_no_noise_changes_nothing() -> None:
    for example in islice(sentences(1, LANGUAGES), 50):
        assert translated_badly(example, Noise(), random.Random(1), ["a"]) == example


def test_sentences_are_joined_between_names() -> None:
    rng, drawn = random.Random(1), list(islice(sentences(2, {"eng": 1}), 400))
    joined = [spliced(*pair, rng) for pair in zip(drawn[::2], drawn[1::2], strict=True)]
    assert all(placed(example) for example in joined)
    assert all(example.text == example.english for example in joined)
    both = [e for e, old in zip(joined, drawn[::2], strict=True) if e.text != old.text]
    assert len(both) > 100
    spans = {a.span for example in drawn for a in example.gold}
    assert all(a.span in spans for example in both for a in example.gold)


def test_exchanged_words_are_not_beside_a_name() -> None:
    rng, changed = random.Random(1), 0
    for example in islice(sentences(3, LANGUAGES), 300):
        other = exchanged(example, 1.0, rng, ["xyz"])
        assert placed(other)
        assert [a.span for a in other.gold] == [a.span for a in example.gold]
        for annotation in other.gold:
            start, end = annotation.offsets or (0, 0)
            assert not other.text[:start].endswith("xyz ")
            assert not other.text[end:].startswith(" xyz")
        changed += "xyz" in other.text
    assert changed > 150


def test_the_stream_has_the_shares_that_are_asked_for() -> None:
    drawn = list(islice(samples(text(), 1), 2_000))
    english = sum(sample.eng_text is not None for sample in drawn) / len(drawn)
    fused = sum("final_result" in sample.answer for sample in drawn) / len(drawn)
    assert english == pytest.approx(0.6, abs=0.05)
    assert fused == pytest.approx(0.4, abs=0.05)


def test_a_dropped_class_is_dropped_from_the_answer() -> None:
    seen = set()
    for sample in islice(samples(text(schema_variants=1.0), 1), 500):
        shown = tuple(
            n for n in ("Person", "Organization", "Location") if f"{n}(En" in sample.prompt
        )
        seen.add(shown)
        read = parse_reply(sample.answer)
        assert {a.type for found in read.stages.values() for a in found} <= set(shown)
    assert len(seen) == 7


def test_a_seed_decides_the_stream_and_held_out_text_is_other_text() -> None:
    varied = text(
        schema_variants=0.2,
        composed=0.3,
        spliced=0.3,
        exchanged=0.3,
        noise={"sentences": 0.5, "words": 0.3, "names": 0.3},
    )
    first = list(islice(samples(varied, 1), 200))
    assert first == list(islice(samples(varied, 1), 200))
    assert first != list(islice(samples(varied, 2), 200))
    apart = {sample.prompt for sample in islice(samples(varied, 1, held_out=True), 200)}
    assert not apart & {sample.prompt for sample in first}
