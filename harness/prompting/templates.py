"""Template files of strategies, chat wrappers and prompts for translation, read and checked.

A strategy is a Jinja file, ``prompts/<task>/<strategy>.j2``. It may use:

``guidelines``
    the source of the schema's classes
``text``
    the text to annotate, a plain string
``eng_text``
    the English translation of the text, a plain string; a template that names it needs one
``shots``
    the annotated examples to show, in their order, empty if the experiment has none. A template
    that does not name it cannot show examples. Each has ``text`` and ``gold``, and if the template
    names them also ``eng_text``, the English, and ``eng_gold``, the annotations of the English.
    Texts are plain strings. Annotations are lists in Python, or in JSON with ``format="json"``
``assign(name, value)``
    the statement ``name = "value"`` in black's format; no text can end the literal early
``literal(value)``
    the string literal alone

Any other name is an error. A template declares the lists of an answer in order, the scored list
last: ``{% set answers = ["result", "final_result"] %}``. Any number of lists is possible. A prompt
ends right after an equals sign. Lines with a Jinja tag or comment leave no text. A template is one
file, so that the hash of its source identifies the whole prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import jinja2
from jinja2 import meta, nodes

from harness.errors import TemplateError, unknown_name_message
from harness.prompting import lookup
from harness.prompting.literals import assignment, literal

_VARIABLES = ("guidelines", "text", "eng_text", "shots", "assign", "literal")
_TRIAL = "A text to try it with."
_SHOT_PARTS = ("text", "gold", "eng_text", "eng_gold")
_ENVIRONMENT = jinja2.Environment(
    undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)
# Rendering is deterministic: no random filter, and no variables but those above.
del _ENVIRONMENT.filters["random"]
_ENVIRONMENT.globals.clear()
_OTHER_FILES = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)


@dataclass(frozen=True)
class Template:
    """The template of a strategy, a chat wrapper or a prompt for translation.

    ``answers`` are the names of the lists in a reply, in order; only strategies have any.
    ``uses_english`` says whether the template needs a translation. ``shot_parts`` are those of
    ``text``, ``gold``, ``eng_text`` and ``eng_gold`` that it shows of an annotated example; they
    are empty if it shows no examples.
    """

    name: str
    path: Path
    source: str
    answers: tuple[str, ...]
    uses_english: bool
    shot_parts: tuple[str, ...]
    _jinja_template: jinja2.Template = field(repr=False, compare=False)

    @cached_property
    def sha256(self) -> str:
        """The hash of the template's source."""
        return lookup.digest(self.source)

    def check_shots(self) -> None:
        """Raises TemplateError if this template cannot show annotated examples."""
        if not self.shot_parts:
            raise TemplateError(
                f"{self.path}:1: the template shows no examples: it does not name the variable "
                f"`shots`. Add a loop over it as prompts/ner/direct.j2 has one, or set shots = 0."
            )

    def prompt_text(
        self,
        guidelines: str,
        text: str,
        english: str | None,
        shots: Sequence[SimpleNamespace] = (),
    ) -> str:
        """The text of a prompt: the template of a strategy with the values of one example.

        Raises:
            TemplateError: the template fails on these values, or its text does not end in `` =``.
        """
        values = {
            "guidelines": guidelines,
            "text": text,
            "shots": shots,
            "assign": assignment,
            "literal": literal,
        }
        if english is not None:
            values["eng_text"] = english
        prompt = self.fill(values)
        if not prompt.endswith(" ="):
            line = self.source.rstrip().count("\n") + 1
            raise TemplateError(
                f"{self.path}:{line}: the prompt has to end right after an equals sign. Let the "
                f"last line be '{self.answers[0]} =', with nothing behind it."
            )
        return prompt

    @cached_property
    def leading(self) -> str | None:
        """The name that the last line of a prompt assigns; ``None`` if it is an answer list.

        A template may request a text before the lists, such as ``eng_text =``.
        """
        last_line = self.prompt_text("guidelines", _TRIAL, _TRIAL).rpartition("\n")[2]
        name = last_line.removesuffix(" =").strip()
        return name if name.isidentifier() and name not in self.answers else None

    def fill(self, values: Mapping[str, object]) -> str:
        """The template's text with these values.

        Raises:
            TemplateError: the template fails on these values. The message begins with
                ``file:line``.
        """
        try:
            return self._jinja_template.render(values)
        except Exception as problem:  # the code of a template can raise any exception
            line = _line_of(problem, self.path)
            raise TemplateError(
                f"{self.path}:{line}: {problem}. Correct the template there."
            ) from problem


