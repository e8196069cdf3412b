"""What a run promises: one answer a request, results that belong to one experiment, going on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from harness import compare, load_experiment, run
from harness.errors import HarnessError, RunFolderError, StoreError, UsageError
from harness.experiment import parse_experiment
from harness.running.planning import make_plan
from harness.running.prepare import prepare
from harness.store import Store
from tests.helpers.small_runs import Harness, Serve, hosted_experiment, lines


def own(tmp_path: Path, sentences: list[dict[str, Any]], **system: Any) -> dict[str, Any]:
    """An experiment on sentences of one's own, one scripted system."""
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(s) + "\n" for s in sentences))
    table = {"name": "A", "backend": "scripted", "model": "capitals", "strategy": "direct"}
    return {
        "datasets": [
            {
                "name": "mine",
                "path": str(path),
                "format": "jsonl",
                "languages": ["swa"],
                "labels": {"PER": "Person", "LOC": "Location"},
                "schema": "demo",
            }
        ],
        "systems": [table | system],
    }


def sentence(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, "entities": [{"label": "LOC", "span": text.split()[-1]}], **more}


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "store.sqlite"))
    return tmp_path


def test_equal_sentences_and_systems_are_asked_once(fresh: Path) -> None:
    tables = own(fresh, [sentence("Yuko Kano")] * 3 + [sentence("Yuko Lagos")])
    tables["systems"].append(tables["systems"][0] | {"name": "B"})
    result = run(parse_experiment(tables))
    assert (result.sent, result.cached, result.examples) == (2, 6, 8)
    assert [row["cached"] for row in lines(result.folder.path)] == [
        *(False, True, True, False),
        *(True, True, True, True),
    ]


def test_a_second_system_asks_what_the_first_ones_dead_server_did_not(
    fresh: Path, serve: Serve
) -> None:
    served = serve()
    hosted = {
        "backend": "openai",
        "provider": "lab",
        "max_attempts": 8,
        "backoff_s": 0.0,
    }
    dead = {"name": "dead", "base_url": "http://127.0.0.1:9/v1"}
    tables = own(fresh, [sentence("Yuko Kano")], **hosted, **dead)
    tables["systems"].append(
        tables["systems"][0] | {"name": "alive", "base_url": served.url, "strategy": "direct"}
    )
    result = run(parse_experiment(tables))
    assert served.stats()["answered"] == 1
    # The alias says that both are the same server: one answer serves both.
    assert {row["status"] for row in lines(result.folder.path)} == {"ok"}
    assert len(result.refused) == 1
    assert "127.0.0.1:9" in str(result.refused[0])
    assert result.exit_code == 2


def test_gold_of_a_class_that_the_prompt_lacks_is_refused(fresh: Path) -> None:
    tables = own(fresh, [sentence("Yuko Kano")])
    tables["datasets"][0]["labels"] = {"PER": "Persn", "LOC": "Location"}
    with pytest.raises(HarnessError, match="Did you mean 'Person'"):
        run(parse_experiment(tables))


def test_a_random_template_is_refused_before_it_is_paid_for(fresh: Path, serve: Serve) -> None:
    served = serve()
    (fresh / "odd.j2").write_text(
        '{% set answers = ["result"] %}\n{{ guidelines }}\n{{ ["a", "b"] | random }}\nresult =\n'
    )
    tables = own(
        fresh, [sentence(f"Yuko Kano{i}") for i in range(20)], strategy="odd.j2",
        backend="openai", base_url=served.url,
    )  # fmt: skip
    with pytest.raises(HarnessError, match=r"odd\.j2"):
        run(parse_experiment(tables))
    assert served.stats()["answered"] == 0


def test_signature_changes_with_the_english(fresh: Path) -> None:
    signatures = []
    for english, policy in (("in Kano", "skip"), ("at Kano", "skip"), ("at Kano", "source")):
        tables = own(fresh, [sentence("Yuko Kano", english=english)], strategy="transfusion")
        tables["translation"] = {"source": "reference", "untranslatable": policy}
        result = run(parse_experiment(tables))
        signatures.append(compare(result.folder.path)["signature"][0])
    assert len(set(signatures)) == 3


def test_nothing_translated_is_an_error(fresh: Path) -> None:
    tables = own(fresh, [sentence("Yuko Kano")], strategy="transfusion")
    with pytest.raises(HarnessError, match="not one sentence has a translation"):
        run(parse_experiment(tables))


