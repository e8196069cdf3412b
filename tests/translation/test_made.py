"""Runs that translate: made once, shared, kept through interruptions, and looked up offline."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from harness import run
from harness.data import catalog
from harness.data.block import Block
from harness.errors import HarnessError, OfflineError, UsageError
from harness.experiment import parse_experiment
from harness.models import settings_for
from harness.records import Answer
from harness.running.asking.progress import Progress
from harness.store import Store
from harness.translation.model import ModelTranslator
from harness.translation.settings import ModelEntry
from tests.conftest import Ran

Harness = Callable[..., Ran]
Tables = Callable[..., dict[str, Any]]
TEXTS = ["Yuko Kano leo.", "Alienda Lagos. Akarudi Abuja.", "Mto Nile", "Yuko Kano leo."]


class Told(Progress):
    """Counts what is translated; interrupts at one."""

    def __init__(self, interrupt_at: int = -1) -> None:
        self.totals: list[int] = []
        self.interrupt_at = interrupt_at

    def translating(self, name: str, done: int, total: int) -> None:
        if not done:
            self.totals.append(total)
        if done == self.interrupt_at:
            raise KeyboardInterrupt


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "predictions.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def small(model: Path, **keys: Any) -> dict[str, Any]:
    return {"source": "nllb", "model": str(model), "max_length": 20, "device": "cpu"} | keys


def test_translations_are_made_once_and_shared(nllb: Path, tables: Tables) -> None:
    made = tables(TEXTS, **small(nllb))
    # Another system, with its own table of the same engine in another batch size.
    other = small(nllb, untranslatable="source")
    made["systems"].append(made["systems"][0] | {"name": "B", "translation": other})
    told = Told()
    result = run(parse_experiment(made), progress=told)
    assert told.totals == [3]
    assert result.translated == 3
    rows = lines(result.folder.path)
    assert {row["status"] for row in rows} == {"ok"}
    assert [row["english"] for row in rows[:4]] == [row["english"] for row in rows[4:]]
    assert all("truncated" in row["translation"]["flags"] for row in rows)
    assert rows[0]["english"] == rows[3]["english"]
    again = run(parse_experiment(made), progress=(told := Told()), offline=True)
    assert (told.totals, again.sent, again.translated) == ([], 0, 0)


def test_another_folder_and_batch_is_the_same_engine(
    nllb: Path, tables: Tables, fresh: Path
) -> None:
    run(parse_experiment(tables(TEXTS, **small(nllb))))
    copy = shutil.copytree(nllb, fresh / "elsewhere")
    same = tables(TEXTS, **small(copy, batch_tokens=7, split_sentences=False))
    assert run(parse_experiment(same)).translated == 0
    for change in ({"beam": 1}, {"max_length": 21}, {"compute_type": "int8"}):
        other = tables(TEXTS, **small(copy) | change)
        assert run(parse_experiment(other)).translated == 3, change


def test_a_cached_rerun_imports_no_engine(nllb: Path, tables: Tables, fresh: Path) -> None:
    (fresh / "x.toml").write_text(tomli_w.dumps(tables(TEXTS, **small(nllb))))
    run_it = "from harness import run, load_experiment; run(load_experiment('x.toml'))"
    look = "import sys; print([m for m in ('torch', 'transformers', 'ctranslate2', 'tokenizers')"
    command = [sys.executable, "-c", f"{run_it}\n{look} if m in sys.modules])"]
    seen = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)]
    assert "ctranslate2" in seen[0].stdout
    assert seen[1].stdout.strip() == "[]"


def test_an_interrupted_run_keeps_what_is_translated(nllb: Path, tables: Tables) -> None:
    made = tables(TEXTS, **small(nllb, batch_tokens=1))
    made["systems"].append({"name": "D", "backend": "scripted", "strategy": "direct"})
    stopped = run(parse_experiment(made), progress=Told(interrupt_at=2))
    assert (stopped.exit_code, stopped.translated, stopped.sent) == (130, 2, 0)
    rows = lines(stopped.folder.path)
    assert {row["status"] for row in rows} == {"unsent"}
    # No prompt was made of a sentence that stood in for its translation.
    assert sum("english" in row for row in rows) < 4
    told = Told()
    assert run(parse_experiment(made), progress=told).exit_code == 0
    assert told.totals == [1]


def test_offline_says_what_is_missing(nllb: Path, tables: Tables) -> None:
    run(parse_experiment(tables(TEXTS[:2], **small(nllb))))
    with pytest.raises(OfflineError, match=r"2 translations are not in the store .*tiny-nllb@"):
        run(parse_experiment(tables([*TEXTS, "Habari"], **small(nllb))), offline=True)


def test_languages_that_cannot_be_translated(nllb: Path, tables: Tables) -> None:
    for policy, status in (("source", "ok"), ("skip", None), ("error", None)):
        made = tables(TEXTS, "bbj", **small(nllb, untranslatable=policy))
        if status is None:
            wanted = "not one sentence" if policy == "skip" else "4 of 4 sentences have no transl"
            with pytest.raises(HarnessError, match=wanted):
                run(parse_experiment(made))
            continue
        rows = lines(run(parse_experiment(made)).folder.path)
        assert {row["status"] for row in rows} == {status}
        assert rows[0]["english"] == TEXTS[0]
    with pytest.raises(HarnessError, match="Unknown language code 'swh_Cyrl'"):
        run(parse_experiment(tables(TEXTS, "swh_Cyrl", **small(nllb))))


def test_english_stands_for_itself(nllb: Path, tables: Tables) -> None:
    result = run(parse_experiment(tables(["He is in Kano."], "eng_Latn", **small(nllb))))
    (row,) = lines(result.folder.path)
    assert (row["english"], row["translation"]) == (
        "He is in Kano.",
        {"source": "original", "flags": []},
    )
    assert result.translated == 0


def test_lines_are_split_into_sentences_if_asked(nllb: Path, tables: Tables) -> None:
    one, two = "Wole Soyinka alizaliwa Abeokuta.", "Mto Nile na Ziwa Victoria, Nigeria."
    parts = run(parse_experiment(tables([two, one], **small(nllb))))
    second, first = (row["english"] for row in lines(parts.folder.path))
    assert first != second
    split = run(parse_experiment(tables([f"{one} {two}"], **small(nllb, split_sentences=True))))
    # Both sentences were in the store by themselves.
    assert split.translated == 0
    assert lines(split.folder.path)[0]["english"] == f"{first} {second}"
    whole = run(parse_experiment(tables([f"{one} {two}"], **small(nllb))))
    assert whole.translated == 1


def test_preview_and_translate(harness: Harness, nllb: Path, tables: Tables, fresh: Path) -> None:
    file, out = fresh / "x.toml", fresh / "english.jsonl"
    file.write_text(tomli_w.dumps(tables(TEXTS, **small(nllb))))
    seen = harness("preview", file)
    assert "4 of 4 are not translated yet; `harness translate FILE` does it" in seen.out
    assert "4 requests to send, 4 of them not translated yet" in seen.out
    assert "not translated yet; as it is with the sentence standing in" in seen.out
    ran = harness("translate", file, "--limit", "1", "--out", out)
    assert ran.code == 0, ran.err
    assert "1 sentences translated now" in ran.out
    assert "2 of 4 are not translated yet" in harness("preview", file).out
    ran = harness("translate", file, "--out", out)
    assert "2 sentences translated now" in ran.out
    assert "truncated 4" in ran.out
    assert harness("translate", file, "--out", out, "--offline").code == 0
    assert harness("translate", file, "--language", "swah").code == 2
    seen = harness("preview", file)
    assert "4 of 4 sentences have a translation" in seen.out
    assert "flagged: truncated 4" in seen.out
    # The file gives a run the same English.
    assert harness("run", file).code == 0
    made = tables(TEXTS, source="file", path=str(out))
    result = run(parse_experiment(made))
    assert result.sent == 0
    assert [row["english"] for row in lines(result.folder.path)] == [
        json.loads(line)["english"] for line in out.read_text("utf-8").splitlines()
    ]


def test_nothing_to_translate(harness: Harness, tables: Tables, fresh: Path) -> None:
    made = tables(TEXTS)
    made["systems"][0]["strategy"] = "direct"
    (fresh / "x.toml").write_text(tomli_w.dumps(made))
    ran = harness("translate", "x.toml")
    assert ran.code == 2
    assert "No system of this experiment uses English" in ran.err


def test_an_exported_cache_holds_the_translations(
    harness: Harness, nllb: Path, tables: Tables, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fresh / "x.toml").write_text(tomli_w.dumps(tables(TEXTS, **small(nllb))))
    assert harness("run", "x.toml").code == 0
    assert (
        "Wrote 6 answers" in harness("cache", "export", "all.jsonl", "--experiment", "x.toml").out
    )
    assert "tiny-nllb" in harness("cache", "ls", "--kind", "translation").out
    monkeypatch.setenv("HARNESS_CACHE", str(fresh / "other.sqlite"))
    assert harness("run", "x.toml", "--offline").code == 2
    assert harness("cache", "import", "all.jsonl").code == 0
    assert harness("run", "x.toml", "--offline").code == 0


def test_answers_alone_are_enough_offline(
    harness: Harness, nllb: Path, tables: Tables, fresh: Path
) -> None:
    model = shutil.copytree(nllb, fresh / "model")
    (fresh / "x.toml").write_text(tomli_w.dumps(tables(TEXTS, **small(model))))
    assert harness("run", "x.toml").code == 0
    signature = harness("compare", "x").out.splitlines()[-1]
    # As for somebody who was given the store and has no such model.
    document = (fresh / "x.toml").read_text()
    shutil.rmtree(model)
    assert harness("run", "x.toml", "--offline").code == 0
    assert harness("compare", "x").out.splitlines()[-1] == signature
    (fresh / "x.toml").write_text(document.replace('device = "cpu"', 'revision = "other"'))
    ran = harness("run", "x.toml", "--offline")
    assert (ran.code, "model" in ran.err) == (2, True)


def scripted(fresh: Path, **keys: Any) -> dict[str, Any]:
    """A model that translates by a script."""
    replies = [
        {"contains": "Yuko Kano leo.\n", "reply": " He is in Kano\ntoday.\n"},
        {"contains": "Yuko Kano leo.", "reply": " He is in Kano\ntoday.\n"},
        {"contains": "Mto Nile", "reply": "  "},
        {"contains": "Alienda", "reply": "He went to Lagos. " * 4},
    ]
    (fresh / "english.jsonl").write_text("".join(json.dumps(r) + "\n" for r in replies))
    own = {"source": "model", "backend": "scripted", "answers": "english.jsonl"}
    return own | keys


def test_a_model_translates(tables: Tables, fresh: Path) -> None:
    made = tables(TEXTS, **scripted(fresh))
    result = run(parse_experiment(made))
    # Three sentences that differ, and three prompts with English: one translation is blank.
    assert (result.translated, result.sent, result.cost) == (3, 5, 0)
    rows = lines(result.folder.path)
    assert [row["status"] for row in rows] == ["ok", "ok", "untranslated", "ok"]
    assert rows[0]["english"] == "He is in Kano today."
    assert rows[1]["translation"] == {"source": "model", "flags": ["repeating"]}
    with Store(read_only=True) as store:
        assert store.rows("SELECT count(*) FROM answers WHERE kind = 'translation'") == [(3,)]
    assert run(parse_experiment(made), offline=True).sent == 0
    strict = tables(TEXTS, **scripted(fresh, untranslatable="error"))
    with pytest.raises(HarnessError, match="1 of 4 sentences have no translation"):
        run(parse_experiment(strict))


@pytest.mark.parametrize(
    ("dataset", "language", "wanted"),
    [
        ("masakhaner2", "swa", "the following Swahili text into"),
        ("masakhaner2", "bbj", "the following Ghomálá' text into"),
        ("uner", "zh_pud", "the following Chinese"),
        ("demo", "yor", "the following Yoruba text into"),
        ("demo", "quy_Latn", "the following quy_Latn text into"),
        ("demo", "und", "the following text into"),
    ],
)
def test_a_model_is_told_the_language(dataset: str, language: str, wanted: str) -> None:
    block = Block(catalog()[dataset], language, "test", [])
    prompt = model_translator("gpt-4o").prompt(block, "Mto Nile")
    assert wanted in prompt.text
    assert prompt.text.endswith("\n\nMto Nile")
    assert prompt.system == ""


def test_translations_that_fail_are_made_again(
    harness: Harness, tables: Tables, fresh: Path
) -> None:
    broken = scripted(fresh, error_500=1.0, retry_after_s=0.0, model="capitals")
    (fresh / "x.toml").write_text(tomli_w.dumps(tables(TEXTS, **broken)))
    ran = harness("run", "x.toml")
    assert ran.code == 3, ran.err
    rows = lines(fresh / "x")
    assert {row["status"] for row in rows} == {"untranslated"}
    assert rows[0]["error"] == "scripted 500"
    assert harness("translate", "x.toml").code == 3
    strict = tables(TEXTS, **broken, untranslatable="error")
    with pytest.raises(HarnessError, match=r"3 translations failed|4 translations failed"):
        run(parse_experiment(strict))
    (fresh / "x.toml").write_text(tomli_w.dumps(tables(TEXTS, **scripted(fresh))))
    assert harness("run", "x.toml").code == 0


def test_preview_of_a_model_that_translates(harness: Harness, tables: Tables, fresh: Path) -> None:
    made = tables(TEXTS, source="model", backend="openai", model="gpt-4o")
    (fresh / "x.toml").write_text(tomli_w.dumps(made))
    seen = harness("preview", "x.toml")
    assert "=== English: model openai:gpt-4o+default#" in seen.out
    block = seen.out.split("=== A")[0]
    assert "price $0.00" in block
    assert "All systems: $0.00" in seen.out
    # The price of the translations is in the sum: the system itself costs nothing.
    assert "All systems: $0–" not in seen.out


def model_translator(model: str) -> ModelTranslator:
    settings = settings_for("openai", {"model": model})
    return ModelTranslator(ModelEntry(backend="openai", wrap="chat", settings=settings), Store())


def test_what_a_model_declines_is_no_translation() -> None:
    translator = model_translator("gpt-4o")

    def answer(text: str, finish: str) -> Answer:
        choice = {"message": {"content": text}, "finish_reason": finish}
        return Answer(json.dumps({"choices": [choice]}), 0.0)

    cut = translator.read(answer("He is in", "length"))
    assert cut is not None
    assert (cut.text, cut.truncated) == ("He is in", True)
    assert translator.read(answer("He is", "content_filter")) is None
    assert translator.read(answer(" \n", "stop")) is None


def test_a_template_of_ones_own(tables: Tables, fresh: Path) -> None:
    (fresh / "mine.j2").write_text("{{ language }}: {{ text }}\nEnglish:")
    keys = scripted(fresh, template="mine.j2", wrap="completion")
    assert run(parse_experiment(tables(TEXTS, **keys))).translated == 3
    (fresh / "mine.j2").write_text("Translate it.")
    with pytest.raises(HarnessError, match=r"has to hold \{\{ text \}\}"):
        run(parse_experiment(tables(TEXTS, **keys)))
    with pytest.raises(UsageError, match=r"nine\.j2"):
        parse_experiment(tables(TEXTS, **keys | {"template": "nine.j2"}))
