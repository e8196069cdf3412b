from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.errors import CheckpointError
from harness.local.backend import LocalBackend
from harness.local.checkpoints import TextTokenizer, find_checkpoint, load_tokenizer
from harness.local.ctranslate2 import CTranslate2Backend
from harness.local.engine import Engine, OutOfMemory
from harness.models import open_backend, settings_for
from harness.records import Answer, Failure, Prompt, Reply
from harness.store import request_key
from tests.helpers import tiny_models

pytestmark = pytest.mark.usefixtures("local_cache")
_TOKENS = 24
_SENTENCES = (
    "a",
    "Kano ni mji mkubwa wa Nigeria.",
    "Wole Soyinka " * 20,
    "Abeokuta, Lake Victoria, Kano",
    "",
    *("abc " * n for n in range(1, 9)),
)


def _backend(folder: Path, **values: Any) -> CTranslate2Backend:
    settings = settings_for(
        "ctranslate2", {"model": str(folder), "device": "cpu", "max_tokens": _TOKENS} | values
    )
    backend = open_backend(settings)
    assert isinstance(backend, CTranslate2Backend)
    return backend


def _request(backend: LocalBackend, text: str, answers: Sequence[str] = ("result",)) -> Any:
    return backend.request(Prompt("x", text, tuple(answers)))


def _ask(
    backend: LocalBackend, requests: Iterable[Mapping[str, Any]]
) -> dict[int, Answer | Failure]:
    async def main() -> dict[int, Answer | Failure]:
        outcomes: dict[int, Answer | Failure] = {}
        async for index, outcome in backend.answers(enumerate(requests)):
            assert index not in outcomes
            outcomes[index] = outcome
        await backend.aclose()
        return outcomes

    return asyncio.run(main())


def _replies(backend: LocalBackend, texts: Sequence[str]) -> list[Reply]:
    outcomes = _ask(backend, [_request(backend, text) for text in texts])
    assert sorted(outcomes) == list(range(len(texts)))
    replies = []
    for index in range(len(texts)):
        answer = outcomes[index]
        assert isinstance(answer, Answer), answer
        replies.append(backend.reply(answer, cached=False))
    return replies


@cache
def _plain_model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()


@cache
def _plain(folder: Path, text: str, max_tokens: int = _TOKENS) -> tuple[str, str]:
    """What a plain loop over transformers writes after one prompt, and why it ends."""
    import torch

    tokenizer = load_tokenizer(find_checkpoint(str(folder)))
    ids = torch.tensor([tokenizer.encode(text)])
    with torch.no_grad():
        whole = _plain_model(folder).generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_tokens,
            pad_token_id=2,
        )
    written = whole[0, ids.shape[1] :].tolist()
    return tokenizer.decode(written), "stop" if 2 in written else "length"


_PROMPTS = tuple(map(tiny_models.prompt, _SENTENCES))


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(_PROMPTS, id="ragged, with a shared beginning"),
        pytest.param(_PROMPTS[1:2], id="a single one"),
        pytest.param((*_PROMPTS[:2], _PROMPTS[1]), id="a prompt twice"),
        pytest.param(("", "x", "print(1)", "result = [", *_PROMPTS[:2]), id="apart from the first"),
        pytest.param(
            (tiny_models.SHARED, tiny_models.SHARED + "W", _PROMPTS[2]),
            id="one the other's beginning",
        ),
        pytest.param(("", ""), id="nothing but BOS"),
    ],
)
@pytest.mark.parametrize("batch_tokens", [None, 1, 400])
def test_float32_writes_what_the_plain_loop_writes(
    tiny_llama: Path, texts: tuple[str, ...], batch_tokens: int | None
) -> None:
    backend = _backend(tiny_llama, batch_tokens=batch_tokens)
    for text, reply in zip(texts, _replies(backend, texts), strict=True):
        assert (reply.text, reply.finish_reason) == _plain(tiny_llama, text)
        tokenizer = load_tokenizer(find_checkpoint(str(tiny_llama)))
        assert reply.usage.prompt_tokens == len(tokenizer.encode(text))


def test_a_model_that_ends_by_itself_stops(tiny_llama: Path, tmp_path: Path) -> None:
    """Two of the words that the random model writes are made its end tokens."""
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "ends"))
    tokenizer = load_tokenizer(find_checkpoint(str(folder)))
    before = _replies(_backend(folder), _PROMPTS)
    # What it writes third after some prompt ends the answer from now on.
    third = tokenizer.encode(before[1].text)[3]
    generation = folder / "generation_config.json"
    content = json.loads(generation.read_text()) | {"eos_token_id": [2, third]}
    generation.write_text(json.dumps(content))
    replies = _replies(_backend(folder), _PROMPTS)
    assert "stop" in {reply.finish_reason for reply in replies}
    for old, new in zip(before, replies, strict=True):
        if new.finish_reason == "stop":
            assert old.text.startswith(new.text)
            assert (new.usage.completion_tokens or 0) < _TOKENS
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
    backend = _backend(folder)
    # Until its list, until a list that never comes, and until nothing in particular.
    requests = [_request(backend, "x =", a) for a in (("result",), ("result", "final"), ())]
    outcomes = _ask(backend, requests)
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
    backend = _backend(folder, max_tokens=1)
    (reply,) = _replies(backend, ["x ="])
    assert (reply.finish_reason, reply.usage.completion_tokens) == ("length", 1)


