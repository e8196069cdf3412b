"""The wheel carries all it needs: it works in an empty environment, away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_demo_from_a_wheel_in_an_empty_environment(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
    subprocess.run([*build, str(tmp_path / "dist"), str(ROOT)], check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "harness/_shipped/prompts/ner/transfusion.j2" in names
    assert "harness/_shipped/prompts/schemas/masakhaner2.py" in names
    assert "harness/data/demo/swa.test.jsonl" in names
    assert not [n for n in names if n.startswith(("tests/", "benchmarks/"))]
    assert "harness/training/trainers.py" in names
    assert "harness/training/recipes/tiny-gollie-tf.toml" in names
    assert not [n for n in names if "synthetic" in n]

    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("HARNESS_", "PYTHON"))},
        "HARNESS_CACHE": str(tmp_path / "store.sqlite"),
    }
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = ["--constraint", ROOT / "constraints.txt"]
    subprocess.run([*install, *constraints, wheel], check=True, env=environment)
    away = tmp_path / "away"
    away.mkdir()
    harness = tmp_path / "env" / "bin" / "harness"
    ran = subprocess.run(
        [harness, "demo"], cwd=away, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "macro (6)" in ran.stdout
    assert (away / "runs" / "demo" / "scores.json").is_file()
    listed = subprocess.run(
        [harness, "ls", "prompts"], cwd=away, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "self-translate" in listed.stdout
    # The text of the models that ship stays in the checkout.
    trained = subprocess.run(
        [harness, "train", "tiny-gollie-tf", "--out", "model"], cwd=away, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert trained.returncode == 2
    message = " ".join(trained.stderr.split())
    assert "The text of the models that ship is in the source checkout only" in message
    assert "Traceback" not in trained.stderr
    assert not (away / "model").exists()
    # Nothing was taken from the checkout.
    home = subprocess.run(
        [python, "-c", "import harness; print(harness.__file__)"],
        cwd=away, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert home.stdout.startswith(str(tmp_path / "env"))
