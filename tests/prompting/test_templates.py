"""Templates: whole prompts, byte for byte, and what is said about templates that are none."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import black
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SchemaError, TemplateError, TranslationError, UnknownNameError
from harness.prompting.listing import list_prompts
from harness.prompting.literals import assignment
from harness.prompting.rendering import Renderer, render
from harness.prompting.schema import load_schema
from harness.prompting.templates import load_chat_wrapper, load_template
from harness.records import Example
from tests.prompting.test_literals import TEXTS

STRATEGIES = ["direct", "english-only", "no-annotate", "self-translate", "transfusion"]
SCHEMAS = ["demo", "masakhaner2", "uner", "xsid"]
BOTH = ("result", "final_result")
MODE = black.Mode()

SCHEMA = '''from dataclasses import dataclass


@dataclass
class Person(Entity):
    """The name of a person."""

    span: str  # Such as: "Ada Lovelace"


@dataclass
class Location(Entity):
    """The name of a place."""

    span: str  # Such as: "Valparaíso"
'''

HEAD = '''# The following lines describe the task definition
@dataclass
class Person(Entity):
    """The name of a person."""

    span: str  # Such as: "Ada Lovelace"


@dataclass
class Location(Entity):
    """The name of a place."""

    span: str  # Such as: "Valparaíso"


# This is the text to analyze
'''

GOLDEN = {
    "direct": """text = 'Amina alisema: "Nyumbani ni Tanga."'

# The annotation instances that take place in the text above are listed here
result =""",
    "transfusion": """text = 'Amina alisema: "Nyumbani ni Tanga."'

# This is the English translation of the text
eng_text = (
    "Amina said that the town of Tanga is home, and so is the long road leading there"
)

# Using translation and fusion
# (1) generate annotation for eng_text
# (2) generate annotation for text

# The annotation instances that take place in the eng_text above are listed here
result =""",
    "no-annotate": """text = 'Amina alisema: "Nyumbani ni Tanga."'

# This is the English translation of the text
eng_text = (
    "Amina said that the town of Tanga is home, and so is the long road leading there"
)

# Use both eng_text and text and generate results for text

# The annotation instances that take place in the text above are listed here
result =""",
    "self-translate": """text = 'Amina alisema: "Nyumbani ni Tanga."'

# Using translation and fusion
# (1) translate text into English as eng_text
# (2) generate annotation for eng_text in the list called result
# (3) generate annotation for text in the list called final_result

# This is the English translation of the text
eng_text =""",
    "english-only": """text = (
    "Amina said that the town of Tanga is home, and so is the long road leading there"
)

