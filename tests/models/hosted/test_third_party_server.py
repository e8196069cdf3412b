"""The hosted client against a server that others wrote: `transformers serve`, on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from transformers.utils.import_utils import is_serve_available

from harness.models import open_backend, settings_for
from harness.models.protocol import Backend
from harness.records import Answer, Prompt, Reply
from tests.helpers import tiny_models

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("local_cache"),
    pytest.mark.skipif(
        not is_serve_available(),
        reason="needs what transformers serves with: pip install 'transformers[serving]'",
    ),
]
TEMPLATE = """\
{{ bos_token }}{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}
{% endfor %}[assistant]"""
MAX_TOKENS = 16


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model whose tokenizer adds no EOS: this server does what the saved flags say."""
    folder = tiny_models.llama(tmp_path_factory.mktemp("theirs") / "tiny")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    for file, key, value in (
        ("tokenizer_config.json", "add_eos_token", False),
        ("tokenizer.json", "post_processor", _BOS_ONLY),
    ):
        saved = json.loads((folder / file).read_text("utf-8"))
        (folder / file).write_text(json.dumps(saved | {key: value}), "utf-8")
    return str(folder)


_BOS_ONLY = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
}


@pytest.fixture(scope="module")
def url(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of `transformers serve` with that model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("hub")
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", model]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = home / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home)},
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"transformers serve did not start:\n{log.read_text()[-2000:]}")


async def _replies(backend: Backend, prompts: list[Prompt]) -> list[Reply]:
    requests = [(i, backend.request(prompt)) for i, prompt in enumerate(prompts)]
    replies: dict[int, Reply] = {}
    async with aclosing(backend.answers(requests)) as answers:
        async for i, outcome in answers:
            assert isinstance(outcome, Answer), outcome
            replies[i] = backend.reply(outcome, cached=False)
    await backend.aclose()
    return [replies[i] for i in range(len(prompts))]


@pytest.mark.parametrize("system", [None, "Answer with code."])
async def test_it_gives_the_replies_that_the_same_model_gives_here(
    model: str, url: str, system: str | None
) -> None:
    texts = [
        "Kano",
        "Ọbáfẹ́mi 阿布贾",
        tiny_models.prompt("Wole Soyinka alizaliwa Abeokuta."),
        "result =",
    ]
    prompts = [Prompt(str(i), text, (), system) for i, text in enumerate(texts)]
    hosted = settings_for(
        "openai", {"model": model, "base_url": url, "max_tokens": MAX_TOKENS, "concurrency": 2}
    )
    local = settings_for("ctranslate2", {"model": model, "device": "cpu", "max_tokens": MAX_TOKENS})
    theirs = await _replies(open_backend(hosted), prompts)
    ours = await _replies(open_backend(local), prompts)
    for one, other in zip(theirs, ours, strict=True):
        assert (one.text, one.finish_reason) == (other.text, other.finish_reason)
        assert one.usage.prompt_tokens == other.usage.prompt_tokens
        # It counts the end token.
        ended = one.finish_reason == "stop"
        assert one.usage.completion_tokens == (other.usage.completion_tokens or 0) + ended
