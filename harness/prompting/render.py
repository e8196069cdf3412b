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

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import jinja2
from jinja2 import meta, nodes

from harness import resources
from harness.errors import TemplateError, TranslationError, UnknownNameError, unknown
from harness.prompting import files
from harness.prompting.literals import assignment, literal
from harness.prompting.schema import Schema, load_schema
from harness.records import Example, Prompt

WRAPS = ("completion", "chat")

_VARIABLES = ("guidelines", "text", "eng_text", "assign", "literal")
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
    template needs a translation.
    """

    name: str
    path: Path
    source: str
    answers: tuple[str, ...]
    uses_english: bool
    _compiled: jinja2.Template = field(repr=False, compare=False)

    @cached_property
    def sha256(self) -> str:
        """The hash of the template's source."""
        return files.digest(self.source)

    def fill(self, values: Mapping[str, object]) -> str:
        """The template's text with these values; raises TemplateError with file and line."""
        try:
            return self._compiled.render(values)
        except Exception as problem:  # a template can run into any error of Python's
            line = _line_of(problem, self.path)
            raise TemplateError(
                f"{self.path}:{line}: {problem}. Correct the template there."
            ) from problem


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A line of ``harness ls prompts``; ``error`` says why a file is no usable template."""

    task: str
    strategy: str
    origin: str
    answers: tuple[str, ...] = ()
    uses_english: bool = False
    sha256: str = ""
    error: str | None = None


class Renderer:
    """Renders the prompts of one system; everything but the texts is prepared once.

    Attributes:
        system: the system message of ``wrap="chat"``, else ``None``.
        sha256: the hash of the template's source, and of the chat wrapper's where one is used.

    Raises:
        UnknownNameError: an unknown wrap or chat wrapper.
        TemplateError: the chat wrapper is not usable.
    """

    def __init__(
        self,
        template: Template,
        schema: Schema,
        wrap: str = "completion",
        chat: str | Path = "default",
    ) -> None:
        if wrap not in WRAPS:
            raise UnknownNameError(unknown("wrap", wrap, WRAPS))
        self.template = template
        self.schema = schema
        self.system: str | None = None
        self.sha256 = template.sha256
        if wrap == "chat":
            wrapper = find_chat(chat)
            self.system = wrapper.fill({"answers": template.answers})
            self.sha256 = files.digest(f"{template.sha256} {wrapper.sha256}")

    def render(self, example: Example, english: str | None = None) -> Prompt:
        """The prompt of one example; ``english`` is its translation, where the template needs it.

        Raises:
            TranslationError: the template uses English, and ``english`` is ``None``.
            TemplateError: the template fails on this example; starts with ``file:line``.
        """
        if english is None and self.template.uses_english:
            raise TranslationError(
                f"Example {example.id} has no English translation, and the template "
                f"'{self.template.name}' uses eng_text. Choose a translation source that covers "
                f"it, or a strategy without English."
            )
        text = _fill(self.template, self.schema.source, example.text, english)
        return Prompt(example.id, text, self.template.answers, self.system)


def render(
    example: Example,
    strategy: str | Path,
    *,
    schema: str | Path | Schema,
    task: str = "ner",
    english: str | None = None,
    wrap: str = "completion",
) -> Prompt:
    """Render one example's prompt; for many, make one :class:`Renderer`.

    Args:
        example: the sentence; its own ``english`` is taken where ``english`` is not given.
        strategy: a template's name under ``prompts/<task>/``, or the path of one.
        schema: a schema's name under ``prompts/schemas/``, the path of one, or one loaded.
        task: the folder in which a strategy's name is looked up.
        english: the translation, for a template that uses ``eng_text``.
        wrap: ``completion`` or ``chat``; the prompt's ``text`` has the same bytes either way.

    Raises:
        UnknownNameError: an unknown strategy, schema or wrap.
        PromptError: a template or schema that cannot be used; starts with ``file:line``.
        TranslationError: a translation is needed and there is none.
    """
    if not isinstance(schema, Schema):
        schema = load_schema(schema)
    renderer = Renderer(find_template(task, strategy), schema, wrap)
    return renderer.render(example, example.english if english is None else english)


def find_template(task: str, strategy: str | Path) -> Template:
    """Read and check a template: a name under ``prompts/<task>/``, or the path of a ``.j2``.

    Raises:
        UnknownNameError: the task has no template of that name.
        TemplateError: the file is no usable template; starts with ``file:line``.
    """
    template = _read(files.locate(f"{task} strategy", task, ".j2", strategy), _VARIABLES)
    # A trial shows what only running shows, before a run has paid for anything.
    _fill(template, "guidelines", "A text to try it with.", "A text to try it with.")
    return template


def find_chat(name: str | Path) -> Template:
    """Read a chat wrapper: a name under ``prompts/chat/``, or the path of a ``.j2``.

    Raises:
        UnknownNameError: there is no wrapper of that name.
        TemplateError: the file is no usable wrapper; starts with ``file:line``.
    """
    path = files.locate("chat wrapper", "chat", ".j2", name)
    return _read(path, ("answers",), lists=False)


def find_translation(name: str | Path) -> Template:
    """Read what a model is asked that translates: a name under ``prompts/translation/``, or a path.

    It may use ``text`` and ``language``, the language's English name (empty where unknown).

    Raises:
        UnknownNameError: there is no template of that name.
        TemplateError: the file is no usable template; starts with ``file:line``.
    """
    path = files.locate("translation template", "translation", ".j2", name)
    template = _read(path, ("text", "language"), lists=False)
    trial = "A text to try it with."
    if trial not in template.fill({"text": trial, "language": "Swahili"}):
        raise TemplateError(
            f"{path}:1: the template has to hold {{{{ text }}}}, what to translate."
        )
    return template


def list_prompts(task: str | None = None) -> list[PromptRow]:
    """Every strategy that has a name, of one task or of all; chat wrappers are task ``chat``.

    A file that is no usable template is listed with its error; what a model is asked that
    translates is task ``translation``.
    """
    rows = []
    for folder in [task] if task else _folders():
        for name, path in files.available(folder, ".j2").items():
            origin = files.origin(path)
            try:
                other = _OTHERS.get(folder)
                found = other(path) if other else find_template(folder, path)
            except TemplateError as problem:
                rows.append(PromptRow(folder, name, origin, error=str(problem)))
            else:
                answers, english = found.answers, found.uses_english
                rows.append(PromptRow(folder, name, origin, answers, english, found.sha256[:12]))
    return rows


# The folders whose templates are no strategies.
_OTHERS = {"chat": find_chat, "translation": find_translation}


def _folders() -> list[str]:
    """The folders of templates: the tasks by name, then the others."""
    found = {
        file.parent.name for root in resources.roots("prompts") for file in root.glob("*/*.j2")
    }
    return [*sorted(found - _OTHERS.keys()), *sorted(found & _OTHERS.keys())]


def _fill(template: Template, guidelines: str, text: str, english: str | None) -> str:
    """A prompt's text; it has to end where the model goes on."""
    values = {"guidelines": guidelines, "text": text, "assign": assignment, "literal": literal}
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


def _read(path: Path, variables: tuple[str, ...], *, lists: bool = True) -> Template:
    """Read, check and compile a template that may use ``variables``; ``lists``: declares some."""
    source = files.read(path, TemplateError)
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
    return Template(path.stem, path, source, answers, "eng_text" in used, compiled)


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