def test_a_prompt_that_does_not_fit_is_that_examples_failure(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = tiny_models.llama(tmp_path / "short", context=300)
    backend = _backend(folder)
    outcomes = _ask(
        backend, [_request(backend, tiny_models.prompt(s)) for s in ("a", "Kano " * 40)]
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
        return request_key(_request(_backend(folder, **values), "result ="))

    copy = Path(shutil.copytree(tiny_llama, tmp_path / "copy"))
    same = {key(), key(copy), key(batch_tokens=7), key(compute_type="float32"), key(device="auto")}
    others = [key(compute_type="int8"), key(compute_type="int8_float32"), key(max_tokens=7)]
    assert len(same) == 1
    assert len({*same, *others}) == 4
    text = json.dumps(_request(_backend(tiny_llama), "result =").table())
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
    (expected,) = _replies(_backend(tiny_llama), _PROMPTS[:1])
    code = (
        "import sys; sys.modules.update(torch=None, transformers=None)\n"
        "import asyncio; from harness.models import open_backend, settings_for\n"
        "from harness.records import Prompt\n"
        f"b = open_backend(settings_for('ctranslate2', {{'model': {str(tiny_llama)!r},\n"
        f"    'device': 'cpu', 'max_tokens': {_TOKENS}}}))\n"
        f"r = b.request(Prompt('1', {_PROMPTS[0]!r}, ('result',)))\n"
        "async def main():\n"
        "    async for _, answer in b.answers([(0, r)]):\n"
        "        print(ascii(b.reply(answer, cached=False).text))\n"
        "    await b.aclose()\n"
        "asyncio.run(main())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ascii(expected.text)


def test_a_type_that_the_machine_lacks_names_the_choices(tiny_llama: Path) -> None:
    import ctranslate2

    supported = ctranslate2.get_supported_compute_types("cpu")
    if "float16" in supported:
        pytest.skip("this CPU computes in float16")
    backend = _backend(tiny_llama, compute_type="float16")
    with pytest.raises(CheckpointError, match=r"on cpu here\. Choices: auto"):
        _ask(backend, [_request(backend, "x")])


def test_int8_runs(tiny_llama: Path) -> None:
    (reply,) = _replies(_backend(tiny_llama, compute_type="int8"), _PROMPTS[:1])
    assert reply.served_by == f"{tiny_llama} ctranslate2-4-int8"


def test_a_vocabulary_of_another_tokenizer_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    _replies(_backend(tiny_llama), _PROMPTS[:1])
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "llama"))
    made = next(Path(tiny_llama.parent, "cache", "converted").glob("*-float32"))
    inner = Path(shutil.copytree(made, folder / "ctranslate2"))
    tokens = json.loads((inner / "vocabulary.json").read_text())
    tokens[300], tokens[301] = tokens[301], tokens[300]
    (inner / "vocabulary.json").write_text(json.dumps(tokens))
    backend = _backend(folder)
    with pytest.raises(CheckpointError, match="converted with another tokenizer"):
        _ask(backend, [_request(backend, "x")])


class _Cramped(CTranslate2Backend):
    """The real engine on a machine that holds so many rows at once."""

    room = 3
    batches: list[int]

    def open_engine(self, *arguments: Any) -> Engine:
        engine = super().open_engine(*arguments)
        generate = engine.generate
        self.batches = []

        def cramped(prefix: Any, tails: Sequence[Any], *more: Any) -> Any:
            self.batches.append(len(tails))
            if len(tails) > self.room:
                raise OutOfMemory("no room")
            return generate(prefix, tails, *more)

        engine.generate = cramped  # type: ignore[method-assign]
        return engine


def test_out_of_memory_halves_the_batch_and_goes_on(tiny_llama: Path) -> None:
    expected = [reply.text for reply in _replies(_backend(tiny_llama), _PROMPTS)]
    cramped = _Cramped(_backend(tiny_llama).settings)
    assert [reply.text for reply in _replies(cramped, _PROMPTS)] == expected
    # It learns: what did not fit is not tried again.
    assert sum(size > 3 for size in cramped.batches) == 2


def test_a_prompt_that_is_too_large_alone_fails_alone(tiny_llama: Path) -> None:
    cramped = _Cramped(_backend(tiny_llama).settings)
    cramped.room = 0
    outcomes = _ask(cramped, [_request(cramped, text) for text in _PROMPTS[:3]])
    assert all(isinstance(o, Failure) and "no room" in o.message for o in outcomes.values())


def test_a_stop_finishes_the_batch_under_way(tiny_llama: Path) -> None:
    backend = _backend(tiny_llama, batch_tokens=1)

    async def main() -> list[int]:
        stop = asyncio.Event()
        seen = []
        requests = [_request(backend, text) for text in _PROMPTS]
        async for index, _ in backend.answers(enumerate(requests), stop):
            seen.append(index)
            stop.set()
        await backend.aclose()
        return seen

    assert len(asyncio.run(main())) == 1


class _Watched(CTranslate2Backend):
    """The real engine, with the moment it begins and the tokens it has written in the end."""

    begun: threading.Event
    written: list[int]

    def open_engine(self, *arguments: Any) -> Engine:
        engine = super().open_engine(*arguments)
        generate = engine.generate

        def watched(prefix: Any, tails: Any, max_tokens: int, done: Any) -> Any:
            def first(row: int, token: int) -> bool:
                self.begun.set()
                return bool(done(row, token))

            written = generate(prefix, tails, max_tokens, first)
            self.written = [len(row.tokens) for row in written]
            return written

        engine.generate = watched  # type: ignore[method-assign]
        return engine


def test_closing_the_answers_ends_what_is_under_way(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    # A model that never ends: each of two tokens brings the other.
    folder = tiny_models.llama(tmp_path / "endless", chain=[300, 301, 300], context=2**20)
    backend = _Watched(_backend(folder, max_tokens=2**19).settings)
    backend.begun = threading.Event()
    text = load_tokenizer(find_checkpoint(str(folder))).decode([300])

    async def main() -> None:
        answers = backend.answers([(0, _request(backend, text))])
        waiting = asyncio.ensure_future(anext(answers))
        await asyncio.to_thread(backend.begun.wait)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await answers.aclose()
        await backend.aclose()

    asyncio.run(main())
    assert 0 < backend.written[0] < 2**19


def test_an_engine_forgets_old_beginnings_and_goes_on(tiny_llama: Path) -> None:
    backend = _backend(tiny_llama)
    # Six schemas, two prompts each: more shared beginnings than an engine may keep.
    texts = [
        f"{n} {tiny_models.SHARED}{end}" for n in range(6) for end in ("Kano =", "Lake Victoria =")
    ]

    async def main() -> list[str]:
        replies = []
        for start in range(0, len(texts), 2):
            pair = [_request(backend, text) for text in texts[start : start + 2]]
            outcomes = {i: o async for i, o in backend.answers(enumerate(pair))}
            replies += [backend.reply(outcomes[i], cached=False).text for i in range(2)]
        await backend.aclose()
        return replies

    assert asyncio.run(main()) == [_plain(tiny_llama, text)[0] for text in texts]


_DAMAGE: dict[str, Callable[[Path], object]] = {
    "there is no tokenizer": lambda f: [
        (f / name).unlink() for name in ("tokenizer.json", "tokenizer.model")
    ],
    "the file is cut off": lambda f: (f / "model-00002-of-00004.safetensors").write_bytes(
        (f / "model-00002-of-00004.safetensors").read_bytes()[:-5]
    ),
}


@pytest.mark.parametrize("said", _DAMAGE)
def test_a_damaged_model_is_one_clear_error(tiny_llama: Path, tmp_path: Path, said: str) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "llama"))
    _DAMAGE[said](folder)
    backend = _backend(folder)
    with pytest.raises(CheckpointError, match=said):
        _ask(backend, [_request(backend, "x")])


