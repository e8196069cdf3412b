"""Memory, interrupts and damaged models under the ctranslate2 backend."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.errors import CheckpointError
from harness.local.checkpoints import find_checkpoint, load_tokenizer
from harness.local.ctranslate2 import CTranslate2Backend
from harness.local.engine import Engine, OutOfMemory
from harness.records import Answer, Failure, Prompt
from tests.helpers import tiny_models
from tests.helpers.ctranslate2_models import (
    PROMPTS,
    ask_all,
    make_backend,
    make_request,
    plain_reply,
    read_replies,
)

pytestmark = pytest.mark.usefixtures("local_cache")


def test_a_type_that_the_machine_lacks_names_the_choices(tiny_llama: Path) -> None:
    import ctranslate2

    supported = ctranslate2.get_supported_compute_types("cpu")
    if "float16" in supported:
        pytest.skip("this CPU computes in float16")
    backend = make_backend(tiny_llama, compute_type="float16")
    with pytest.raises(CheckpointError, match=r"on cpu here\. Choices: auto"):
        ask_all(backend, [make_request(backend, "x")])


def test_int8_runs(tiny_llama: Path) -> None:
    (reply,) = read_replies(make_backend(tiny_llama, compute_type="int8"), PROMPTS[:1])
    assert reply.served_by == f"{tiny_llama} ctranslate2-4-int8"


def test_a_vocabulary_of_another_tokenizer_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    read_replies(make_backend(tiny_llama), PROMPTS[:1])
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "llama"))
    made = next(Path(tiny_llama.parent, "cache", "converted").glob("*-float32"))
    inner = Path(shutil.copytree(made, folder / "ctranslate2"))
    tokens = json.loads((inner / "vocabulary.json").read_text())
    tokens[300], tokens[301] = tokens[301], tokens[300]
    (inner / "vocabulary.json").write_text(json.dumps(tokens))
    backend = make_backend(folder)
    with pytest.raises(CheckpointError, match="converted with another tokenizer"):
        ask_all(backend, [make_request(backend, "x")])


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
    expected = [reply.text for reply in read_replies(make_backend(tiny_llama), PROMPTS)]
    cramped = _Cramped(make_backend(tiny_llama).settings)
    assert [reply.text for reply in read_replies(cramped, PROMPTS)] == expected
    # It learns: what did not fit is not tried again.
    assert sum(size > 3 for size in cramped.batches) == 2


def test_a_prompt_that_is_too_large_alone_fails_alone(tiny_llama: Path) -> None:
    cramped = _Cramped(make_backend(tiny_llama).settings)
    cramped.room = 0
    outcomes = ask_all(cramped, [make_request(cramped, text) for text in PROMPTS[:3]])
    assert all(isinstance(o, Failure) and "no room" in o.message for o in outcomes.values())


async def test_a_stop_finishes_the_batch_under_way(tiny_llama: Path) -> None:
    backend = make_backend(tiny_llama, batch_tokens=1)

    async def main() -> list[int]:
        stop = asyncio.Event()
        seen = []
        requests = [make_request(backend, text) for text in PROMPTS]
        async for index, _ in backend.answers(enumerate(requests), stop):
            seen.append(index)
            stop.set()
        await backend.aclose()
        return seen

    assert len(await main()) == 1


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


async def test_closing_the_answers_ends_what_is_under_way(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    # A model that never ends: each of two tokens brings the other.
    folder = tiny_models.llama(tmp_path / "endless", chain=[300, 301, 300], context=2**20)
    backend = _Watched(make_backend(folder, max_tokens=2**19).settings)
    backend.begun = threading.Event()
    text = load_tokenizer(find_checkpoint(str(folder))).decode([300])

    async def main() -> None:
        answers = backend.answers([(0, make_request(backend, text))])
        waiting = asyncio.ensure_future(anext(answers))
        await asyncio.to_thread(backend.begun.wait)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await answers.aclose()
        await backend.aclose()

    await main()
    assert 0 < backend.written[0] < 2**19


async def test_an_engine_forgets_old_beginnings_and_goes_on(tiny_llama: Path) -> None:
    backend = make_backend(tiny_llama)
    # Six schemas, two prompts each: more shared beginnings than an engine may keep.
    texts = [
        f"{n} {tiny_models.SHARED}{end}" for n in range(6) for end in ("Kano =", "Lake Victoria =")
    ]

    async def main() -> list[str]:
        replies = []
        for start in range(0, len(texts), 2):
            pair = [make_request(backend, text) for text in texts[start : start + 2]]
            outcomes = {i: o async for i, o in backend.answers(enumerate(pair))}
            replies += [backend.reply(outcomes[i], cached=False).text for i in range(2)]
        await backend.aclose()
        return replies

    assert (await main()) == [plain_reply(tiny_llama, text)[0] for text in texts]


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
    backend = make_backend(folder)
    with pytest.raises(CheckpointError, match=said):
        ask_all(backend, [make_request(backend, "x")])


def test_a_translation_model_is_no_system(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    backend = make_backend(tiny_models.nllb(tmp_path / "nllb"))
    with pytest.raises(CheckpointError, match=r"belong into \[translation\]"):
        backend.check()


def test_chats_are_asked_through_the_template(tiny_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "chat"))
    flags = json.loads((folder / "tokenizer_config.json").read_text())
    flags["chat_template"] = "{% for m in messages %}{{ m.content }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(flags))
    backend = make_backend(folder)
    request = backend.request(Prompt("x", "result =", ("result",), system="# Extract.\n"))
    (answer,) = ask_all(backend, [request]).values()
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
