"""Corpora: catalogue, files, one reader per format, and the English they come with."""

from harness.data.catalog import catalog, resolve
from harness.data.check import FileReport, LanguageRow, check, describe
from harness.data.dataset import Dataset
from harness.data.loading import load_dataset, load_examples

__all__ = [
    "Dataset",
    "FileReport",
    "LanguageRow",
    "catalog",
    "check",
    "describe",
    "load_dataset",
    "load_examples",
    "resolve",
]
