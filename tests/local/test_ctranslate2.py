from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.local.checkpoints import TextTokenizer, find_checkpoint, load_tokenizer
from harness.records import Answer, Failure
from harness.store import request_key
from tests.helpers import tiny_models
from tests.helpers.ctranslate2_models import (
    PROMPTS,
    TOKENS,
    ask_all,
    make_backend,
    make_request,
    plain_reply,
    read_replies,
)

pytestmark = pytest.mark.usefixtures("local_cache")


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(PROMPTS, id="ragged, with a shared beginning"),
        pytest.param(PROMPTS[1:2], id="a single one"),
        pytest.param((*PROMPTS[:2], PROMPTS[1]), id="a prompt twice"),
        pytest.param(("", "x", "print(1)", "result = [", *PROMPTS[:2]), id="apart from the first"),
        pytest.param(
            (tiny_models.SHARED, tiny_models.SHARED + "W", PROMPTS[2]),
            id="one the other's beginning",
        ),
        pytest.param(("", ""), id="nothing but BOS"),
    ],
)
@pytest.mark.parametrize("batch_tokens", [None, 1, 400])
def test_float32_writes_what_the_plain_loop_writes(
    tiny_llama: Path, texts: tuple[str, ...], batch_tokens: int | None
) -> None:
    backend = make_backend(tiny_llama, batch_tokens=batch_tokens)
    for text, reply in zip(texts, read_replies(backend, texts), strict=True):
        assert (reply.text, reply.finish_reason) == plain_reply(tiny_llama, text)
        tokenizer = load_tokenizer(find_checkpoint(str(tiny_llama)))
        assert reply.usage.prompt_tokens == len(tokenizer.encode(text))


def test_a_model_that_ends_by_itself_stops(tiny_llama: Path, tmp_path: Path) -> None:
    """Two of the words that the random model writes are made its end tokens."""
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "ends"))
    tokenizer = load_tokenizer(find_checkpoint(str(folder)))
    before = read_replies(make_backend(folder), PROMPTS)
    # What it writes third after some prompt ends the answer from now on.
    third = tokenizer.encode(before[1].text)[3]
    generation = folder / "generation_config.json"
    content = json.loads(generation.read_text()) | {"eos_token_id": [2, third]}
    generation.write_text(json.dumps(content))
    replies = read_replies(make_backend(folder), PROMPTS)
    assert "stop" in {reply.finish_reason for reply in replies}
    for old, new in zip(before, replies, strict=True):
        if new.finish_reason == "stop":
            assert old.text.startswith(new.text)
            assert (new.usage.completion_tokens or 0) < TOKENS
        else:
            assert new.text == old.text


def _writer(folder: Path, reply: str, **values: Any) -> tuple[Path, TextTokenizer]:
    """A model that writes ``reply`` after ``=``, by its last token alone."""
    tokenizer = load_tokenizer(find_checkpoint(str(tiny_models.llama(folder))))
    prompt = tokenizer.encode("x =")
    whole = tokenizer.encode("x =" + reply)
    assert whole[: len(prompt)] == prompt
    chain = whole[len(prompt) - 1 :]
    assert len(set(chain)) == len(chain), tokenizer.decode(chain)
    tiny_models.llama(folder, chain=[*chain, values.get("end", 2)])
    return folder, tokenizer


def test_generation_ends_once_the_last_list_is_closed(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder, _ = _writer(tmp_path / "writer", " []\nPerson(Kano: text")
    backend = make_backend(folder)
    # Until its list, until a list that never comes, and until nothing in particular.
    requests = [make_request(backend, "x =", a) for a in (("result",), ("result", "final"), ())]
    outcomes = ask_all(backend, requests)
    texts = []
    for index in range(3):
        answer = outcomes[index]
        assert isinstance(answer, Answer)
        reply = backend.reply(answer, cached=False)
        assert reply.finish_reason == "stop"
        texts.append(reply.text.strip())
    assert texts == ["[]", "[]\nPerson(Kano: text", "[]\nPerson(Kano: text"]


def test_what_is_cut_by_the_budget_says_so(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder, _ = _writer(tmp_path / "writer", " []\nPerson(Kano: text")
    backend = make_backend(folder, max_tokens=1)
    (reply,) = read_replies(backend, ["x ="])
    assert (reply.finish_reason, reply.usage.completion_tokens) == ("length", 1)


def test_a_prompt_that_does_not_fit_is_that_examples_failure(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = tiny_models.llama(tmp_path / "short", context=300)
    backend = make_backend(folder)
    outcomes = ask_all(
        backend, [make_request(backend, tiny_models.prompt(s)) for s in ("a", "Kano " * 40)]
    )
    assert isinstance(outcomes[0], Answer)
    failure = outcomes[1]
    assert isinstance(failure, Failure)
    assert failure.too_long
    assert "context is 300" in failure.message


def test_the_request_holds_what_outputs_depend_on_and_nothing_else(
    tiny_llama: Path, tmp_path: Path
) -> None:
    def key(folder: Path = tiny_llama, **values: Any) -> str:
        return request_key(make_request(make_backend(folder, **values), "result ="))

    copy = Path(shutil.copytree(tiny_llama, tmp_path / "copy"))
    same = {key(), key(copy), key(batch_tokens=7), key(compute_type="float32"), key(device="auto")}
    others = [key(compute_type="int8"), key(compute_type="int8_float32"), key(max_tokens=7)]
    assert len(same) == 1
    assert len({*same, *others}) == 4
    text = json.dumps(make_request(make_backend(tiny_llama), "result =").table())
    assert str(tiny_llama) not in text
    assert "cpu" not in text


def test_a_request_imports_no_engine(tiny_llama: Path) -> None:
    code = (
        "import sys; from harness.models import open_backend, settings_for\n"
        "from harness.records import Prompt\n"
        f"b = open_backend(settings_for('ctranslate2', {{'model': {str(tiny_llama)!r}}}))\n"
        "b.request(Prompt('1', 'text', ('result',)))\n"
        "b.check()\n"
        "heavy = {'torch', 'transformers', 'ctranslate2', 'tokenizers', 'huggingface_hub'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_converted_model_runs_without_torch(tiny_llama: Path) -> None:
    (expected,) = read_replies(make_backend(tiny_llama), PROMPTS[:1])
    code = (
        "import sys; sys.modules.update(torch=None, transformers=None)\n"
        "import asyncio; from harness.models import open_backend, settings_for\n"
        "from harness.records import Prompt\n"
        f"b = open_backend(settings_for('ctranslate2', {{'model': {str(tiny_llama)!r},\n"
        f"    'device': 'cpu', 'max_tokens': {TOKENS}}}))\n"
        f"r = b.request(Prompt('1', {PROMPTS[0]!r}, ('result',)))\n"
        "async def main():\n"
        "    async for _, answer in b.answers([(0, r)]):\n"
        "        print(ascii(b.reply(answer, cached=False).text))\n"
        "    await b.aclose()\n"
        "asyncio.run(main())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ascii(expected.text)
