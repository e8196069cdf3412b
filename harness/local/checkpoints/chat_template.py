"""Chat templates: messages as the text that a model was trained on.

Templates get the environment that their authors write for, that of the transformers library,
without importing it. The one difference is that they get no date: the key of a prompt would
change from day to day, and common templates have a fixed date for this case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import CheckpointError
from harness.local.checkpoints import model_files


def find_template(folder: Path) -> str | None:
    """The source of a folder's chat template: a file of its own, else the configuration's."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    for name in ("tokenizer_config.json", "chat_template.json"):
        template = model_files.read_json(folder / name).get("chat_template")
        if isinstance(template, list):  # several by name
            named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
            template = named.get("default")
        if isinstance(template, str):
            return template
    return None


def render_chat(
    template: str, messages: Sequence[Mapping[str, Any]], special_tokens: Mapping[str, str]
) -> str:
    """The text of a chat, up to where the model's answer begins.

    ``special_tokens`` has the texts of the tokens that templates name, such as ``bos_token``.

    Raises:
        CheckpointError: the template is wrong, or refuses these messages.
    """
    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import Node
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks the model's text for training; it changes nothing here."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> list[Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    try:
        return environment.from_string(template).render(
            messages=messages, add_generation_prompt=True, **special_tokens
        )
    except Exception as error:  # a template is a program, and may fail in any way
        raise CheckpointError(
            f"The model's chat template does not take these messages: {error}. Use "
            f'wrap = "completion", or a `chat` wrapper without a system text.'
        ) from None
