"""Prompts with annotated examples: whole ones, byte for byte, and any held against black."""

from __future__ import annotations

import ast
from pathlib import Path

import black
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import load_dataset
from harness.errors import TemplateError
from harness.prompting.rendering import Renderer, render
from harness.prompting.schema import load_schema
from harness.prompting.templates import load_template
from harness.reading.json_reply import parse_json_reply
from harness.records import Annotation, Example
from harness.serving.json_answer import write_json
from harness.serving.tagger import answer
from tests.prompting.test_literals import TEXTS
from tests.prompting.test_templates import (
    ENGLISH,
    GOLDEN,
    HEAD,
    MODE,
    SCHEMA,
    SET,
    STRATEGIES,
    sentence,
)

# What each strategy shows of an example; the question then follows as it is without any.
SHOT = {
    "direct": """# This is a text with its annotations
text = "Juma anaishi Kisumu."

# The annotation instances that take place in the text above are listed here
result = [
    Person(span="Juma"),
    Location(span="Kisumu"),
]


""",
    "transfusion": """# This is a text with its annotations
text = "Juma anaishi Kisumu."

# This is the English translation of the text
eng_text = "Juma lives in Kisumu."

# Using translation and fusion
# (1) generate annotation for eng_text
# (2) generate annotation for text

# The annotation instances that take place in the eng_text above are listed here
result = [
    Person(span="Juma"),
]

# The annotation instances that take place in the text above are listed here
final_result = [
    Person(span="Juma"),
    Location(span="Kisumu"),
]


""",
    "no-annotate": """# This is a text with its annotations
text = "Juma anaishi Kisumu."

# This is the English translation of the text
eng_text = "Juma lives in Kisumu."

# Use both eng_text and text and generate results for text

# The annotation instances that take place in the text above are listed here
result = [
    Person(span="Juma"),
    Location(span="Kisumu"),
]


""",
    "self-translate": """# This is a text with its annotations
text = "Juma anaishi Kisumu."

# Using translation and fusion
# (1) translate text into English as eng_text
# (2) generate annotation for eng_text in the list called result
# (3) generate annotation for text in the list called final_result

# This is the English translation of the text
eng_text = "Juma lives in Kisumu."

# The annotation instances that take place in the eng_text above are listed here
result = [
    Person(span="Juma"),
]

# The annotation instances that take place in the text above are listed here
final_result = [
    Person(span="Juma"),
    Location(span="Kisumu"),
]


""",
    "english-only": """# This is a text with its annotations
text = "Juma lives in Kisumu."

# The annotation instances that take place in the text above are listed here
result = [
    Person(span="Juma"),
]


""",
}
NOTHING = """# This is a text with its annotations
text = "Hakuna jina."

# The annotation instances that take place in the text above are listed here
result = []


"""


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(SCHEMA, encoding="utf-8")
    return path


def annotated(text: str, english: str, *spans: str) -> Example:
    """An example whose spans are each of the next class; the English has the first of them."""
    kinds = ["Person", "Location", "Organization"]
    gold = tuple(
        Annotation(kind, {"span": span}, (place, place + 1))
        for place, (kind, span) in enumerate(zip(kinds, spans, strict=False))
    )
    # As a file may have them: in any order.
    return Example("train-0", "demo", "swa", "train", text, (), gold[::-1], english, gold[:1])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_shots_stand_between_the_guidelines_and_the_question(strategy: str, schema: Path) -> None:
    # The schema of these prompts has no Organization.
    juma = annotated("Juma anaishi Kisumu.", "Juma lives in Kisumu.", "Juma", "Kisumu", "anaishi")
    nobody = annotated("Hakuna jina.", "No name.")
    prompt = render(sentence(), strategy, schema=schema, english=ENGLISH, shots=[juma])
    question = "# This is the text to analyze\n"
    guidelines = HEAD.removesuffix(question)
    assert prompt.text == guidelines + SHOT[strategy] + question + GOLDEN[strategy]
    two = render(sentence(), strategy, schema=schema, english=ENGLISH, shots=[nobody, juma]).text
    assert two.endswith(SHOT[strategy] + question + GOLDEN[strategy])
    if strategy == "direct":
        assert two == guidelines + NOTHING + SHOT[strategy] + question + GOLDEN[strategy]
    # What an example shows is what the question says, answered.
    shot = SHOT[strategy].removeprefix("# This is a text with its annotations\n")
    comments = [line for line in GOLDEN[strategy].split("\n") if line.startswith("#")]
    assert [line for line in shot.split("\n") if line.startswith("#")][: len(comments)] == comments


