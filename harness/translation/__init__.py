"""Where the English beside a sentence comes from."""

from harness.translation.sources import Translator, open_translator, text_sha256

__all__ = ["Translator", "open_translator", "text_sha256"]