def load_template(task: str, strategy: str | Path) -> Template:
    """Read and check a template: a name under ``prompts/<task>/``, or the path of a ``.j2``.

    Raises:
        UnknownNameError: the task has no template of that name.
        TemplateError: the file is no usable template; the message begins with ``file:line``.
    """
    template = _compile(lookup.locate(f"{task} strategy", task, ".j2", strategy), _VARIABLES)
    # Some errors occur only in rendering. A trial shows them before a run costs money.
    shot = SimpleNamespace(text=_TRIAL, gold="[]", eng_text=_TRIAL, eng_gold="[]")
    for shots in [[], [shot]] if template.shot_parts else [[]]:
        template.prompt_text("guidelines", _TRIAL, _TRIAL, shots)
    return template


def load_chat_wrapper(name: str | Path) -> Template:
    """Read a chat wrapper: a name under ``prompts/chat/``, or the path of a ``.j2``.

    Raises:
        UnknownNameError: there is no wrapper of that name.
        TemplateError: the file is no usable wrapper; the message begins with ``file:line``.
    """
    path = lookup.locate("chat wrapper", "chat", ".j2", name)
    return _compile(path, ("answers", "leading"), lists=False)


def load_translation_template(name: str | Path) -> Template:
    """Read a prompt for translation: a name under ``prompts/translation/``, or a path.

    It may use ``text`` and ``language``, the English name of the language (empty if unknown).

    Raises:
        UnknownNameError: there is no template of that name.
        TemplateError: the file is no usable template; the message begins with ``file:line``.
    """
    path = lookup.locate("translation template", "translation", ".j2", name)
    template = _compile(path, ("text", "language"), lists=False)
    if _TRIAL not in template.fill({"text": _TRIAL, "language": "Swahili"}):
        raise TemplateError(
            f"{path}:1: the template has to hold {{{{ text }}}}, what to translate."
        )
    return template


def _compile(path: Path, variables: tuple[str, ...], *, lists: bool = True) -> Template:
    """Read, check and compile a template.

    Args:
        path: the file.
        variables: the names that the template may use.
        lists: whether the template has to declare answer lists.
    """
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
    names = meta.find_undeclared_variables(tree)
    for name in sorted(names - set(variables)):
        line = min(node.lineno for node in tree.find_all(nodes.Name) if node.name == name)
        raise TemplateError(f"{path}:{line}: {unknown_name_message('variable', name, variables)}")
    jinja_template = jinja2.Template.from_code(_ENVIRONMENT, code, {})
    answers = _answers(path, tree) if lists else ()
    shot_parts = _shot_parts(tree) if "shots" in names else ()
    return Template(
        path.stem, path, source, answers, "eng_text" in names, shot_parts, jinja_template
    )


def _shot_parts(tree: nodes.Template) -> tuple[str, ...]:
    """The parts of shots that a template uses: ``shot.gold`` or ``shot["gold"]``."""
    names = {node.attr for node in tree.find_all(nodes.Getattr)}
    names |= {n.arg.value for n in tree.find_all(nodes.Getitem) if isinstance(n.arg, nodes.Const)}
    return tuple(part for part in _SHOT_PARTS if part in names)


def _answers(path: Path, tree: nodes.Template) -> tuple[str, ...]:
    """The lists that a template declares at its top level."""
    line, value = 1, None
    for node in tree.find_all(nodes.Assign):
        if getattr(node.target, "name", "") == "answers" and isinstance(node.node, nodes.Expr):
            line = node.lineno
            with suppress(nodes.Impossible):
                value = node.node.as_const()
    names = tuple(value) if isinstance(value, list | tuple) else ()
    valid = all(isinstance(name, str) and name.isidentifier() for name in names)
    if not names or not valid or len(set(names)) < len(names):
        raise TemplateError(
            f"{path}:{line}: the template has to name the lists that the answer holds, in order "
            f'and the scored one last. Write {{% set answers = ["result", "final_result"] %}}, '
            f"or the names that it uses."
        )
    return names


def _line_of(problem: BaseException, path: Path) -> int:
    """The innermost line of the template in the traceback of an error, or 1."""
    line, trace = 1, problem.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
