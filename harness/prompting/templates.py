"""Templates: from an example to the exact bytes that a model is given.

A strategy is a Jinja file, ``prompts/<task>/<strategy>.j2``. It is rendered once an example, and
the text is the same whether it is sent as it is (``wrap="completion"``) or as the user's message
beside a system message from ``prompts/chat`` (``wrap="chat"``). A template may use:

``guidelines``
    the source of the schema's classes
``text``
    the text to annotate, a plain string
``eng_text``
    its English translation, a plain string; a template that names it needs a translation
``shots``
    the annotated examples to show, in their order, none where the experiment asks for none; a
    template that does not name it cannot show any. Each has ``text`` and ``gold``, and for the
    templates that name them ``eng_text``, its English, and ``eng_gold``, the annotations of
    that: texts are plain strings, annotations are lists as Python source, with
    ``format="json"`` as JSON
``assign(name, value)``
    the statement ``name = "value"`` as black writes it, which no text can break out of
``literal(value)``
    the string literal alone

It declares the lists that the answer holds, in order, the scored one last, as in
``{% set answers = ["result", "final_result"] %}``, and ends right after an equals sign. Lines
that hold a Jinja tag or comment leave nothing behind; any other name is an error. A template is
one file, so that the hash of its source stands for the whole prompt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
from jinja2 import meta, nodes

from harness.errors import (
    ExperimentError,
    TemplateError,
    TranslationError,
    UnknownNameError,
    unknown,
)
from harness.prompting import answer_text, lookup
from harness.prompting.answer_schema import response_format
from harness.prompting.literals import assignment, literal
from harness.prompting.schema import Schema, load_schema
from harness.reading.formats import FORMATS
from harness.records import Example, Prompt

WRAPS = ("completion", "chat")

_VARIABLES = ("guidelines", "text", "eng_text", "shots", "assign", "literal")
_TRIAL = "A text to try it with."
_SHOT_PARTS = ("text", "gold", "eng_text", "eng_gold")
_ENVIRONMENT = jinja2.Environment(
    undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)
# A prompt is the same each time it is rendered: nothing random, and only the variables above.
del _ENVIRONMENT.filters["random"]
_ENVIRONMENT.globals.clear()
_OTHER_FILES = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)


@dataclass(frozen=True)
class Template:
    """A strategy's template, or a chat wrapper's (which declares no answers).

    ``answers`` names the lists that a reply holds, in order; ``uses_english`` says whether the
    template needs a translation. ``shot_parts`` are those of ``text``, ``gold``, ``eng_text``
    and ``eng_gold`` that it shows of an annotated example, none where it shows no examples.
    """

    name: str
    path: Path
    source: str
    answers: tuple[str, ...]
    uses_english: bool
    shot_parts: tuple[str, ...]
    _compiled: jinja2.Template = field(repr=False, compare=False)

    @cached_property
    def sha256(self) -> str:
        """The hash of the template's source."""
        return lookup.digest(self.source)

    def check_shots(self) -> None:
        """Raises TemplateError where this template cannot show annotated examples."""
        if not self.shot_parts:
            raise TemplateError(
                f"{self.path}:1: the template shows no examples: it does not name the variable "
                f"`shots`. Add a loop over it as prompts/ner/direct.j2 has one, or set shots = 0."
            )

    def fill(self, values: Mapping[str, object]) -> str:
        """The template's text with these values; raises TemplateError with file and line."""
        try:
            return self._compiled.render(values)
        except Exception as problem:  # a template can run into any error of Python's
            line = _line_of(problem, self.path)
            raise TemplateError(
                f"{self.path}:{line}: {problem}. Correct the template there."
            ) from problem


