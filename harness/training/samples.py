"""What a model is trained on: a prompt as the harness renders it, and its right answer.

The renderer is the one that runs use; :mod:`harness.prompting.answer_text` writes the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import TemplateError
from harness.prompting.answer_text import format_list
from harness.prompting.literals import literal
from harness.prompting.rendering import Renderer
from harness.records import Example

# The text between two lists of an answer, by the name of the second list.
HEADINGS = {
    "final_result": (
        "\n\n# The annotation instances that take place in the text above are listed here\n"
    )
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt, and the answer that a model should give.

    ``eng_text`` is the place of the English in the prompt, as ``(start, end)`` in characters,
    quotes included; ``None`` in a prompt without English.
    """

    prompt: str
    answer: str
    eng_text: tuple[int, int] | None = None


def make_sample(renderer: Renderer, example: Example) -> Sample:
    """The prompt of an example and the right answer under the renderer's schema.

    Annotations of classes that are not in the schema are left out. If a template has two answer
    lists, the first is ``english_gold``.

    Raises:
        TemplateError: the template's answer lists are not ``result``, or ``result`` and
            ``final_result``, or its prompt does not end in ``result =``.
    """
    template = renderer.template
    gold = {"result": example.gold}
    if "final_result" in template.answers:
        gold = {"result": example.english_gold or (), "final_result": example.gold}
    prompt = renderer.render(example, example.english).text
    if template.answers != tuple(gold) or not prompt.endswith("\nresult ="):
        raise TemplateError(
            f"{template.path}:1: no model is trained on the answers of this template. Use one "
            f"that ends in 'result =' and has the answers 'result', or 'result' and "
            f"'final_result'."
        )
    known = renderer.schema.fields()
    answer = ""
    for name, stage in gold.items():
        head = f"{HEADINGS[name]}{name} =" if answer else ""
        answer += f"{head} {format_list(a for a in stage if a.type in known)}"
    return Sample(prompt, answer, _eng_text(prompt, example) if template.uses_english else None)


def _eng_text(prompt: str, example: Example) -> tuple[int, int]:
    """The place of the English: the last literal of that text in the prompt."""
    english = literal(example.english or "")
    start = prompt.rindex(english)
    return start, start + len(english)
