"""What a model is trained on: a prompt as the harness renders it, and the answer to it.

The prompt comes from the renderer that runs use, and the answer is what the prompt format has
as the right one (:mod:`harness.prompting.answer_text`).
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import TemplateError
from harness.prompting.answer_text import format_list
from harness.prompting.literals import literal
from harness.prompting.templates import Renderer
from harness.records import Example

# What stands between the lists of an answer, by the name of the list that follows.
HEADINGS = {
    "final_result": (
        "\n\n# The annotation instances that take place in the text above are listed here\n"
    )
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt, and the answer that a model should go on with.

    ``eng_text`` is where the English stands in the prompt, as ``(start, end)`` in characters
    with its quotes; ``None`` in a prompt without any.
    """

    prompt: str
    answer: str
    eng_text: tuple[int, int] | None = None


def make_sample(renderer: Renderer, example: Example) -> Sample:
    """The prompt of an example and the right answer under the renderer's schema.

    Annotations of classes that the schema lacks are left out. A template with two lists takes
    ``english_gold`` for the first one.

    Raises:
        TemplateError: a template whose answer this module does not know how to write.
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
    for name, every in gold.items():
        head = f"{HEADINGS[name]}{name} =" if answer else ""
        answer += f"{head} {format_list(a for a in every if a.type in known)}"
    return Sample(prompt, answer, _eng_text(prompt, example) if template.uses_english else None)


def _eng_text(prompt: str, example: Example) -> tuple[int, int]:
    """Where the literal of the English stands, the last one of that text in the prompt."""
    written = literal(example.english or "")
    start = prompt.rindex(written)
    return start, start + len(written)
