"""Every prompt that has a name: what ``harness ls prompts`` lists."""

from __future__ import annotations

from dataclasses import dataclass

from harness import disk
from harness.errors import TemplateError
from harness.prompting import lookup
from harness.prompting.templates import load_chat_wrapper, load_template, load_translation_template


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A line of ``harness ls prompts``; ``error`` says why a file is no usable template."""

    task: str
    strategy: str
    origin: str
    answers: tuple[str, ...] = ()
    uses_english: bool = False
    sha256: str = ""
    shot_parts: tuple[str, ...] = ()
    error: str | None = None


def list_prompts(task: str | None = None) -> list[PromptRow]:
    """Every strategy that has a name, of one task or of all; chat wrappers are task ``chat``.

    A file that is no usable template is listed with its error; what a model is asked that
    translates is task ``translation``.
    """
    rows = []
    for folder in [task] if task else _folders():
        for name, path in lookup.prompt_files(folder, ".j2").items():
            origin = lookup.origin(path)
            try:
                other = _OTHERS.get(folder)
                found = other(path) if other else load_template(folder, path)
            except TemplateError as problem:
                rows.append(PromptRow(folder, name, origin, error=str(problem)))
            else:
                row = PromptRow(
                    folder,
                    name,
                    origin,
                    found.answers,
                    found.uses_english,
                    found.sha256[:12],
                    found.shot_parts,
                )
                rows.append(row)
    return rows


# The folders whose templates are no strategies.
_OTHERS = {"chat": load_chat_wrapper, "translation": load_translation_template}


def _folders() -> list[str]:
    """The folders of templates: the tasks by name, then the others."""
    found = {file.parent.name for root in disk.roots("prompts") for file in root.glob("*/*.j2")}
    return [*sorted(found - _OTHERS.keys()), *sorted(found & _OTHERS.keys())]
