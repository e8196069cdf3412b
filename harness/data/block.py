"""The unit of a table's row."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.dataset import Dataset
from harness.records import Example


@dataclass(frozen=True, slots=True)
class Block:
    """The examples of one dataset and language, the unit of a table's row.

    ``altered`` says that they come from a local file that is not the pinned one.
    """

    dataset: Dataset
    language: str
    split: str
    examples: list[Example]
    altered: bool = False