class Renderer:
    """Renders the prompts of one system; everything but the texts is prepared once.

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
            raise UnknownNameError(unknown("wrap", wrap, WRAPS))
        if format not in FORMATS:
            raise UnknownNameError(unknown("format", format, FORMATS))
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
            leading = _leading(template)
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
        text = _fill(self.template, self.schema.source, example.text, english, shown)
        answers = self.template.answers
        return Prompt(example.id, text, answers, self.system, self.response_format)


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


def load_template(task: str, strategy: str | Path) -> Template:
    """Read and check a template: a name under ``prompts/<task>/``, or the path of a ``.j2``.

    Raises:
        UnknownNameError: the task has no template of that name.
        TemplateError: the file is no usable template; starts with ``file:line``.
    """
    template = _read(lookup.locate(f"{task} strategy", task, ".j2", strategy), _VARIABLES)
    # A trial shows what only running shows, before a run has paid for anything.
    shot = SimpleNamespace(text=_TRIAL, gold="[]", eng_text=_TRIAL, eng_gold="[]")
    for shots in [[], [shot]] if template.shot_parts else [[]]:
        _fill(template, "guidelines", _TRIAL, _TRIAL, shots)
    return template


def load_chat_wrapper(name: str | Path) -> Template:
    """Read a chat wrapper: a name under ``prompts/chat/``, or the path of a ``.j2``.

    Raises:
        UnknownNameError: there is no wrapper of that name.
        TemplateError: the file is no usable wrapper; starts with ``file:line``.
    """
    path = lookup.locate("chat wrapper", "chat", ".j2", name)
    return _read(path, ("answers", "leading"), lists=False)


def load_translation_template(name: str | Path) -> Template:
    """Read what a model is asked that translates: a name under ``prompts/translation/``, or a path.

    It may use ``text`` and ``language``, the language's English name (empty where unknown).

    Raises:
        UnknownNameError: there is no template of that name.
        TemplateError: the file is no usable template; starts with ``file:line``.
    """
    path = lookup.locate("translation template", "translation", ".j2", name)
    template = _read(path, ("text", "language"), lists=False)
    if _TRIAL not in template.fill({"text": _TRIAL, "language": "Swahili"}):
        raise TemplateError(
            f"{path}:1: the template has to hold {{{{ text }}}}, what to translate."
        )
    return template


def _fill(
    template: Template,
    guidelines: str,
    text: str,
    english: str | None,
    shots: Sequence[SimpleNamespace] = (),
) -> str:
    """A prompt's text; it has to end where the model goes on."""
    values = {
        "guidelines": guidelines,
        "text": text,
        "shots": shots,
        "assign": assignment,
        "literal": literal,
    }
    if english is not None:
        values["eng_text"] = english
    prompt = template.fill(values)
    if not prompt.endswith(" ="):
        last = template.source.rstrip().count("\n") + 1
        raise TemplateError(
            f"{template.path}:{last}: the prompt has to end right after an equals sign. Let the "
            f"last line be '{template.answers[0]} =', with nothing behind it."
        )
    return prompt


def _leading(template: Template) -> str | None:
    """The name at which a prompt breaks off, ``None`` where it is an answer's."""
    last = _fill(template, "guidelines", _TRIAL, _TRIAL).rpartition("\n")[2]
    name = last.removesuffix(" =").strip()
    return name if name.isidentifier() and name not in template.answers else None


def _read(path: Path, variables: tuple[str, ...], *, lists: bool = True) -> Template:
    """Read, check and compile a template that may use ``variables``; ``lists``: declares some."""
    source = lookup.read(path, TemplateError)
    try:
        tree = _ENVIRONMENT.parse(source, filename=str(path))
        code = _ENVIRONMENT.compile(tree, filename=str(path))
    except jinja2.TemplateSyntaxError as problem:
        raise TemplateError(
            f"{path}:{problem.lineno}: {problem.message}. Correct the template there."
        ) from None
    if other := next(tree.find_all(_OTHER_FILES), None):
        raise TemplateError(
            f"{path}:{other.lineno}: a template is one file, for its hash has to stand for the "
            f"whole prompt. Copy in what it takes from elsewhere."
        )
    used = meta.find_undeclared_variables(tree)
    for name in sorted(used - set(variables)):
        line = min(node.lineno for node in tree.find_all(nodes.Name) if node.name == name)
        raise TemplateError(f"{path}:{line}: {unknown('variable', name, variables)}")
    compiled = jinja2.Template.from_code(_ENVIRONMENT, code, {})
    answers = _answers(path, tree) if lists else ()
    shown = _shot_parts(tree) if "shots" in used else ()
    return Template(path.stem, path, source, answers, "eng_text" in used, shown, compiled)


def _shot_parts(tree: nodes.Template) -> tuple[str, ...]:
    """What a template takes of its shots: ``shot.gold``, ``shot["gold"]``."""
    named = {node.attr for node in tree.find_all(nodes.Getattr)}
    named |= {n.arg.value for n in tree.find_all(nodes.Getitem) if isinstance(n.arg, nodes.Const)}
    return tuple(part for part in _SHOT_PARTS if part in named)


def _answers(path: Path, tree: nodes.Template) -> tuple[str, ...]:
    """The lists that a template declares at its top level."""
    line, value = 1, None
    for node in tree.find_all(nodes.Assign):
        if getattr(node.target, "name", "") == "answers" and isinstance(node.node, nodes.Expr):
            line = node.lineno
            with suppress(nodes.Impossible):
                value = node.node.as_const()
    names = tuple(value) if isinstance(value, list | tuple) else ()
    named = all(isinstance(name, str) and name.isidentifier() for name in names)
    if not names or not named or len(set(names)) < len(names):
        raise TemplateError(
            f"{path}:{line}: the template has to name the lists that the answer holds, in order "
            f'and the scored one last. Write {{% set answers = ["result", "final_result"] %}}, '
            f"or the names that it uses."
        )
    return names


def _line_of(problem: BaseException, path: Path) -> int:
    """The last line of the template that an error passed through."""
    line, trace = 1, problem.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
