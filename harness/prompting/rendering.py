"""Prompts: from an example to the exact bytes that a model is given.

:func:`render` makes the prompt of one example; a run has one :class:`Renderer` a system. A
template is rendered once for each example. The text has the same bytes whether it is sent as it is
(``wrap="completion"``) or as the user's message beside a system message from ``prompts/chat``
(``wrap="chat"``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import ExperimentError, TranslationError, UnknownNameError, unknown_name_message
from harness.prompting import answer_text, lookup
from harness.prompting.answer_schema import response_format
from harness.prompting.schema import Schema, load_schema
from harness.prompting.templates import Template, load_chat_wrapper, load_template
from harness.reading.readers import REPLY_READERS
from harness.records import Example, Prompt

WRAPS = ("completion", "chat")


def render(
    example: Example,
    strategy: str | Path,
    *,
    schema: str | Path | Schema,
    task: str = "ner",
    english: str | None = None,
    wrap: str = "completion",
    format: str = "python",  # noqa: A002
    shots: Sequence[Example] = (),
) -> Prompt:
    """Render one example's prompt; for many, make one :class:`Renderer`.

    Args:
        example: the sentence; its own ``english`` is taken where ``english`` is not given.
        strategy: a template's name under ``prompts/<task>/``, or the path of one.
        schema: a schema's name under ``prompts/schemas/``, the path of one, or one loaded.
        task: the folder in which a strategy's name is looked up.
        english: the translation, for a template that uses ``eng_text``.
        wrap: ``completion`` or ``chat``; the prompt's ``text`` has the same bytes either way.
        format: what the answer is written in, ``python``, or with ``chat`` also ``json``; the
            text has the same bytes either way.
        shots: annotated examples to show, in this order.

    Raises:
        UnknownNameError: an unknown strategy, schema, wrap or format.
        ExperimentError: ``json`` without ``chat``.
        PromptError: a template or schema that cannot be used; starts with ``file:line``.
        TranslationError: a translation is needed and there is none.
    """
    if not isinstance(schema, Schema):
        schema = load_schema(schema)
    renderer = Renderer(load_template(task, strategy), schema, wrap, format=format)
    return renderer.render(example, example.english if english is None else english, shots)


class Renderer:
    """Makes the prompts of one system; everything but the texts is prepared once.

    Attributes:
        system: the system message of ``wrap="chat"``, else ``None``. With ``format="json"`` the
            wrapper ``json`` stands in for the ``default`` one.
        response_format: the schema of an answer in JSON, else ``None``.
        sha256: the hash of the template's source, and of the chat wrapper's and the
            ``response_format`` where there are any.

    Raises:
        UnknownNameError: an unknown wrap, format or chat wrapper.
        ExperimentError: ``format="json"`` with another wrap than ``chat``.
        SchemaError: a class that no answer in JSON can hold.
        TemplateError: the chat wrapper is not usable.
    """

    def __init__(
        self,
        template: Template,
        schema: Schema,
        wrap: str = "completion",
        chat: str | Path = "default",
        format: str = "python",  # noqa: A002
    ) -> None:
        if wrap not in WRAPS:
            raise UnknownNameError(unknown_name_message("wrap", wrap, WRAPS))
        if format not in REPLY_READERS:
            raise UnknownNameError(unknown_name_message("format", format, REPLY_READERS))
        if format == "json" and wrap != "chat":
            raise ExperimentError(
                f'format = "json" needs wrap = "chat", and it is "{wrap}": only a chat can tell a '
                f'model to answer in JSON. Set wrap = "chat", or format = "python".'
            )
        self.template = template
        self.schema = schema
        self.system: str | None = None
        self.response_format: Mapping[str, Any] | None = None
        self.sha256 = template.sha256
        if wrap == "chat":
            leading = template.leading
            wrapper = load_chat_wrapper("json" if format == "json" and chat == "default" else chat)
            self.system = wrapper.fill({"answers": template.answers, "leading": leading})
            self.sha256 = lookup.digest(f"{template.sha256} {wrapper.sha256}")
            if format == "json":
                self.response_format = response_format(schema, template.answers, leading)
                self.sha256 = lookup.digest(f"{self.sha256} {json.dumps(self.response_format)}")

    def render(
        self, example: Example, english: str | None = None, shots: Sequence[Example] = ()
    ) -> Prompt:
        """The prompt of one example; ``english`` is its translation, where the template needs it.

        ``shots`` are shown with their annotations in this order, less those of classes that the
        schema lacks.

        Raises:
            TranslationError: the template uses English, and ``english`` is ``None``.
            TemplateError: the template fails on this example, or shows no ``shots``; starts with
                ``file:line``.
        """
        if english is None and self.template.uses_english:
            raise TranslationError(
                f"Example {example.id} has no English translation, and the template "
                f"'{self.template.name}' uses eng_text. Choose a translation source that covers "
                f"it, or a strategy without English."
            )
        if shots:
            self.template.check_shots()
        known, as_json = self.schema.fields(), self.response_format is not None
        shown = [answer_text.shot_variables(shot, known, as_json=as_json) for shot in shots]
        text = self.template.prompt_text(self.schema.source, example.text, english, shown)
        answers = self.template.answers
        return Prompt(example.id, text, answers, self.system, self.response_format)
