"""The prompts that have a name, for ``harness ls prompts``."""

from __future__ import annotations

from dataclasses import dataclass

from harness import disk
from harness.errors import TemplateError
from harness.prompting import lookup
from harness.prompting.templates import load_chat_wrapper, load_template, load_translation_template


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A line of ``harness ls prompts``; ``error`` is the reason why a file is no template."""

    task: str
    strategy: str
    origin: str
    answers: tuple[str, ...] = ()
    uses_english: bool = False
    sha256: str = ""
    shot_parts: tuple[str, ...] = ()
    error: str | None = None


def list_prompts(task: str | None = None) -> list[PromptRow]:
    """The templates that have a name, of one task or of all tasks.

    Chat wrappers have the task ``chat``, and prompts for translation the task ``translation``. A
    file that is no usable template is listed with its error.
    """
    rows = []
    for folder in [task] if task else _folders():
        for name, path in lookup.prompt_files(folder, ".j2").items():
            origin = lookup.origin(path)
            try:
                load = _LOADERS.get(folder)
                template = load(path) if load else load_template(folder, path)
            except TemplateError as problem:
                rows.append(PromptRow(folder, name, origin, error=str(problem)))
            else:
                row = PromptRow(
                    folder,
                    name,
                    origin,
                    template.answers,
                    template.uses_english,
                    template.sha256[:12],
                    template.shot_parts,
                )
                rows.append(row)
    return rows


# The loaders of the folders whose templates are not strategies of a task.
_LOADERS = {"chat": load_chat_wrapper, "translation": load_translation_template}


def _folders() -> list[str]:
    """The folders of templates: the tasks in alphabetical order, then the others."""
    names = {file.parent.name for root in disk.roots("prompts") for file in root.glob("*/*.j2")}
    return [*sorted(names - _LOADERS.keys()), *sorted(names & _LOADERS.keys())]
