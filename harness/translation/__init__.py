"""Where the English beside a sentence comes from."""

from harness.translation.model import ModelTranslator
from harness.translation.nllb import NllbTranslator
from harness.translation.opening import open_translator
from harness.translation.sources import English, Translator, text_sha256
from harness.translation.stored import StoredTranslator

__all__ = [
    "English",
    "ModelTranslator",
    "NllbTranslator",
    "StoredTranslator",
    "Translator",
    "open_translator",
    "text_sha256",
]
