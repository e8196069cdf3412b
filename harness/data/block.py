"""The examples of one row of a results table."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.dataset import Dataset
from harness.records import Example


@dataclass(frozen=True, slots=True)
class Block:
    """The examples of one dataset, language and split; a table has one row for each block.

    ``altered`` is true if they come from a local file that differs from the pinned one.
    """

    dataset: Dataset
    language: str
    split: str
    examples: list[Example]
    altered: bool = False
