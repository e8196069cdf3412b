"""``source = "model"``: a model of any backend translates, by the same path as other prompts."""

from __future__ import annotations

from functools import lru_cache

from harness.data import catalog
from harness.data.block import Block
from harness.data.dataset import UNDETERMINED
from harness.models import open_backend
from harness.models.prices import Prices
from harness.prompting.templates import load_translation_template
from harness.records import Answer, Prompt, Request
from harness.store import Store
from harness.translation.settings import ModelEntry
from harness.translation.stored import StoredTranslator, TranslatedText

# The finish reasons of replies that hold no translation.
_DECLINED = ("refusal", "content_filter")


class ModelTranslator(StoredTranslator):
    """A model that translates. Its answers are stored and priced as those to other prompts.

    Raises:
        PromptError: the template cannot be used.
    """

    source = "model"

    def __init__(self, entry: ModelEntry, store: Store, prices: Prices | None = None) -> None:
        super().__init__(store)
        self.entry = entry
        self.backend = open_backend(entry.settings, prices)
        self.template = load_translation_template(entry.template)
        self.identity = (
            f"{entry.backend}:{entry.settings.model}"
            f"+{self.template.name}#{self.template.sha256[:8]}"
        )

    def covers(self, block: Block) -> bool:
        """Any language may be tried."""
        return True

    def prompt(self, block: Block, text: str) -> Prompt:
        """The prompt for one sentence: a chat of one message, or plain text."""
        values = {"text": text, "language": language_name(block)}
        system = "" if self.entry.wrap == "chat" else None
        return Prompt("", self.template.fill(values), (), system)

    def request(self, block: Block, text: str) -> Request:
        """The backend's whole request."""
        return self.backend.request(self.prompt(block, text))

    def read(self, answer: Answer) -> TranslatedText | None:
        """The reply on one line; ``None`` where the model declined or said nothing."""
        reply = self.backend.reply(answer, cached=True)
        text = " ".join(reply.text.split())
        if not text or reply.finish_reason in _DECLINED:
            return None
        return TranslatedText(text, reply.finish_reason == "length")


def language_name(block: Block) -> str:
    """The English name of a block's language; its code where none is known, or the empty text."""
    row = block.dataset.table.get(block.language)
    if row is not None:
        return row.name
    code = block.dataset.nllb_code(block.language)
    name = _names().get(code or "", block.language)
    return "" if name == UNDETERMINED else name


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """The catalogue's names of languages by NLLB code."""
    return {
        nllb: row.name
        for dataset in catalog().values()
        for code, row in dataset.table.items()
        if (nllb := dataset.nllb_code(code))
    }
