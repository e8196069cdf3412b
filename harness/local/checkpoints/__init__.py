"""Local models on disk: found, checked, identified, tokenised, converted, and measured.

Backends and translators build on it; it knows neither prompts nor engines. It imports torch,
transformers and ctranslate2 only to convert a model.
"""

from __future__ import annotations

from harness.local.checkpoints.checkpoint import Checkpoint, find_checkpoint, local_name
from harness.local.checkpoints.conversion import converted_folder, peak_bytes, require_converter
from harness.local.checkpoints.devices import exact_type, pick_device
from harness.local.checkpoints.memory import require_memory
from harness.local.checkpoints.tokenizer import TextTokenizer, load_tokenizer, raw_tokenizer

__all__ = [
    "Checkpoint",
    "TextTokenizer",
    "converted_folder",
    "exact_type",
    "find_checkpoint",
    "load_tokenizer",
    "local_name",
    "peak_bytes",
    "pick_device",
    "raw_tokenizer",
    "require_converter",
    "require_memory",
]
