"""A local model measured as a hosted one: the SDK against `harness serve`, and asked directly."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import pytest

pytest.importorskip("torch")  # the checkpoints are made with it

from harness.local.checkpoints import find_checkpoint, load_tokenizer
from harness.models import open_backend, settings_for
from harness.models.protocol import Backend
from harness.records import Answer, Failure, Prompt, Reply
from harness.serving.server import background_server
from tests.helpers import tiny_models

pytestmark = pytest.mark.usefixtures("local_cache")

TEMPLATE = """\
{{ bos_token }}{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}
{% endfor %}[assistant]"""
# Ragged: of one word, of a line, with letters beyond the pieces, and some in the real format.
TEXTS = [
    "Kano",
    "text = Wole Soyinka",
    "Ọbáfẹ́mi Awólọ́wọ̀ — 阿布贾, Лагос 🌍",
    *(
        tiny_models.prompt(f"Wole Soyinka alizaliwa {place}.")
        for place in ("Kano", "Abeokuta, Nigeria")
    ),
    *(tiny_models.prompt("Kano. " * count) for count in (1, 7, 20)),
    "# a beginning of its own\nresult =",
]
SYSTEMS = {"completion": None, "chat": "Answer with code.", "chat without a system text": ""}


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Random weights with a chat template."""
    folder = tiny_models.llama(tmp_path_factory.mktemp("parity") / "random", context=1024)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return str(folder)


@pytest.fixture(scope="module")
def closing_model(tmp_path_factory: pytest.TempPathFactory, random_model: str) -> str:
    """A model that answers ``=`` with an empty list and ends, as a trained one does."""
    tokenizer = load_tokenizer(find_checkpoint(random_model))
    asked, whole = tokenizer.encode("result ="), tokenizer.encode("result = []")
    assert whole[: len(asked)] == asked
    folder = tmp_path_factory.mktemp("parity") / "closing"
    return str(tiny_models.llama(folder, chain=[*whole[len(asked) - 1 :], *tokenizer.ends]))


async def _replies(backend: Backend, prompts: Sequence[Prompt]) -> list[Reply | Failure]:
    """What came of each prompt, all asked at once."""

    async def ask() -> dict[int, Reply | Failure]:
        requests = ((i, backend.request(prompt)) for i, prompt in enumerate(prompts))
        outcomes: dict[int, Reply | Failure] = {}
        async with aclosing(backend.answers(requests)) as answers:
            async for i, outcome in answers:
                outcomes[i] = (
                    backend.reply(outcome, cached=False) if isinstance(outcome, Answer) else outcome
                )
        await backend.aclose()
        return outcomes

    outcomes = await ask()
    return [outcomes[i] for i in range(len(prompts))]


async def _both(
    name: str, model: str, prompts: Sequence[Prompt], max_tokens: int
) -> tuple[list[Reply | Failure], list[Reply | Failure]]:
    """The replies of the backend itself, and those of the SDK over a server of it."""
    settings = settings_for(name, {"model": model, "device": "cpu", "max_tokens": max_tokens})
    local = await _replies(open_backend(settings), prompts)
    with background_server(settings) as url:
        values = {"model": model, "base_url": url, "max_tokens": max_tokens}
        hosted = await _replies(open_backend(settings_for("openai", values)), prompts)
    return local, hosted


@pytest.mark.parametrize("name", ["ctranslate2", "transformers"])
@pytest.mark.parametrize("wrap", SYSTEMS)
async def test_a_model_answers_the_same_asked_locally_and_served(
    random_model: str, name: str, wrap: str
) -> None:
    """Without lists to wait for, since a server knows of none: all that the model writes."""
    prompts = [Prompt(str(i), text, (), SYSTEMS[wrap]) for i, text in enumerate(TEXTS)]
    local, hosted = await _both(name, random_model, prompts, 24)
    for ours, theirs in zip(local, hosted, strict=True):
        assert isinstance(ours, Reply)
        assert isinstance(theirs, Reply)
        assert (ours.text, ours.finish_reason, ours.usage, ours.served_by) == (
            theirs.text,
            theirs.finish_reason,
            theirs.usage,
            theirs.served_by,
        )
    # Neither is the comparison of nothing, nor does every prompt get the same.
    assert len({reply.text for reply in local if isinstance(reply, Reply)}) == len(TEXTS)


@pytest.mark.parametrize("name", ["ctranslate2", "transformers"])
async def test_a_model_that_ends_by_itself_answers_the_same_where_lists_are_expected(
    closing_model: str, name: str
) -> None:
    prompts = [Prompt(str(i), tiny_models.prompt(f"Kano {i}"), ("result",)) for i in range(3)]
    local, hosted = await _both(name, closing_model, prompts, 24)
    for ours, theirs in zip(local, hosted, strict=True):
        assert isinstance(ours, Reply)
        assert isinstance(theirs, Reply)
        assert (ours.text, ours.finish_reason) == ("[]", "stop")
        assert (theirs.text, theirs.finish_reason, theirs.usage) == ("[]", "stop", ours.usage)


async def test_a_prompt_that_is_too_long_is_too_long_either_way(random_model: str) -> None:
    prompts = [Prompt("long", "Kano " * 1024, ()), Prompt("short", "Kano", ())]
    for outcomes in await _both("ctranslate2", random_model, prompts, 4):
        failed, answered = outcomes
        assert isinstance(failed, Failure)
        assert failed.too_long
        assert "context is 1,024" in failed.message
        assert isinstance(answered, Reply)
