"""The annotator's tokenizer: names in pairs of letters, fixed parts whole, nothing lost."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.prompting.rendering import Renderer
from harness.prompting.schema import load_schema
from harness.prompting.templates import load_template
from harness.training.causal_tokenizer import scaffold_of, shared_words, train_tokenizer
from harness.training.samples import make_sample
from harness.training.synthetic.sentences import sentences

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SCHEMA = load_schema("demo")
STRATEGIES = ("direct", "no-annotate", "transfusion")
LANGUAGES = {"eng": 1.0, "swa": 1.0, "hau": 1.0, "yor": 1.0, "zul": 1.0, "por": 1.0}


@lru_cache
def tokenizer() -> Tokenizer:
    templates = [load_template("ner", name) for name in STRATEGIES]
    return train_tokenizer(
        (example.text for example in islice(sentences(1, LANGUAGES), 2_000)),
        scaffold_of(SCHEMA, templates),
        vocabulary=1_200,
    )


def pieces(text: str) -> list[str]:
    return tokenizer().encode(text, add_special_tokens=False).tokens


@given(st.text(max_size=80))
def test_every_text_comes_back(text: str) -> None:
    ids = tokenizer().encode(text, add_special_tokens=False).ids
    # Carriage returns, rare letters, emoji: what the alphabet lacks is kept as bytes.
    assert tokenizer().decode(ids) == text


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Nairobi", ["Na", "ir", "ob", "i"]),
        ("McKay", ["Mc", "Ka", "y"]),
        ("eThekwini", ["e", "Th", "ek", "wi", "ni"]),
        ("Kano's", ["Ka", "no", "'", "s"]),
        ("ANC", ["AN", "C"]),
    ],
)
def test_a_name_is_no_longer_pieces_than_pairs_and_a_word_after_it_stays_whole(
    name: str, parts: list[str]
) -> None:
    found = pieces(f"{name} the")
    assert found.pop() == " the"
    # A pair that the text for the vocabulary lacks comes as its letters.
    assert "".join(found) == name
    assert all(len(piece) <= 2 for piece in found)
    ends = {sum(map(len, found[:i])) for i in range(len(found) + 1)}
    assert {sum(map(len, parts[:i])) for i in range(len(parts) + 1)} <= ends


def test_shared_words_are_one_token_only_as_whole_words() -> None:
    examples = list(islice(sentences(1, LANGUAGES), 3_000))
    words = shared_words(examples, 40)
    assert {"The", "Bank", "University"} <= set(words)
    # Names of persons and whole names are none, however often they come.
    own = {example_name for e in examples for a in e.gold if " " not in (example_name := a.span)}
    assert len(own & set(words)) <= 4
    trained = train_tokenizer([e.text for e in examples[:200]], [], words, vocabulary=500)
    assert "The" in trained.encode("The end").tokens
    assert "The" not in trained.encode("Theo ends").tokens
    assert trained.decode(trained.encode("Theo, The end").ids) == "Theo, The end"


def test_frequent_words_are_one_piece() -> None:
    assert pieces("A of the in 2019") == ["A", " of", " the", " in", " ", *"2019"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_fixed_parts_are_single_tokens(strategy: str) -> None:
    renderer = Renderer(load_template("ner", strategy), SCHEMA)
    for example in islice(sentences(2, LANGUAGES), 100):
        sample = make_sample(renderer, example)
        for text in (sample.prompt, sample.answer):
            assert tokenizer().decode(tokenizer().encode(text).ids) == text
        if any(sign in example.text for sign in "\"'\\"):
            continue  # its literal is not the text between two quotes
        texts = [example.text] + [example.english or ""] * renderer.template.uses_english
        # An introduction, three classes and the gaps between them, the end; before each text a
        # part and a quote, after it a quote.
        scaffold = len(pieces(sample.prompt)) - sum(len(pieces(text)) for text in texts)
        assert scaffold <= 7 + 3 * len(texts)


def test_the_same_text_gives_the_same_tokenizer() -> None:
    first = tokenizer().to_str()
    tokenizer.cache_clear()
    assert tokenizer().to_str() == first
