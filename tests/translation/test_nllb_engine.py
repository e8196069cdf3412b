"""NLLB on CTranslate2: what transformers gives, whatever the batches; and its format held to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from harness.errors import CheckpointError
from harness.local.checkpoints import find_checkpoint
from harness.translation.nllb_engine import EngineTranslation, NllbEngine
from harness.translation.settings import NllbEntry

SENTENCES = [
    "Wole Soyinka alizaliwa Abeokuta.",
    "Kano",
    "Mto Nile na Ziwa Victoria, Wole Soyinka alizaliwa Abeokuta, Nigeria, mwaka huo huo.",
    "Ndiyo, asante sana: Soyinka (12) ni “mwandishi”.",
    "Watu wa Lagos </s> na <unk> eng_Latn.",
    "x",
]


def entry(folder: Path, **keys: Any) -> NllbEntry:
    return NllbEntry(model=str(folder), max_length=24, **{"device": "cpu", **keys})


def translate(folder: Path, sentences: Sequence[str], **keys: Any) -> list[EngineTranslation]:
    engine = NllbEngine(
        find_checkpoint(str(folder)), entry(folder, **keys), "float32", ["swh_Latn"]
    )
    found = dict(engine.translate([("swh_Latn", text) for text in sentences]))
    return [found[index] for index in range(len(sentences))]


def published(folder: Path, sentences: Sequence[str], *, beam: int) -> list[str]:
    """The published loop: batches of 4 in file order, padded, cut and decoded by transformers."""
    import torch
    from transformers import AutoTokenizer, M2M100ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(folder, src_lang="swh_Latn")
    model = M2M100ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    made: list[str] = []
    for start in range(0, len(sentences), 4):
        batch = tokenizer(
            list(sentences[start : start + 4]),
            return_tensors="pt", padding=True, truncation=True, max_length=24,
        )  # fmt: skip
        english = model.generate(
            **batch,
            forced_bos_token_id=tokenizer.convert_tokens_to_ids("eng_Latn"),
            num_beams=beam, max_length=24, do_sample=False,
        )  # fmt: skip
        made += tokenizer.batch_decode(english, skip_special_tokens=True)
    return [text.strip() for text in made]


@pytest.mark.parametrize("beam", [1, 5])
def test_float32_gives_what_transformers_gives(nllb: Path, beam: int) -> None:
    plain = [text for text in SENTENCES if "</s>" not in text]
    made = [translation.text for translation in translate(nllb, plain, beam=beam)]
    assert made == published(nllb, plain, beam=beam)
    assert len(set(made)) > 3


def test_sentences_that_end_are_told_from_those_that_were_cut(ending: Path) -> None:
    plain = [text for text in SENTENCES if "</s>" not in text]
    more = [*plain, "Lagos na Kano", "Ziwa", "Nigeria (x)", "Victoria, Nile", "asante sana"]
    made = translate(ending, more, beam=1)
    assert [m.text for m in made] == published(ending, more, beam=1)
    ended = [m for m in made if m.target_tokens < 23]
    assert 0 < len(ended) < len(made)
    assert not any(m.truncated for m in ended if m.source_tokens < 24)
    assert all(m.truncated for m in made if m.target_tokens == 23)


@pytest.mark.parametrize("batch_tokens", [1, 30, 4096])
def test_order_and_result_do_not_depend_on_the_batches(nllb: Path, batch_tokens: int) -> None:
    made = translate(nllb, SENTENCES * 3, batch_tokens=batch_tokens)
    alone = [translate(nllb, [text])[0] for text in SENTENCES]
    assert [m.text for m in made] == [a.text for a in alone] * 3


def test_what_met_the_length_limit_is_told(nllb: Path) -> None:
    short, long = translate(nllb, ["Kano", "Kano " * 40])
    # The random model never ends: both translations met the limit, one source did.
    assert short.truncated
    assert short.source_tokens < 24
    assert short.target_tokens == 23
    assert long.truncated
    assert long.source_tokens == 24


def test_special_tokens_in_a_corpus_are_text(nllb: Path) -> None:
    told, cut = translate(nllb, ["Kano </s> Lagos", "Kano"])
    assert told.source_tokens > cut.source_tokens + 1
    assert told.text != cut.text


def test_a_code_that_the_model_does_not_know_names_the_nearest(nllb: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'swh_latn'\. Did you mean 'swh_Latn'\?"):
        NllbEngine(find_checkpoint(str(nllb)), entry(nllb), "float32", ["swh_latn"])


def test_a_type_that_the_machine_does_not_have(nllb: Path) -> None:
    with pytest.raises(CheckpointError, match="float32"):
        NllbEngine(find_checkpoint(str(nllb)), entry(nllb), "int7", ["swh_Latn"])


def edited(nllb: Path, folder: Path, change: Any) -> Path:
    """A copy of the model with another tokenizer.json."""
    shutil.copytree(nllb, folder)
    file = folder / "tokenizer.json"
    document = json.loads(file.read_text("utf-8"))
    change(document)
    file.write_text(json.dumps(document), "utf-8")
    return folder


def test_a_tokenizer_without_language_codes_is_refused(nllb: Path, tmp_path: Path) -> None:
    def lose_codes(document: dict[str, Any]) -> None:
        document["added_tokens"] = document["added_tokens"][:4]
        document["post_processor"] = None

    folder = edited(nllb, tmp_path / "lost", lose_codes)
    with pytest.raises(CheckpointError, match="no language codes"):
        translate(folder, ["Kano"])


def test_codes_shifted_by_one_are_refused(nllb: Path, tmp_path: Path) -> None:
    def mask_first(document: dict[str, Any]) -> None:
        added = document["added_tokens"]
        first = added[4]["id"]
        added.insert(4, added.pop())
        for place, token in enumerate(added[4:], first):
            token["id"] = place
        document["post_processor"] = None

    folder = edited(nllb, tmp_path / "shifted", mask_first)
    # The converted form keeps the published order: tokenizer and weights differ.
    with pytest.raises(CheckpointError, match="ace_Arab is token"):
        translate(folder, ["Kano"])
    # Converted with that tokenizer both are wrong in the same way.
    rows = json.loads((folder / "ctranslate2/shared_vocabulary.json").read_text("utf-8"))
    first = rows.index("ace_Arab")
    rows.insert(first, rows.pop())
    (folder / "ctranslate2/shared_vocabulary.json").write_text(json.dumps(rows), "utf-8")
    with pytest.raises(CheckpointError, match="<mask> takes the place of the first code"):
        translate(folder, ["Kano"])
