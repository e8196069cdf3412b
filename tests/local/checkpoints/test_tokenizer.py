from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import CheckpointError
from harness.local.checkpoints import find_checkpoint, load_tokenizer, raw_tokenizer
from tests.helpers import tiny_models

_TEXTS = (
    tiny_models.prompt("Wole Soyinka alizaliwa Abeokuta, Nigeria."),
    "",
    " leading and trailing ",
    "\n\n",
    "é 中 🦔 \u200b ọ̀",
    "<s>[INST] </s> <unk> </s>",
    "result =",
)


def _flags(folder: Path, **changed: Any) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


@pytest.mark.parametrize("bos", [True, False, None])
@pytest.mark.parametrize("eos", [True, False, None])
def test_one_bos_no_eos_whatever_the_flags_say(
    llama: Path, bos: bool | None, eos: bool | None
) -> None:
    _flags(llama, add_bos_token=bos, add_eos_token=eos)
    tokenizer = load_tokenizer(find_checkpoint(str(llama)))
    assert (tokenizer.bos, tokenizer.ends) == (1, {2})
    for text in _TEXTS:
        ids = tokenizer.encode(text)
        assert ids[0] == 1
        assert 1 not in ids[1:]
        assert 2 not in ids
        assert tokenizer.decode(ids) == text


def test_a_folder_with_sentencepiece_only_makes_the_same_tokens(
    llama: Path, own_cache: Path
) -> None:
    expected = [load_tokenizer(find_checkpoint(str(llama))).encode(text) for text in _TEXTS]
    (llama / "tokenizer.json").unlink()
    tokenizer = load_tokenizer(find_checkpoint(str(llama)))
    assert [tokenizer.encode(text) for text in _TEXTS] == expected
    assert len(list((own_cache / "converted").glob("*-tokenizer.json"))) == 1


_WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({gone!r}))
from harness.local.checkpoints import find_checkpoint, load_tokenizer
from harness.errors import CheckpointError
try:
    print(len(load_tokenizer(find_checkpoint({folder!r})).encode("result =")))
except CheckpointError as error:
    print(error)
print(sorted(m for m in ("torch", "transformers", "ctranslate2") if sys.modules.get(m)))
"""


def _without(folder: Path, *gone: str) -> list[str]:
    code = _WITHOUT.format(gone=gone, folder=str(folder))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def test_packages_that_are_missing_are_named_and_not_needed_twice(llama: Path) -> None:
    (llama / "tokenizer.json").unlink()
    said, _ = _without(llama, "sentencepiece", "transformers")
    assert "not installed: transformers, sentencepiece" in said
    assert "pip install" in said
    count = len(load_tokenizer(find_checkpoint(str(llama))).encode("result ="))
    assert _without(llama, "sentencepiece", "transformers", "torch") == [str(count), "[]"]


def test_a_tokenizer_json_takes_no_other_package(llama: Path) -> None:
    (llama / "tokenizer.model").unlink()
    count, loaded = _without(llama, "sentencepiece", "transformers", "torch", "google.protobuf")
    assert int(count) > 1
    assert loaded == "[]"


def test_nllb_codes_are_where_the_published_vocabulary_has_them(nllb: Path, tmp_path: Path) -> None:
    made = tiny_models.nllb(tmp_path / "pieces-only", tokenizer="model")
    one, other = (raw_tokenizer(find_checkpoint(str(folder))) for folder in (nllb, made))
    codes = ["ace_Arab", "eng_Latn", "yor_Latn", "zul_Latn", "<mask>", "<s>", "</s>", "<unk>"]
    assert [one.token_to_id(c) for c in codes] == [other.token_to_id(c) for c in codes]
    text = "Wole Soyinka alizaliwa Abeokuta."
    plain = [t.encode(text, add_special_tokens=False).ids for t in (one, other)]
    assert plain[0] == plain[1]


def _reorder(folder: Path) -> None:
    """A tokenizer that lowers everything, so that names could not be read back."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["normalizer"]["normalizers"].insert(0, {"type": "Lowercase"})
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "tokenizer.json").write_text("{}"), "not a tokenizer that can be read"),
        (_reorder, "does not give a text back"),
        (
            lambda f: [(f / n).unlink() for n in ("tokenizer.json", "tokenizer.model")],
            "there is no tokenizer",
        ),
        (
            lambda f: [
                (f / "tokenizer.json").unlink(),
                (f / "tokenizer.model").write_bytes(b"nonsense"),
            ],
            "no tokenizer can be made of tokenizer.model",
        ),
    ],
)
def test_a_wrong_tokenizer_is_one_clear_error(llama: Path, damage: Any, said: str) -> None:
    damage(llama)
    with pytest.raises(CheckpointError, match=said) as error:
        load_tokenizer(find_checkpoint(str(llama)))
    assert str(llama) in str(error.value)


def test_a_translation_models_tokenizer_is_refused(nllb: Path) -> None:
    with pytest.raises(CheckpointError, match="does not give a text back"):
        load_tokenizer(find_checkpoint(str(nllb)))


_MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": 'text = "Kano"\nresult ='},
]
_INST = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}<<SYS>>{{ messages[0]['content'] }}"
    "<</SYS>>\n{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}[INST] {{ m['content'] | trim }} [/INST]{% endfor %}"
)
_MARKED = (
    "{% for m in messages %}\n"
    "    {%- if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{%- else %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endif %}\n"
    "    {%- if loop.last %}{% continue %}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}{{ messages | tojson }}"
)


@pytest.mark.parametrize("template", [_INST, _MARKED])
@pytest.mark.parametrize("place", ["config", "list", "file"])
def test_chats_go_through_the_models_template(llama: Path, template: str, place: str) -> None:
    from transformers import AutoTokenizer

    if place == "config":
        _flags(llama, chat_template=template)
    elif place == "list":
        _flags(llama, chat_template=[{"name": "default", "template": template}])
    else:
        (llama / "chat_template.jinja").write_text(template)
    ours = load_tokenizer(find_checkpoint(str(llama))).chat(_MESSAGES)
    theirs = AutoTokenizer.from_pretrained(llama).apply_chat_template(
        _MESSAGES, add_generation_prompt=True, return_dict=False
    )
    assert ours == theirs


def test_a_template_that_repeats_bos_gives_one(llama: Path) -> None:
    _flags(llama, chat_template="<s>{{ bos_token }}{{ messages[0].content }}")
    ids = load_tokenizer(find_checkpoint(str(llama))).chat(_MESSAGES)
    assert ids.count(1) == 1


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "has no chat template"),
        ("{{ raise_exception('System role not supported') }}", "System role not supported"),
        ("{% for %}", "does not take these messages"),
        ("{{ messages.__class__.__mro__ }}", "does not take these messages"),
        ("{{ 1 / 0 }}", "division by zero"),
    ],
)
def test_a_chat_that_cannot_be_had_is_one_clear_error(
    llama: Path, template: str | None, said: str
) -> None:
    if template is not None:
        _flags(llama, chat_template=template)
    with pytest.raises(CheckpointError, match=said) as error:
        load_tokenizer(find_checkpoint(str(llama))).chat(_MESSAGES)
    assert 'wrap = "completion"' in str(error.value)
