from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from harness.errors import ExperimentError, HarnessError, UnknownNameError
from harness.models import BACKENDS, open_backend, settings_for
from harness.records import Prompt


def _hosted(**values: Any) -> Any:
    return settings_for("openai", {"model": "m", **values})


def test_the_backends_of_this_version_open_with_nothing_but_a_model() -> None:
    assert BACKENDS == ("openai", "transformers", "ctranslate2", "scripted")
    for name, model in (("openai", "gpt-4o"), ("scripted", "capitals")):
        settings = settings_for(name, {"model": model})
        assert settings.backend == name
        assert settings.default_wrap == "chat"
        assert open_backend(settings).price is not None


def test_nothing_heavy_is_imported_before_something_is_sent() -> None:
    code = (
        "import sys; from harness.models import open_backend, settings_for\n"
        "from harness.records import Prompt\n"
        "b = open_backend(settings_for('openai', {'model': 'gpt-4o'}))\n"
        "b.request(Prompt('1', 'text', ('result',), ''))\n"
        "b = open_backend(settings_for('scripted', {}))\n"
        "b.request(Prompt('1', 'text', ('result',), ''))\n"
        "heavy = {'openai', 'httpx', 'httpx2', 'aiohttp', 'tenacity', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["transformers", "ctranslate2"])
def test_local_backends_send_no_calls_and_complete_prompts(name: str) -> None:
    settings = settings_for(name, {"model": "m"})
    assert settings.backend == name
    assert settings.default_wrap == "completion"
    with pytest.raises(ExperimentError) as error:
        settings_for(name, {"model": "m", "concurrency": 4})
    assert "Unknown key 'concurrency'" in str(error.value)
    choices = str(error.value).partition("Choices: ")[2]
    assert {"device", "batch_tokens"} <= set(choices.rstrip(".").split(", "))
    assert "concurrency" not in choices


def test_an_unknown_backend_names_the_choices() -> None:
    with pytest.raises(
        UnknownNameError, match=r"Did you mean 'openai'\? Choices: openai, transformers,"
    ):
        settings_for("open-ai", {"model": "m"})


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"temprature": 1}, "Unknown key 'temprature'. Did you mean 'temperature'?"),
        ({"api_key": "sk-secret-secret"}, "Did you mean 'api_key_env'?"),
        ({"api_key_env": "sk-secret-secret"}, "the name of an environment variable"),
        ({"temperature": 3}, "`temperature`"),
        ({"temperature": "0"}, "`temperature`"),
        ({"max_tokens": 0}, "`max_tokens`"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "give one of"),
        ({"concurrency": 0}, "`concurrency`"),
        ({"max_attempts": 3}, "greater than or equal to 8"),
        ({"model": ""}, "`model`"),
        ({"base_url": "localhost:8000"}, "not a URL"),
        ({"base_url": "ftp://host/v1"}, "not a URL"),
        ({"base_url": "http://user:sk-secret-secret@host/v1"}, "without user, password"),
        ({"base_url": "http://host/v1?key=sk-secret-secret"}, "without user, password"),
        ({"base_url": "http://host:port/v1"}, "`base_url`"),
        ({"extra_body": {"messages": []}}, "messages cannot be given here"),
        ({"extra_body": {"temperature": 1}}, "temperature cannot be given here"),
        ({"extra_body": {"x": float("nan")}}, "only what JSON can hold"),
        ({"drop": ["temprature"]}, "Unknown parameter 'temprature'. Did you mean 'temperature'?"),
        ({"drop": ["model"]}, "Choices: temperature, max_tokens, max_completion_tokens, "),
        ({"drop": "temperature"}, "`drop`: a list is needed"),
        ({"mode": "bath"}, "`mode`: this must be 'live' or 'batch'"),
        ({"rpm": 0}, "`rpm`"),
        ({"tpm": -1.0}, "`tpm`"),
        ({"poll_s": 0}, "`poll_s`"),
        ({"provider": "azure"}, "AZURE_OPENAI_ENDPOINT"),
        ({"provider": "azure", "base_url": "https://r.azure.com"}, "OPENAI_API_VERSION"),
    ],
)
def test_a_wrong_key_or_value_is_one_clear_error(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ExperimentError) as error:
        settings_for("openai", {"model": "m"} | values, also=("strategy",), where="x.toml: 'A'")
    message = str(error.value)
    assert message.startswith("x.toml: 'A': ")
    assert problem in message
    assert "secret" not in message
    assert "\n" not in message


def test_keys_of_the_same_table_are_among_the_choices() -> None:
    with pytest.raises(ExperimentError, match="Did you mean 'strategy'"):
        settings_for("openai", {"model": "m", "strateggy": "x"}, also=("strategy",))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"model": "capitols"}, "Unknown rule 'capitols'. Did you mean 'capitals'?"),
        ({"error_429": 1.5}, "`error_429`"),
        ({"error_429": 0.6, "error_500": 0.6}, "add up to more than 1"),
        ({"latency": 1}, "Did you mean 'latency_s'?"),
    ],
)
def test_wrong_script_settings(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ExperimentError) as error:
        settings_for("scripted", values)
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("url", "normalised"),
    [
        ("HTTPS://API.OpenAI.com:443/v1/", "https://api.openai.com/v1"),
        ("http://127.0.0.1:80/v1", "http://127.0.0.1/v1"),
        ("http://[::1]:8000/V1//", "http://[::1]:8000/V1"),
        (" https://host/a/b ", "https://host/a/b"),
    ],
)
def test_base_urls_are_normalised(url: str, normalised: str) -> None:
    assert _hosted(base_url=url).base_url == normalised


