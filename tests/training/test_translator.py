"""The trainer of the tiny translator: its pairs, its tokenizer, and a whole small training."""

from __future__ import annotations

import json
import random
import re
from itertools import islice
from pathlib import Path

import pytest

from harness.records import Annotation, Example
from harness.training.batch_stream import BatchStream
from harness.training.pair_batches import PairEncoder
from harness.training.pairs import pairs, with_unknown
from harness.training.recipe import TranslatorRecipe, load_recipe
from harness.training.synthetic.clauses import clauses
from harness.training.synthetic.sentences import sentences
from harness.training.synthetic.unseen import unseen
from harness.training.translator_tokenizer import CODES, PAD, train_translator_tokenizer
from harness.translation.codes import check_codes

LANGUAGES = {"eng": 0.1, "swa": 0.3, "yor": 0.3, "zul": 0.3}
RECIPE = """
kind = "translator"
[model]
d_model = 16
ffn_dim = 32
encoder_layers = 1
decoder_layers = 1
attention_heads = 2
dropout = 0.1
[tokenizer]
vocabulary = 700
sentences = 200
[text]
languages = {swa = 1.0, zul = 1.0}
composed = 0.5
names = 0.2
unknown_sentences = 0.5
unknown_words = 0.5
spelled = 0.1
[training]
tokens = 40_000
batch_tokens = 1_000
optimizer = "muon"
learning_rate = 1e-2
check_every = 1_000
"""


@pytest.fixture(scope="module")
def tokenizer():
    texts = [e.text for e in islice(sentences(0, LANGUAGES), 300)]
    return train_translator_tokenizer(texts, vocabulary=900)


@pytest.fixture
def recipe(tmp_path: Path) -> TranslatorRecipe:
    file = tmp_path / "small.toml"
    file.write_text(RECIPE, "utf-8")
    loaded = load_recipe(file)
    assert isinstance(loaded, TranslatorRecipe)
    return loaded