def test_answers_in_json_are_shown_in_json(schema: Path) -> None:
    juma = annotated('"Juma" anaishi Kisumu.', "Juma lives there.", '"Juma"', "Kisumu", "anaishi")
    template, ner_schema = load_template("ner", "transfusion"), load_schema(schema)
    prompt = Renderer(template, ner_schema, "chat", format="json").render(sentence(), "x", [juma])
    english = '[{"type": "Person", "span": "\\"Juma\\""}]'
    both = english.removesuffix("]") + ', {"type": "Location", "span": "Kisumu"}]'
    assert f"\nresult = {english}\n" in prompt.text
    assert f"\nfinal_result = {both}\n" in prompt.text
    # The objects are those of the answer.
    reply = f'{{"result": {english}, "final_result": {both}}}'
    prediction = parse_json_reply(reply, template.answers, fields=ner_schema.fields())
    assert prediction.status == "ok"
    assert reply == write_json(prediction.stages)


@given(
    texts=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3),
    strategy=st.sampled_from(STRATEGIES),
)
@settings(max_examples=150)
def test_any_shots_are_held_as_black_would_and_read_back(
    texts: list[tuple[str, str]], strategy: str
) -> None:
    renderer = Renderer(load_template("ner", strategy), load_schema("demo"))
    shots = [annotated(text, english, text, english) for text, english in texts]
    prompt = renderer.render(sentence(), ENGLISH, shots).text
    assert black.format_str(f"{prompt} []\n", mode=MODE) == f"{prompt} []\n"
    assigned = [
        (ast.unparse(node.targets[0]), node.value)
        for node in ast.parse(f"{prompt} []").body
        if isinstance(node, ast.Assign)
    ]
    # The statements of the examples come first, each as many as the one before it.
    size = (len(assigned) - len(ast.parse(GOLDEN[strategy] + " []").body)) // len(shots)
    answers = renderer.template.answers
    for number, (text, english) in enumerate(texts):
        values = dict(assigned[number * size : (number + 1) * size])
        assert len(values) == size
        first = english if strategy == "english-only" else text
        assert ast.literal_eval(values["text"]) == first
        if "eng_text" in values:
            assert ast.literal_eval(values["eng_text"]) == english
        scored = values[answers[-1]]
        assert isinstance(scored, ast.List)
        spans = [ast.literal_eval(call.keywords[0].value) for call in scored.elts]  # type: ignore[attr-defined]
        assert spans == ([text] if strategy == "english-only" else [text, english])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_scripted_model_answers_the_question_and_not_an_example(strategy: str) -> None:
    dev = load_dataset("demo", "yor", "dev", english=True)[:3]
    for asked in load_dataset("demo", "yor", limit=20, english=True):
        plain = render(asked, strategy, schema="demo").text
        assert answer(render(asked, strategy, schema="demo", shots=dev).text) == answer(plain)


def test_what_a_template_shows_of_its_shots(tmp_path: Path) -> None:
    parts = {name: load_template("ner", name).shot_parts for name in STRATEGIES}
    everything = ("text", "gold", "eng_text", "eng_gold")
    assert parts == {
        "direct": ("text", "gold"),
        "english-only": ("eng_text", "eng_gold"),
        "no-annotate": ("text", "gold", "eng_text"),
        "self-translate": everything,
        "transfusion": everything,
    }
    shot = annotated("Juma anaishi Kisumu.", "Juma lives in Kisumu.", "Juma")
    mine = tmp_path / "mine.j2"
    mine.write_text(SET + '{{ assign("text", text) }}\nresult =')
    with pytest.raises(TemplateError, match=r"mine\.j2:1: .*does not name the variable `shots`"):
        render(sentence(), mine, schema="demo", shots=[shot])
    mine.write_text(
        SET + '{% for s in shots %}\n{{ s["text"] }} {{ s.gold }}\n{% endfor %}\nresult ='
    )
    assert load_template("ner", mine).shot_parts == ("text", "gold")
    assert render(sentence(), mine, schema="demo").text == "result ="
    # English that an example does not have cannot be shown.
    plain = Example("train-1", "demo", "swa", "train", "Hakuna jina.")
    with pytest.raises(TemplateError, match=r"transfusion\.j2:.*no attribute 'eng_text'"):
        render(sentence(), "transfusion", schema="demo", english="x", shots=[plain])
