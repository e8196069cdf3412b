"""Local models on disk: found, checked, identified, tokenised, converted, and measured.

Knows nothing of prompts or of engines that generate; a backend or a translator takes it from
here. No torch, transformers or ctranslate2 is imported unless a model is converted.
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
