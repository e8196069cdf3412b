"""What a run would ask: every prompt, its key in the store, and whether it is answered already.

A plan is the run up to the moment of sending. ``preview`` stops here; ``run`` sends what is
pending and reads the answers. Prompts are not kept (a large run would not fit in memory): they
are rendered again when they are sent, which costs microseconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from harness.data.block import Block
from harness.data.shots import ShotSelection
from harness.errors import TemplateError
from harness.experiment import System
from harness.models.protocol import Backend
from harness.prompting.rendering import Renderer
from harness.prompting.templates import Template
from harness.reading.readers import REPLY_READERS
from harness.records import Example, Prediction, Prompt, Reply, Request, Translation
from harness.store import ANSWER_KINDS, request_key


@dataclass(slots=True)
class Cell:
    """One block under one system, asked for the ``repeat``-th time (from 0).

    ``render`` makes a prompt of an example and its English. ``translations``, ``keys`` and
    ``prompt_hashes`` have one entry an example. A key is ``None`` where no prompt can be made: the
    template needs a translation, and there is none, or none yet. ``pending_translations`` maps
    the index of each example that can still be translated to the key of a missing translation.
    """

    block: Block
    render: Callable[[Example, str | None], Prompt]
    fields: dict[str, tuple[str, ...]]
    translations: list[Translation | None]
    pending_translations: Mapping[int, str] = field(default_factory=dict)
    repeat: int = 0
    keys: list[str | None] = field(default_factory=list)
    prompt_hashes: list[str | None] = field(default_factory=list)

    def prompt(self, index: int) -> Prompt:
        """The prompt of example ``index``, the same bytes each time.

        Without its translation it is an estimate: the sentence itself stands in.
        """
        example, translation = self.block.examples[index], self.translations[index]
        if index in self.pending_translations:
            return self.render(example, example.text)
        return self.render(example, None if translation is None else translation.text)

    @property
    def place(self) -> str:
        """``dataset/language``."""
        return f"{self.block.dataset.name}/{self.block.language}"

    def english_sha256(self) -> str:
        """The hash of the English that the prompts hold, in order."""
        texts = [None if t is None else t.text for t in self.translations]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


@dataclass(slots=True)
class SystemPlan:
    """Everything one system is to be asked.

    ``translation`` is the identity of its English, ``None`` if it needs none. ``left_out`` are
    the blocks without any translation, as ``dataset/language``. ``pending`` maps each key that is
    to be asked to the first cell and index that need it. Two systems may have pending keys in
    common; the first of them asks. Answers from before ``since`` do not count. ``renderers`` has
    an entry a dataset, ``shots`` one a block, as ``dataset/language``. ``kind`` is the kind of
    the answers in the store.
    """

    system: System
    backend: Backend
    template: Template
    translation: str | None
    cells: list[Cell]
    left_out: list[str] = field(default_factory=list)
    renderers: dict[str, Renderer] = field(default_factory=dict)
    shots: dict[str, ShotSelection] = field(default_factory=dict)
    pending: dict[str, tuple[Cell, int]] = field(default_factory=dict)
    kind: str = ANSWER_KINDS[0]
    since: datetime | None = None

    @property
    def batched(self) -> bool:
        """Whether the Batch API is asked."""
        return self.backend.batch_client is not None

    def request(self, cell: Cell, index: int) -> Request:
        """The whole request of one example."""
        return self.backend.request(cell.prompt(index), cell.repeat)

    def request_of(self, key: str) -> Request:
        """The request of a pending key, rendered again.

        Raises:
            TemplateError: it differs from the one that the key was made of. Its answer would be
                stored under another key than it is looked up by.
        """
        request = self.request(*self.pending[key])
        if request_key(request) != key:
            raise TemplateError(
                f"{self.template.path}: the template gives another prompt each time. "
                f"Take out what is random or depends on the time."
            )
        return request

    def worst_case(self, request: Request) -> int | None:
        """The most that a request can cost, in nano-dollars; ``None`` if that is unknown."""
        price = self.backend.price
        return None if price is None else price.worst_case(request.body)

    def read(self, cell: Cell, index: int, reply: Reply) -> Prediction:
        """A reply read into annotations, under the classes that the cell's schema knows."""
        return REPLY_READERS[self.system.format](
            reply.text,
            self.template.answers,
            fields=cell.fields,
            finish_reason=reply.finish_reason,
            example_id=cell.block.examples[index].id,
        )

    def answered(self, cell: Cell) -> int:
        """The number of examples of a cell that the store can answer already."""
        return sum(key is not None and key not in self.pending for key in cell.keys)