def test_untranslatable_sentences(fresh: Path) -> None:
    data = [sentence("Yuko Kano", english="He is in Kano"), sentence("Yuko Lagos")]
    for policy, wanted in (("skip", ["ok", "untranslated"]), ("source", ["ok", "ok"])):
        tables = own(fresh, data, strategy="transfusion")
        tables["translation"] = {"untranslatable": policy}
        result = run(parse_experiment(tables))
        assert [row["status"] for row in lines(result.folder.path)] == wanted
    tables["translation"] = {"untranslatable": "error"}
    with pytest.raises(HarnessError, match="1 of 2 sentences have no translation"):
        run(parse_experiment(tables))


def test_files_by_language(fresh: Path) -> None:
    tables = own(fresh, [])
    for code in ("swa", "yor"):
        (fresh / f"news_{code}.jsonl").write_text(json.dumps(sentence(f"Yuko {code}")) + "\n")
    tables["datasets"][0] |= {"path": "news_{language}.jsonl", "languages": "all"}
    result = run(parse_experiment(tables))
    assert [row["language"] for row in lines(result.folder.path)] == ["swa", "yor"]


def test_the_limit_is_part_of_the_resolved_experiment(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(
        'datasets = [{ name = "demo", languages = ["swa"] }]\n'
        'systems = [{ name = "A", backend = "scripted", strategy = "direct" }]\n'
    )
    assert harness("run", "x.toml", "--limit", "3").code == 0
    assert len(lines(tmp_path / "x")) == 3
    assert load_experiment(tmp_path / "x").datasets[0].limit == 3
    assert harness("run", "x/experiment.toml", "--offline").code == 0
    assert len(lines(tmp_path / "x")) == 3
    assert harness("run", "x.toml", "--limit", "0").code == 2


def test_a_folder_renewed_from_its_resolved_file_keeps_its_name(
    harness: Harness, tmp_path: Path
) -> None:
    (tmp_path / "x.toml").write_text(
        'datasets = [{ name = "demo", languages = ["swa"], limit = 2 }]\n'
        'systems = [{ name = "A", backend = "scripted", strategy = "direct" }]\n'
    )
    for file in ("x.toml", "x/experiment.toml", "x.toml"):
        assert harness("run", file).code == 0
        manifest = json.loads((tmp_path / "x" / "manifest.json").read_text())
        assert manifest["experiment"] == "x"
    assert harness("run", "x/experiment.toml", "--out", "copy").code == 0
    assert json.loads((tmp_path / "copy" / "manifest.json").read_text())["experiment"] == "x"


def test_a_folder_belongs_to_one_experiment(harness: Harness, tmp_path: Path) -> None:
    text = (
        'datasets = [{ name = "demo", languages = ["swa"], limit = 1 }]\n'
        'systems = [{ name = "A", backend = "scripted", strategy = "direct" }]\n'
    )
    (tmp_path / "x.toml").write_text(text)
    (tmp_path / "y.toml").write_text(text)
    assert harness("run", "x.toml").code == 0
    refused = harness("run", "y.toml", "--out", "x")
    assert refused.code == 2
    assert "holds the results of experiment 'x'" in refused.err
    # A file that happens to be called experiment.toml is nobody's results.
    (tmp_path / "experiment.toml").write_text("# my own\n" + text)
    assert harness("run", "experiment.toml").code == 0
    assert (tmp_path / "experiment.toml").read_text().startswith("# my own\n")
    assert (tmp_path / "experiment" / "manifest.json").is_file()
    assert harness("run", "x.toml", "--out", "odd.toml").code == 0
    assert (tmp_path / "odd.toml" / "scores.json").is_file()


def test_a_failed_run_leaves_no_folder(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(
        'datasets = [{ name = "demo", languages = ["xxx"] }]\n'
        'systems = [{ name = "A", backend = "scripted", strategy = "direct" }]\n'
    )
    assert harness("run", "x.toml").code == 2
    assert not (tmp_path / "x").exists()


def test_a_store_that_cannot_be_written_is_found_out_before_anything_is_paid(
    harness: Harness, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve()
    file = hosted_experiment(tmp_path, served.url, 3)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file" / "answers.sqlite"))
    ran = harness("run", file)
    assert ran.code == 2
    assert "HARNESS_CACHE" in ran.err
    assert served.stats()["requests"] == 0


def test_demo_is_the_shipped_one(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo.toml").write_text("not toml at all [")
    assert harness("demo").code == 0


def test_escapes_from_a_corpus_do_not_reach_the_terminal(harness: Harness, tmp_path: Path) -> None:
    evil = sentence("Yuko Kano", id="a\x1b[31m", language="swa")
    (tmp_path / "mine.jsonl").write_text(json.dumps(evil) + "\n")
    toml = (
        'datasets = [{ name = "mine", path = "mine.jsonl", format = "jsonl", schema = "demo", '
        'labels = { LOC = "Location" } }]\n'
        'systems = [{ name = "A", backend = "scripted", strategy = "direct" }]\n'
    )
    (tmp_path / "x.toml").write_text(toml)
    for arguments in (["run", "x.toml"], ["show", "x", "nope"], ["preview", "x.toml"]):
        ran = harness(*arguments)
        assert "\x1b" not in ran.out + ran.err, arguments
    (tmp_path / "mine.jsonl").write_text(json.dumps(evil | {"language": "s\x1bwa"}) + "\n")
    ran = harness("run", "x.toml")
    assert ran.code == 2
    assert "\x1b" not in ran.out + ran.err


def test_scripted_answers_are_found_beside_the_file(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jsonl").write_text('{"contains": "text", "reply": " []"}\n')
    (tmp_path / "sub" / "x.toml").write_text(
        'datasets = [{ name = "demo", languages = ["swa"], limit = 1 }]\n'
        'systems = [{ name = "A", backend = "scripted", answers = "a.jsonl", '
        'strategy = "direct" }]\n'
    )
    assert harness("run", "sub/x.toml").code == 0
    assert lines(tmp_path / "sub" / "x")[0]["reply"] == " []"


def test_runs_inside_a_running_loop(fresh: Path) -> None:
    experiment = parse_experiment(own(fresh, [sentence("Yuko Kano")]))

    async def notebook() -> int:
        return run(experiment).sent

    assert asyncio.run(notebook()) == 1


def test_wrong_arguments(fresh: Path) -> None:
    experiment = parse_experiment(own(fresh, [sentence("Yuko Kano")]))
    with pytest.raises(UsageError, match="Did you mean 'truncated'"):
        run(experiment, retry=["truncate"])
    with pytest.raises(UsageError, match="at least 1"):
        run(experiment, limit=-1)
    with pytest.raises(UsageError, match="Offline"):
        run(experiment, offline=True, refresh=True)


def test_results_folder_of_an_unnamed_experiment(fresh: Path) -> None:
    result = run(parse_experiment(own(fresh, [sentence("Yuko Kano")])))
    assert result.folder.path == Path("runs/experiment")
    with pytest.raises(RunFolderError, match="no results here"):
        compare(fresh / "nowhere")


def test_systems_of_the_same_settings_share_a_loaded_model(tmp_path: Path) -> None:
    experiment = parse_experiment(
        {
            "datasets": [{"name": "demo", "languages": ["swa"], "limit": 2}],
            "systems": [
                {"name": name, "backend": "scripted", "model": model, "strategy": "direct"}
                for name, model in (("a", "capitals"), ("b", "capitals"), ("c", "empty"))
            ],
        }
    )
    with Store(tmp_path / "store.sqlite") as store:
        plans = make_plan(prepare(experiment, store), store)
    assert plans[0].backend is plans[1].backend
    assert plans[2].backend is not plans[0].backend


def test_answers_wait_for_a_disk_that_is_full_for_a_while(
    harness: Harness, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(latency_s=0.5)
    file = hosted_experiment(tmp_path, served.url, 20)
    put_many, failed = Store.put_many, 0

    def full_at_first(store: Store, entries: Any, **more: Any) -> int:
        nonlocal failed
        if failed < 2:
            failed += 1
            raise StoreError("no room")
        return put_many(store, entries, **more)

    monkeypatch.setattr(Store, "put_many", full_at_first)
    ran = harness("run", file)
    # Nothing more is sent, and what was in flight is stored once there is room.
    assert ran.code == 3
    answered = served.stats()["answered"]
    with Store() as store:
        assert store.rows("SELECT count(*) FROM answers") == [(answered,)]
    assert 0 < answered < 20
    file.write_text(file.read_text().replace("concurrency = 2", "concurrency = 20"))
    assert harness("run", file).code == 0
    assert served.stats()["answered_twice"] == 0
