"""The experiment file: what it means, what it refuses, and that it survives a round trip."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from harness.errors import ExperimentError, UsageError
from harness.experiment import load_experiment, parse_experiment

GOOD = """
[[datasets]]
name = "demo"
languages = ["swa", "yor"]
limit = 3

[translation]
source = "reference"

[[systems]]
name = "direct"
backend = "scripted"
model = "capitals"
strategy = "direct"

[[systems]]
name = "hosted"
backend = "openai"
model = "gpt-4o"
strategy = "transfusion"
base_url = "http://127.0.0.1:9/v1"
provider = "lab"
temperature = 0
max_tokens = 100
translation = { source = "reference", untranslatable = "source" }
"""


def test_reads_every_section() -> None:
    experiment = parse_experiment(tomllib.loads(GOOD))
    assert experiment.datasets[0].languages == ("swa", "yor")
    assert experiment.datasets[0].split == "test"
    hosted = experiment.systems[1]
    assert hosted.wrap == "chat"
    assert hosted.settings.model == "gpt-4o"
    assert experiment.translation_of(hosted).untranslatable == "source"
    assert experiment.translation_of(experiment.systems[0]).untranslatable == "skip"


def test_resolved_experiment_reads_back_as_itself(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(GOOD)
    experiment = load_experiment(file)
    again = tmp_path / "two.toml"
    again.write_text(experiment.to_toml())
    resolved = load_experiment(again)
    assert (resolved.name, experiment.name) == ("two", "one")
    same = {"path": experiment.path, "name": experiment.name}
    assert resolved.model_copy(update=same) == experiment


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("limit = 3", "limt = 3", "Did you mean 'limit'?"),
        ("limit = 3", "limit = 0", "limit"),
        ("limit = 3", 'limit = "3"', "limit"),
        ("limit = 3", "limit = 3\nsample = 3", "give one of them"),
        ('languages = ["swa", "yor"]', "languages = []", '"all"'),
        ("max_tokens", "max_token", "Did you mean 'max_tokens'?"),
        ('backend = "openai"', 'backend = "opnai"', "Did you mean 'openai'?"),
        ('backend = "openai"', 'backend = "transfomers"', "Did you mean 'transformers'?"),
        ('name = "hosted"', 'name = "direct"', "two systems are called 'direct'"),
        ('source = "reference"\n\n', 'source = "nllb"\n\n', "`model`: this is needed"),
        ('source = "reference"\n\n', 'source = "nllb"\nmodl = "m"\n', "Did you mean 'model'?"),
        ('source = "reference"\n\n', 'source = "nllb"\nmodel = "m"\nbeam = 0\n', "`beam`"),
        (
            'source = "reference"\n\n',
            'source = "nllb"\nmodel = "m"\ndevice = "gpu"\n',
            "`device`",
        ),
        (
            'source = "reference"\n\n',
            'source = "nllb"\nmodel = "m"\ncompute_type = "int4"\n',
            "float32",
        ),
        ('source = "reference"\n\n', 'source = "reference"\nbeam = 5\n', "'beam'"),
        ('source = "reference"\n\n', 'source = "model"\n\n', "needs `backend`"),
        (
            'source = "reference"\n\n',
            'source = "model"\nbackend = "openai"\nmodel = "m"\nmax_token = 9\n',
            "Did you mean 'max_tokens'?",
        ),
        ('source = "reference"\n\n', 'source = "file"\n\n', "needs `path`"),
        ('source = "reference"\n\n', 'source = "refrence"\n\n', "Did you mean 'reference'?"),
        ('strategy = "direct"', "", "`strategy` is needed"),
        ('strategy = "direct"', 'strategy = "direct"\nwrap = "both"', "chat, completion"),
        ('strategy = "direct"', 'strategy = "my/direct.j2"', "is not there"),
        ("[translation]", "[translations]", "Did you mean 'translation'?"),
        ("[[datasets]]", "[[dataset]]", "Did you mean 'datasets'?"),
        ("[[datasets]]", "[[datasets]", "not a TOML file"),
    ],
)
def test_each_mistake_has_one_message_with_the_choices(
    tmp_path: Path, old: str, new: str, wanted: str
) -> None:
    assert old in GOOD
    file = tmp_path / "wrong.toml"
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        load_experiment(file)
    message = str(caught.value)
    assert wanted in message
    assert "wrong.toml" in message
    assert "\n" not in message


def test_a_key_written_into_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "secret.toml"
    file.write_text(GOOD.replace('provider = "lab"', 'api_key = "sk-hidden-7"'))
    with pytest.raises(ExperimentError, match="api_key_env") as caught:
        load_experiment(file)
    assert "sk-hidden-7" not in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        'source = "nllb"\nmodel = "facebook/nllb-200-3.3B"\nrevision = "abc"\nbeam = 1\n'
        'max_length = 256\ncompute_type = "int8"\nsplit_sentences = true',
        'source = "model"\nbackend = "openai"\nmodel = "gpt-4o-mini"\nprovider = "lab"\n'
        'base_url = "http://127.0.0.1:9/v1"\nmax_tokens = 99\nuntranslatable = "error"',
    ],
)
def test_translation_tables_survive_the_round_trip(tmp_path: Path, keys: str) -> None:
    file = tmp_path / "one.toml"
    file.write_text(GOOD.replace('source = "reference"\n\n', keys + "\n\n", 1))
    experiment = load_experiment(file)
    (tmp_path / "two.toml").write_text(experiment.to_toml())
    again = load_experiment(tmp_path / "two.toml")
    same = {"path": experiment.path, "name": experiment.name}
    assert again.model_copy(update=same) == experiment
    table = again.translation.table() if again.translation else {}
    assert table.items() >= tomllib.loads(keys).items()
    moved = experiment.at_address("lab", "http://127.0.0.1:10/v1").translation
    assert moved is not None
    where = moved.table().get("base_url")
    assert where == ("http://127.0.0.1:10/v1" if "lab" in keys else None)


def test_missing_file_lists_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine.toml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExperimentError, match=r"runs/mine\.toml"):
        load_experiment("runs/yours.toml")


def test_paths_are_found_from_the_working_directory_then_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    runs = tmp_path / "there" / "runs"
    runs.mkdir(parents=True)
    table = '[[datasets]]\nname = "mine"\npath = "data.jsonl"\nformat = "jsonl"\n'
    (runs / "own.toml").write_text(GOOD + table)
    (runs / "data.jsonl").write_text("")
    monkeypatch.chdir(tmp_path / "here")
    assert load_experiment(runs / "own.toml").datasets[1].path == str(runs / "data.jsonl")
    (tmp_path / "here" / "data.jsonl").write_text("")
    assert load_experiment(runs / "own.toml").datasets[1].path == os.path.realpath("data.jsonl")
