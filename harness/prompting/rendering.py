"""Prompts: from an example to the exact bytes that a model receives.

:func:`render` makes the prompt of one example. A run has one :class:`Renderer` for each system. The
text of a prompt does not depend on ``wrap``. With ``completion`` it is sent alone. With ``chat`` it
is the user's message, after a system message from ``prompts/chat``.
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
    """Render the prompt of one example; for many examples, make one :class:`Renderer`.

    Args:
        example: the sentence.
        strategy: the name of a template under ``prompts/<task>/``, or a path.
        schema: the name of a schema under ``prompts/schemas/``, a path, or a loaded schema.
        task: the folder in which the name of a strategy is looked up.
        english: the translation, for a template that uses ``eng_text``; by default the example's
            own ``english``.
        wrap: ``completion`` or ``chat``; the ``text`` of the prompt is the same.
        format: the format of the answer: ``python``, or with ``chat`` also ``json``. The ``text``
            of the prompt is the same, unless it shows ``shots``.
        shots: annotated examples to show, in this order.

    Raises:
        UnknownNameError: the strategy, schema, wrap or format is unknown.
        ExperimentError: the format is ``json`` and the wrap is not ``chat``.
        PromptError: the template or schema is faulty; the message begins with ``file:line``.
        TranslationError: the template uses English, and there is no translation.
    """
    if not isinstance(schema, Schema):
        schema = load_schema(schema)
    renderer = Renderer(load_template(task, strategy), schema, wrap, format=format)
    return renderer.render(example, example.english if english is None else english, shots)


class Renderer:
    """Makes the prompts of one system; what all of them share is prepared once.

    Attributes:
        system: the system message with ``wrap="chat"``, else ``None``. With ``format="json"`` the
            wrapper ``json`` replaces the wrapper ``default``.
        response_format: the schema of a JSON answer, else ``None``.
        sha256: the hash of the template's source; also of the chat wrapper's source and the
            ``response_format``, if there are any.

    Raises:
        UnknownNameError: the wrap, format or chat wrapper is unknown.
        ExperimentError: the format is ``json`` and the wrap is not ``chat``.
        SchemaError: JSON answers cannot hold a class of the schema.
        TemplateError: the chat wrapper is faulty.
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
        """The prompt of one example; ``english`` is its translation.

        ``shots`` are shown in this order, without annotations of classes that the schema lacks.

        Raises:
            TranslationError: the template uses English, and ``english`` is ``None``.
            TemplateError: the template fails on this example, or it cannot show the ``shots``. The
                message begins with ``file:line``.
        """
        if english is None and self.template.uses_english:
            raise TranslationError(
                f"Example {example.id} has no English translation, and the template "
                f"'{self.template.name}' uses eng_text. Choose a translation source that covers "
                f"it, or a strategy without English."
            )
        if shots:
            self.template.check_shots()
        classes, as_json = self.schema.fields(), self.response_format is not None
        variables = [answer_text.shot_variables(shot, classes, as_json=as_json) for shot in shots]
        text = self.template.prompt_text(self.schema.source, example.text, english, variables)
        answers = self.template.answers
        return Prompt(example.id, text, answers, self.system, self.response_format)