# The annotation instances that take place in the text above are listed here
result =""",
}

SYSTEM = (
    "You are given the beginning of a Python source file that defines annotation classes with "
    "their guidelines and then a text to annotate. It breaks off right after an equals sign. "
    "Complete it: go on at the very point where it breaks off, first with the value that is "
    "missing there.\n"
    "Answer only with what is missing, up to and including the list result.\n"
    "A list holds one instance of the defined classes for each annotation, one a line, in the "
    "order in which they take place; a list without annotations is []. Copy every span verbatim "
    "from the text that the list belongs to: same letters, same case, same spaces, nothing added "
    "and nothing translated.\n"
    "Write Python only: no prose, no explanations, no comments of your own and no code fences."
)

SET = '{% set answers = ["result"] %}\n'
ENGLISH = "Amina said that the town of Tanga is home, and so is the long road leading there"


def sentence(text: str = 'Amina alisema: "Nyumbani ni Tanga."', **more: str) -> Example:
    return Example("test-0", "demo", "swa", "test", text, **more)  # type: ignore[arg-type]


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(SCHEMA, encoding="utf-8")
    return path


@pytest.mark.parametrize("wrap", ["completion", "chat"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_golden_prompts_have_the_same_bytes_under_both_wraps(
    strategy: str, wrap: str, schema: Path
) -> None:
    prompt = render(sentence(), strategy, schema=schema, english=ENGLISH, wrap=wrap)
    assert prompt.text == HEAD + GOLDEN[strategy]
    assert prompt.example_id == "test-0"
    assert prompt.answers == (BOTH if strategy in ("transfusion", "self-translate") else BOTH[:1])
    assert (prompt.system is None) == (wrap == "completion")


def test_shipped_strategies_are_these() -> None:
    assert [row.strategy for row in list_prompts("ner")] == STRATEGIES
    using = [name for name in STRATEGIES if load_template("ner", name).uses_english]
    assert using == ["english-only", "no-annotate", "transfusion"]


def test_the_chat_wrapper_says_which_lists_are_expected(schema: Path) -> None:
    assert render(sentence(), "direct", schema=schema, wrap="chat").system == SYSTEM
    two = render(sentence(), "transfusion", schema=schema, english="x", wrap="chat").system
    assert two is not None
    assert "in this order: result, final_result." in two
    assert "`final_result = [...]`" in two


@pytest.mark.parametrize("schema_name", SCHEMAS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_shipped_prompts_are_what_black_makes_of_them(strategy: str, schema_name: str) -> None:
    text = render(sentence(), strategy, schema=schema_name, english=ENGLISH).text + " []\n"
    assert black.format_str(text, mode=MODE) == text


@given(text=TEXTS, english=TEXTS, strategy=st.sampled_from(STRATEGIES))
@settings(max_examples=250)
def test_any_text_is_held_as_black_would_and_cannot_break_out(
    text: str, english: str, strategy: str
) -> None:
    renderer = Renderer(load_template("ner", strategy), load_schema("demo"))
    prompt = renderer.render(sentence(text), english).text
    assert prompt.endswith(" =")

    # Black, given each statement in its plainest form, comes to the same bytes.
    plain = prompt
    for name, value in (("text", text), ("text", english), ("eng_text", english)):
        plain = plain.replace(f"\n{assignment(name, value)}\n", f"\n{name} = {value!r}\n", 1)
    assert black.format_str(f"{plain} []\n", mode=MODE) == f"{prompt} []\n"

    # The texts are in their variables, and there is no statement besides.
    values = {
        "direct": [("text", text)],
        "english-only": [("text", english)],
        "no-annotate": [("text", text), ("eng_text", english)],
        "self-translate": [("text", text)],
        "transfusion": [("text", text), ("eng_text", english)],
    }[strategy]
    last = "eng_text" if strategy == "self-translate" else "result"
    body = ast.parse(f"{prompt} []").body
    assigned = [
        (ast.unparse(node.targets[0]), ast.literal_eval(node.value))
        for node in body
        if isinstance(node, ast.Assign)
    ]
    assert assigned == [*values, (last, [])]
    assert len(body) == 3 + len(assigned)


def test_english_comes_from_the_call_or_else_from_the_example(schema: Path) -> None:
    own = sentence(english="Amina spoke.")
    assert 'eng_text = "Amina spoke."' in render(own, "transfusion", schema=schema).text
    given_one = render(own, "transfusion", schema=schema, english="").text
    assert 'eng_text = ""' in given_one
    with pytest.raises(TranslationError, match=r"test-0 has no English .* 'transfusion'"):
        render(sentence(), "transfusion", schema=schema)
    # A run says itself where the English comes from: what the corpus carries is no fallback.
    with pytest.raises(TranslationError):
        Renderer(load_template("ner", "transfusion"), load_schema(schema)).render(own)


def test_names_resolve_in_the_own_folder_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: Path
) -> None:
    shipped = load_template("ner", "direct")
    monkeypatch.chdir(tmp_path)
    assert load_template("ner", "direct") == shipped
    for name in ("ner/direct.j2", "ner/broken.j2", "re/pairs.j2", "chat/terse.j2"):
        (tmp_path / "prompts" / name).parent.mkdir(parents=True, exist_ok=True)
    mine = '{% set answers = ["found"] %}\n{{ literal(text) }}\n{{ answers[0] }} ='
    (tmp_path / "prompts/ner/direct.j2").write_text(mine)
    (tmp_path / "prompts/ner/broken.j2").write_text("{% endif %}")
    (tmp_path / "prompts/re/pairs.j2").write_text(mine)
    (tmp_path / "prompts/chat/terse.j2").write_text("Lists: {{ answers | join(' ') }}.\n")

    own = load_template("ner", "direct")
    assert own.sha256 != shipped.sha256
    prompt = Renderer(own, load_schema(schema), "chat", "terse").render(sentence("Tanga"))
    assert (prompt.text, prompt.system) == ('"Tanga"\nfound =', "Lists: found.")

    rows = {(row.task, row.strategy): row for row in list_prompts()}
    assert list(rows) == [
        *(("ner", name) for name in sorted([*STRATEGIES, "broken"])),
        ("re", "pairs"),
        ("chat", "default"),
        ("chat", "json"),
        ("chat", "terse"),
        ("translation", "default"),
    ]
    assert rows["ner", "direct"].origin == "own"
    assert rows["ner", "direct"].answers == ("found",)
    assert rows["ner", "direct"].sha256 == own.sha256[:12]
    assert rows["ner", "transfusion"].origin == "shipped"
    assert rows["ner", "transfusion"].uses_english
    assert "broken.j2:1: " in (rows["ner", "broken"].error or "")
    assert [row.strategy for row in list_prompts("re")] == ["pairs"]


def test_a_template_may_be_given_by_its_path(tmp_path: Path, schema: Path) -> None:
    path = tmp_path / "mine.j2"
    source = SET + '{{ assign("text", text) }}\nresult =\n'
    path.write_bytes(source.replace("\n", "\r\n").encode())
    assert render(sentence("a"), path, schema=schema).text == 'text = "a"\nresult ='
    assert render(sentence("a"), str(path), schema=schema).text == 'text = "a"\nresult ='
    (tmp_path / "lf.j2").write_bytes(source.encode())
    assert load_template("ner", tmp_path / "lf.j2").sha256 == load_template("ner", path).sha256


def test_the_hash_covers_the_wrapper_only_where_it_is_used(tmp_path: Path) -> None:
    template, schema = load_template("ner", "direct"), load_schema("demo")
    assert Renderer(template, schema).sha256 == template.sha256
    wrapped = Renderer(template, schema, "chat").sha256
    assert wrapped not in (template.sha256, load_chat_wrapper("default").sha256)
    assert Renderer(template, load_schema("uner"), "chat").sha256 == wrapped
    (tmp_path / "other.j2").write_text("Go on.")
    assert Renderer(template, schema, "chat", tmp_path / "other.j2").sha256 != wrapped
    assert Renderer(load_template("ner", "no-annotate"), schema, "chat").sha256 != wrapped


@pytest.mark.parametrize(
    ("source", "line", "said"),
    [
        ("result =", 1, "has to name the lists"),
        ("{% set answers = [] %}\nresult =", 1, "has to name the lists"),
        ("\n{% set answers = [text] %}\nresult =", 2, "has to name the lists"),
        ('{% set answers = "result" %}\nresult =', 1, "has to name the lists"),
        ('{% set answers = ["two words"] %}\nresult =', 1, "has to name the lists"),
        ('{% set answers = ["result", "result"] %}\nresult =', 1, "has to name the lists"),
        (SET + "a\nresult = ", 3, "has to end right after an equals sign"),
        (SET + "result =\n\n", 2, "has to end right after an equals sign"),
        (SET + "result = [", 2, "Let the last line be 'result ='"),
        (SET + "{{ txt }}\nresult =", 2, "Unknown variable 'txt'. Did you mean 'text'? Choices: "),
        (SET + "{% if english %}\n{% endif %}\nresult =", 2, "Unknown variable 'english'"),
        (SET + "\n{{ text\nresult =", 4, "expected token 'end of print statement'"),
        (SET + "{% for %}\nresult =", 2, "Expected an expression"),
        (SET + "{{ text | quoted }}\nresult =", 2, "No filter named 'quoted'"),
        (SET + "\n{{ text.missing }}\nresult =", 3, "has no attribute 'missing'"),
        (SET + "{{ text }}\n\n{{ 1 // 0 }}\nresult =", 4, "by zero"),
        (SET + "{{ assign(text) }}\nresult =", 2, "missing 1 required positional argument"),
        (SET + '{% include "other.j2" %}\nresult =', 2, "a template is one file"),
        (
            SET + "{% for s in shots %}\n{{ s.gold }}{{ s.answer }}\n{% endfor %}\nresult =",
            3,
            "answer",
        ),
    ],
)
def test_what_is_no_template_is_told_with_its_line(
    tmp_path: Path, source: str, line: int, said: str
) -> None:
    path = tmp_path / "mine.j2"
    path.write_text(source, encoding="utf-8")
    with pytest.raises(TemplateError) as caught:
        load_template("ner", path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)


def test_an_error_that_only_one_text_brings_has_its_line_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.j2"
    path.write_text(SET + "\n{{ text.split()[1] }}\nresult =", encoding="utf-8")
    renderer = Renderer(load_template("ner", path), load_schema("demo"))
    assert renderer.render(sentence("two words")).text == "\nwords\nresult ="
    with pytest.raises(TemplateError) as caught:
        renderer.render(sentence("one"))
    assert str(caught.value).startswith(f"{path}:3: ")


def test_unknown_names_list_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown ner strategy 'transfuse'. Did you mean"):
        load_template("ner", "transfuse")
    with pytest.raises(UnknownNameError, match="Choices: none"):
        load_template("no-such-task", "direct")
    with pytest.raises(UnknownNameError, match="Choices: completion, chat"):
        Renderer(load_template("ner", "direct"), load_schema("demo"), "chatty")
    with pytest.raises(UnknownNameError, match="Choices: default"):
        Renderer(load_template("ner", "direct"), load_schema("demo"), "chat", "formal")
    with pytest.raises(TemplateError, match="no such file"):
        load_template("ner", tmp_path / "absent.j2")
    with pytest.raises(SchemaError, match="no such file"):
        render(sentence(), "direct", schema=tmp_path / "absent.py")
    (tmp_path / "chat.j2").write_text("{{ text }}")
    with pytest.raises(TemplateError, match=r":1: Unknown variable 'text'"):
        load_chat_wrapper(tmp_path / "chat.j2")


def test_rendering_needs_neither_black_nor_pandas() -> None:
    code = (
        "import sys; from harness.prompting.rendering import *;"
        "from harness.records import Example;"
        "render(Example('0', 'd', 'l', 's', 'a'), 'direct', schema='demo');"
        "sys.exit(any(name in sys.modules for name in ('black', 'pandas', 'numpy', 'openai')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