def test_special_tokens_stand_where_nllb_has_them(tokenizer):
    rows = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    assert rows[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert rows[-7:] == [*sorted(CODES.values()), "<mask>"]
    check_codes("tiny", list(CODES.values()), rows=rows, id_of=tokenizer.token_to_id)


def test_a_text_alone_is_a_source(tokenizer):
    tokens = tokenizer.encode("Watu").tokens
    assert tokens == ["eng_Latn", "Wa", "tu", "</s>"]


@pytest.mark.parametrize(
    "text",
    [
        "Yétúndé Adéoyè ṣí ilé oúnjẹ ní Ìlá-Ọ̀ràngún.",
        "UBusisiwe Nzama udayisa izithelo KwaDukuza.",
        "“Nairobi” – 漢字, 😀\tend",
    ],
)
def test_every_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.token_to_id("<unk>") not in ids


def test_names_are_pairs_of_letters_from_their_capital_on(tokenizer):
    tokens = tokenizer.encode("eLilongwe", add_special_tokens=False).tokens
    assert tokens[0] == "e"
    assert "".join(tokens) == "eLilongwe"
    assert max(map(len, tokens)) == 2


@pytest.fixture
def text(recipe: TranslatorRecipe):
    return recipe.text


def test_pairs_are_the_same_for_the_same_seed(text):
    first, again = (list(islice(pairs(text, 3), 50)) for _ in range(2))
    assert first == again
    assert first != list(islice(pairs(text, 4), 50))


def test_names_alone_are_pairs_too(text):
    drawn = list(islice(pairs(text, 3), 400))
    alone = [p for p in drawn if len(p.english.split()) < 4 and not p.english.endswith(".")]
    assert len(alone) > 20


def test_held_out_pairs_are_sentences_as_they_are(text):
    stream = sentences(3, text.languages, held_out=True)
    for pair, example in zip(pairs(text, 3, held_out=True), islice(stream, 50), strict=False):
        assert (pair.text, pair.english) == (example.text, example.english)


def test_clauses_are_whole_and_marked_where_their_names_are():
    mix = {"eng": 1, "swa": 1, "hau": 1, "yor": 1, "zul": 1, "por": 1}
    found = list(islice(clauses(0, mix), 600))
    assert {example.language for example in found} == set(mix)
    for example in found:
        assert example.english is not None
        for text, gold in (
            (example.text, example.gold),
            (example.english, example.english_gold or ()),
        ):
            assert not set("@{}|") & set(text)
            assert "  " not in text
            assert [text[slice(*a.offsets)] for a in gold if a.offsets] == [a.span for a in gold]
            assert not unseen().meets(text, (a.span for a in gold))


def test_verbs_agree_with_their_subjects():
    many = {
        "eng": r"(?:The (?:women|children|parents|traders)|Many people) (\w+)",
        "swa": r"(?:Wanawake|Watoto|Wazazi|Wafanyabiashara|Watu wengi) (\w+)",
        "hau": r"(?:Mata|Yara|Iyaye|Mutane da yawa) (\w+)",
        "zul": r"(?:Abesifazane|Abantwana|Abazali|Abathengisi|Abantu abaningi) (\w+)",
    }
    verbs = {code: set() for code in many}
    for example in islice(clauses(1, dict.fromkeys(many, 1.0)), 3_000):
        if found := re.match(many[example.language], example.text):
            verbs[example.language].add(found.group(1))
    assert {"are", "have", "love", "need", "sell"} & verbs["eng"]
    assert not {"has", "is", "needs", "sells", "loves"} & verbs["eng"]
    assert all(verb.startswith("wa") for verb in verbs["swa"])
    assert verbs["hau"] == {"sun", "suna", "za"}
    assert all(verb.startswith("b") for verb in verbs["zul"])


def test_unknown_words_leave_names_and_capitals_alone():
    sentence = "Mvua ilifunga barabara ya mji wa upepo mkali."
    start = sentence.index("upepo mkali")
    name = Annotation("Location", {"span": "upepo mkali"}, (start, start + len("upepo mkali")))
    example = Example("1", "synthetic", "swa", "train", sentence, gold=(name,), english="")
    changed = with_unknown(example, 1.0, random.Random(0))
    assert changed.startswith("Mvua ")
    assert changed.endswith(" upepo mkali.")
    assert "ilifunga" not in changed
    assert [len(word) for word in changed.split()] == [len(word) for word in sentence.split()]


def test_batches_hold_whole_pairs_within_the_limit(tokenizer, text):
    stream = pairs(text, 0)
    batches = BatchStream(
        stream, PairEncoder(tokenizer), tokens=900, longest=lambda: 90, seed=0, pool=4_096
    )
    end, english = (tokenizer.token_to_id(token) for token in ("</s>", "eng_Latn"))
    codes = {tokenizer.token_to_id(CODES[code]) for code in text.languages}
    for batch in islice(batches, 30):
        assert batch.source.size + batch.target.size <= 900
        assert batch.size == (batch.source != PAD).sum() + (batch.target != PAD).sum()
        assert set(batch.source[:, 0]) <= codes
        assert (batch.target[:, :2] == [end, english]).all()
        for row in (*batch.source, *batch.target[:, 1:]):
            kept = row[row != PAD]
            assert kept[-1] == end
            assert list(kept).count(end) == 1


@pytest.mark.slow
def test_a_training_from_a_recipe(recipe: TranslatorRecipe, tmp_path: Path):
    """The same weights from the same seed, saved so that both engines translate alike."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    from harness.training.translator import TranslatorTrainer

    reports, weights = [], []
    for _ in range(2):
        trainer = TranslatorTrainer(recipe, 5)
        before = trainer.evaluate().loss
        trainer.run(report=reports.append)
        weights.append(trainer.model.state_dict())
    assert reports[-1].tokens >= recipe.training.tokens
    assert reports[-1].held_out.loss < before - 0.5
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])

    folder = tmp_path / "tiny"
    trainer.save(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["M2M100ForConditionalGeneration"]
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert [tokenizer.convert_tokens_to_ids(code) for code in CODES.values()] == [
        trainer.tokenizer.token_to_id(code) for code in CODES.values()
    ]
    sources = ["Mvua kubwa huko Lilongwe.", "Watu wa Iringa"]
    rows = [["swh_Latn", *tokenizer.tokenize(source), "</s>"] for source in sources]
    assert _by_ctranslate2(folder, rows) == _by_transformers(model, tokenizer, rows)


def _by_ctranslate2(folder: Path, rows: list[list[str]]) -> list[list[str]]:
    import ctranslate2

    translator = ctranslate2.Translator(str(folder / "ctranslate2"), compute_type="float32")
    results = translator.translate_batch(
        rows, target_prefix=[["eng_Latn"]] * len(rows), beam_size=1, max_decoding_length=20
    )
    return [result.hypotheses[0] for result in results]


def _by_transformers(model, tokenizer, rows: list[list[str]]) -> list[list[str]]:
    import torch

    hypotheses = []
    for row in rows:
        ids = torch.tensor([tokenizer.convert_tokens_to_ids(row)])
        given = model.generate(input_ids=ids, num_beams=1, max_length=21)[0].tolist()
        tokens = tokenizer.convert_ids_to_tokens(given[1:])
        hypotheses.append(tokens[: tokens.index("</s>")] if "</s>" in tokens else tokens)
    return hypotheses