def test_what_stands_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _hosted().endpoint == "openai"
    assert _hosted(base_url="https://api.openai.com/v1/").endpoint == "openai"
    assert _hosted(base_url="http://h:8000/v1").endpoint == "http://h:8000/v1"
    assert _hosted(base_url="http://h:8000/v1", provider="lab").endpoint == "lab"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://from-env/v1/")
    assert _hosted().base_url == _hosted().endpoint == "http://from-env/v1"
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://res.openai.azure.com/")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    azure = _hosted(provider="azure")
    assert azure.endpoint == "https://res.openai.azure.com?api-version=2024-10-21"
    assert azure.api_key_env == "AZURE_OPENAI_API_KEY"


def test_zero_is_written_in_one_way() -> None:
    written = {json.dumps(_hosted(temperature=zero).parameters) for zero in (0, 0.0)}
    assert written == {'{"temperature": 0, "max_tokens": 512}'}


def test_parameters_that_are_not_set_are_not_sent() -> None:
    assert _hosted().parameters == {"temperature": 0, "max_tokens": 512}
    assert _hosted(max_completion_tokens=9, reasoning_effort="low").parameters == {
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
    }
    assert _hosted(reasoning_effort="low").parameters == {
        "max_completion_tokens": 4096,
        "reasoning_effort": "low",
    }
    full = _hosted(
        temperature=0.5,
        top_p=1.0,
        seed=3,
        stop=["\n\n"],
        frequency_penalty=0,
        extra_body={"k": [1]},
    )
    assert full.parameters == {
        "temperature": 0.5,
        "max_tokens": 512,
        "top_p": 1,
        "seed": 3,
        "stop": ["\n\n"],
        "frequency_penalty": 0,
        "k": [1],
    }


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        *((name, True) for name in ("o1", "o1-mini", "o3", "o3-pro", "o4-mini-2025-04-16")),
        *((name, True) for name in ("gpt-5", "gpt-5-nano", "gpt-5.1", "gpt-5-2025-08-07")),
        *((name, True) for name in ("openai/o3-mini", "ft:o4-mini:org::id")),
        *((name, False) for name in ("gpt-5-chat", "gpt-5-chat-latest", "openai/gpt-5-chat")),
        *((name, False) for name in ("gpt-5.1-chat-latest", "gpt-5.1-chat", "gpt-5.12-chat")),
        *((name, True) for name in ("gpt-5.1-mini", "gpt-5.1-2025-11-13")),
        *((name, False) for name in ("gpt-4o", "gpt-4o-mini", "chatgpt-4o-latest", "gpt-50")),
        *((name, False) for name in ("olmo-3", "o", "lab/o-model", "gollie", "phi-o3")),
    ],
)
def test_models_that_reason_get_no_temperature_and_a_budget_of_their_own(
    model: str, reasons: bool
) -> None:
    assert _hosted(model=model).parameters == (
        {"max_completion_tokens": 4096} if reasons else {"temperature": 0, "max_tokens": 512}
    )
    given = {"temperature": 1, "max_tokens": 9}
    assert _hosted(model=model, **given).parameters == given


def test_what_is_dropped_is_not_sent() -> None:
    assert _hosted(drop=["temperature"]).parameters == {"max_tokens": 512}
    assert _hosted(seed=3, drop=["max_tokens", "seed"]).parameters == {"temperature": 0}
    assert _hosted(model="o3", drop=["max_completion_tokens"]).parameters == {}


def test_limits_and_modes_are_no_part_of_a_request() -> None:
    plain = open_backend(_hosted()).request(Prompt("1", "x", ("result",), ""))
    values = {"mode": "batch", "rpm": 60, "tpm": 1e5, "poll_s": 1, "concurrency": 2}
    assert open_backend(_hosted(**values)).request(Prompt("1", "x", ("result",), "")) == plain


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"reasoning_effort": "low"},
        {"max_completion_tokens": 7},
        {"stop": ["a"], "top_p": 0.5},
        {"model": "o3"},
        {"model": "gpt-5", "max_tokens": 5},
        {"drop": ["temperature", "max_tokens"], "mode": "batch", "rpm": 10.0},
    ],
)
def test_settings_written_out_read_back_as_the_same_requests(values: dict[str, Any]) -> None:
    settings = _hosted(**values)
    again = settings_for("openai", settings.model_dump(mode="json", exclude_none=True))
    assert again == settings
    assert again.parameters == settings.parameters  # type: ignore[attr-defined]


def test_every_error_is_of_the_one_tree() -> None:
    for backend in (*BACKENDS, "nope"):
        with pytest.raises(HarnessError):
            settings_for(backend, {"model": "m", "nonsense": 1})
