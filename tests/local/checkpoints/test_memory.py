from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import CheckpointError
from harness.local.checkpoints import (
    find_checkpoint,
    memory,
    peak_bytes,
    pick_device,
    require_memory,
)
from harness.local.checkpoints.devices import gpus
from tests.helpers import tiny_models


def test_the_estimate_goes_by_the_number_of_weights(llama: Path, tmp_path: Path) -> None:
    full = find_checkpoint(str(llama))
    half = find_checkpoint(str(tiny_models.llama(tmp_path / "half", dtype="float16")))
    assert memory.weights(full) == pytest.approx(memory.weights(half), rel=0.05)
    fixed = memory.estimate_bytes(full, 0)
    assert memory.estimate_bytes(full, 4) - fixed == pytest.approx(
        4 * (memory.estimate_bytes(full, 1) - fixed), abs=4
    )


def test_a_model_that_does_not_fit_is_refused_with_both_figures(llama: Path) -> None:
    checkpoint = find_checkpoint(str(llama))
    require_memory(checkpoint, 4, "cpu")
    with pytest.raises(CheckpointError) as error:
        require_memory(checkpoint, 4 * 2**30, "cpu", advice="Take a smaller one.")
    message = str(error.value)
    assert message.count("GiB") == 2
    assert message.endswith("Take a smaller one.")


def test_what_is_free_is_no_more_than_what_there_is() -> None:
    free = memory.available()
    assert free is not None
    assert 0 < free < 2**50


def test_the_limit_of_a_control_group_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(f"{2**20}\n")
    (tmp_path / "memory.current").write_text(f"{2**19 + 4096}\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 4096\nactive_file 0\n")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_lines_of_groups", lambda: ["0::/some/where/inside"])
    assert memory.available() == 2**19
    (tmp_path / "memory.max").write_text("max\n")
    assert (memory.available() or 0) > 2**20


def test_devices() -> None:
    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") == ("cuda" if gpus() else "cpu")
    for wrong in ("gpu", "cuda:x", "", "mps"):
        with pytest.raises(CheckpointError, match="Choices: auto, cpu, cuda, cuda:N"):
            pick_device(wrong)
    with pytest.raises(CheckpointError, match="the driver of this machine shows"):
        pick_device(f"cuda:{len(gpus())}")


def test_a_model_that_is_read_in_a_larger_type_needs_room_for_that(
    llama: Path, tmp_path: Path
) -> None:
    half = find_checkpoint(str(tiny_models.llama(tmp_path / "half", dtype="float16")))
    full = find_checkpoint(str(llama))
    wanted = ("float32", "float16", "int8")
    assert [peak_bytes(full, kind) for kind in wanted] == [4, 4, 4]
    assert [peak_bytes(half, kind) for kind in wanted] == [4, 2, 2]