def test_a_translation_model_is_no_system(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    backend = _backend(tiny_models.nllb(tmp_path / "nllb"))
    with pytest.raises(CheckpointError, match=r"belong into \[translation\]"):
        backend.check()


def test_chats_are_asked_through_the_template(tiny_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "chat"))
    flags = json.loads((folder / "tokenizer_config.json").read_text())
    flags["chat_template"] = "{% for m in messages %}{{ m.content }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(flags))
    backend = _backend(folder)
    request = backend.request(Prompt("x", "result =", ("result",), system="# Extract.\n"))
    (answer,) = _ask(backend, [request]).values()
    assert isinstance(answer, Answer)
    body = json.loads(answer.response)
    assert body["object"] == "chat.completion"
    ids = load_tokenizer(find_checkpoint(str(folder))).encode("# Extract.\nresult =")
    # The template adds no BOS, and the model gets none.
    assert body["usage"]["prompt_tokens"] == len(ids) - 1


def test_what_is_missing_is_said_before_anything_is_asked(tiny_llama: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(torch=None)\n"
        "from harness.errors import CheckpointError\n"
        "from harness.models import open_backend, settings_for\n"
        f"b = open_backend(settings_for('ctranslate2', {{'model': {str(tiny_llama)!r}}}))\n"
        "try: b.check()\n"
        "except CheckpointError as error: print(error)"
    )
    environment = os.environ | {"HARNESS_CACHE": str(tmp_path / "empty" / "answers.sqlite")}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert "has to be converted to CTranslate2 once, which takes torch" in ran.stdout
