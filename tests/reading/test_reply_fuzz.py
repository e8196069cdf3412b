"""Properties of the parser over replies that nobody thought of."""

from __future__ import annotations

import json

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.prompting.rendering import Renderer
from harness.prompting.schema import load_schema
from harness.prompting.templates import load_template
from harness.reading.published import read_published
from harness.reading.reply import parse_reply
from harness.records import Annotation, Example, Status
from tests.helpers.reply_oracle import ANSWERS, FIELDS, SCALARS, Stages, canonical, check_invariants

FINISH = st.sampled_from([None, "stop", "length", "content_filter"])
bounded = settings(max_examples=250, derandomize=True)

# Pieces of surfaces. Many of them look like code.
PIECES = [
    *(
        "Kano",
        " ",
        "d'Ivoire",
        '"',
        "'",
        "\\",
        "\n",
        "\t",
        "(",
        ")",
        "[x]",
        ", ",
        "=",
        "#",
        "{",
        "}",
    ),
    *("é", "e\u0301", "漢字", "\u200b", "\u00ad", "😀", "“", "’", "/", "3", "None", "```", '"""'),
    *("result = [", 'Person(span="'),
]
# Other pieces that damage a reply.
DAMAGE = [
    *("", "result", "final_result", "\n\n", '",', '"),', "Person(", "[", "]", "text = ", "u'"),
    *("class A(B):", "<think>", "</think>", "\0", "\ud800", "\\x", '{"type": ', "// "),
]
surfaces = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(
    st.characters(exclude_categories=("Cs",)), max_size=20
)
# No quotes and no brackets: in a string that is cut, they look like code.
harmless = st.text(st.sampled_from("aé漢 \\\n\t#=,:/.`{}\u200b😀\0"), max_size=8)


def quoted(text: str, style: int) -> str:
    """A Python literal of the text, in one of the ways that there are."""
    if style == 1:
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\x7f")
    if style == 2 and not text.endswith('"') and not any(c in text for c in ('"""', "\r", "\0")):
        return '"""' + text.replace("\\", "\\\\") + '"""'
    if style == 3 and len(text) > 1:
        return f"{text[:1]!r} {text[1:]!r}"
    return repr(text)


@st.composite
def annotations(
    draw: st.DrawFn, texts: st.SearchStrategy[str], styles: int
) -> tuple[Annotation, str]:
    """An annotation and one way to write it."""
    kind = draw(st.sampled_from([*FIELDS, "Person", "Person", "Location"]))
    values: dict[str, str | tuple[str, ...]] = {}
    arguments = []
    positional = draw(st.integers(0, len(FIELDS[kind])))
    space = draw(st.sampled_from(["", " ", "\n        ", '  # it\'s (a) "b"\n']))
    for index, field in enumerate(FIELDS[kind]):
        style = draw(st.integers(0, styles))
        if field in SCALARS:
            values[field] = text = draw(texts)
            source = quoted(text, style)
        else:
            values[field] = fillers = tuple(draw(st.lists(texts, max_size=3)))
            source = "[" + ", ".join(quoted(filler, style) for filler in fillers) + "]"
        arguments.append(source if index < positional else f"{field}={source}")
    comma = draw(st.sampled_from(["", ","]))
    body = f",{space or ' '}".join(f"{space}{argument}" for argument in arguments)
    return Annotation(kind, values), f"{kind}({body}{space}{comma}{space})"


@st.composite
def replies(
    draw: st.DrawFn, texts: st.SearchStrategy[str] = surfaces, styles: int = 3
) -> tuple[Stages, str]:
    """Annotations, and a reply in the canonical form that holds them."""
    stages: Stages = {}
    reply = ""
    for name in ANSWERS:
        drawn = draw(st.lists(annotations(texts, styles), max_size=3))
        stages[name] = tuple(annotation for annotation, _ in drawn)
        if reply:
            reply += draw(st.sampled_from(["\n\n# The lists that [are] here\n", "\n", ";"]))
            reply += f"{name} ="
        reply += draw(st.sampled_from([" ", "", "  "]))
        separator = draw(st.sampled_from([",\n    ", ", ", ","]))
        reply += "[" + separator.join(source for _, source in drawn)
        reply += draw(st.sampled_from(["", ","])) if drawn else ""
        reply += draw(st.sampled_from(["]", "\n]", "]  # end"]))
    assume("# end;" not in reply)
    return stages, reply + draw(st.sampled_from(["", "\n", "\n\n# end"]))


@bounded
@given(replies())
def test_canonical_replies_are_read_as_python_reads_them(drawn: tuple[Stages, str]) -> None:
    stages, reply = drawn
    assert canonical(reply) == stages
    prediction = parse_reply(reply, fields=FIELDS)
    assert prediction.repairs == ()
    assert prediction.status is Status.OK
    assert prediction.stages == stages
    assert prediction.dropped == ()


@bounded
@given(replies(), st.data())
def test_the_public_scripts_would_have_read_the_final_list(
    drawn: tuple[Stages, str], data: st.DataObject
) -> None:
    stages, reply = drawn
    assume("result =" in reply and "# end" not in reply)
    assume(all("result = " not in str(a.fields) for stage in stages.values() for a in stage))
    read, error = read_published(reply.replace("final_result =", "final_result = "), FIELDS)
    assert not error
    assert read == list(stages["final_result"])


@bounded
@given(replies(), st.sampled_from(["python\n", "py\n", "\n", "Python3\n"]))
def test_fences_and_prose_change_nothing(drawn: tuple[Stages, str], language: str) -> None:
    stages, reply = drawn
    assume("```" not in reply)
    wrapped = f"Here's what I'd say:\n\n```{language}result ={reply}\n```\n\nIt isn't \"all\"."
    prediction = parse_reply(wrapped, fields=FIELDS)
    assert prediction.stages == stages
    assert prediction.repairs == ("prose", "code_fence", "restated")


TRANSFUSION = Renderer(load_template("ner", "transfusion"), load_schema("masakhaner2"))


@bounded
@given(surfaces, surfaces, replies())
def test_no_text_in_a_repeated_prompt_is_taken_for_an_answer(
    text: str, english: str, drawn: tuple[Stages, str]
) -> None:
    stages, reply = drawn
    prompt = TRANSFUSION.render(Example("0", "made up", "swa", "test", text), english).text
    prediction = parse_reply(prompt + reply, fields=FIELDS)
    assert prediction.stages == stages
    assert prediction.repairs[0] == "restated_prompt"
    assert set(prediction.repairs) <= {"restated_prompt", "prose", "restated"}


@bounded
@given(replies(harmless, 1), st.floats(0, 1), FINISH)
def test_a_cut_reply_gives_the_beginning(
    drawn: tuple[Stages, str], share: float, finish: str | None
) -> None:
    stages, reply = drawn
    prediction = parse_reply(
        reply[: round(share * len(reply))], fields=FIELDS, finish_reason=finish
    )
    check_invariants(prediction)
    for name, stage in prediction.stages.items():
        assert stage == stages[name][: len(stage)]


plain = st.text(
    st.characters(categories=("L", "Nd", "Pd", "Po", "Zs"), exclude_characters="\"'\\#,:;"),
    min_size=1,
    max_size=8,
).filter(str.strip)  # Two strings with nothing but white space between them are one in Python.


@bounded
@given(
    st.lists(st.lists(plain, min_size=1, max_size=5), min_size=1, max_size=4),
    st.sampled_from("\"'"),
)
def test_quotes_that_nobody_escaped(spans: list[list[str]], quote: str) -> None:
    texts = [quote.join(pieces) for pieces in spans]
    lines = "".join(f"    Person(span={quote}{span}{quote}),\n" for span in texts)
    prediction = parse_reply(f" [\n{lines}]", ("result",), fields=FIELDS)
    assert [annotation.span for annotation in prediction.stages["result"]] == texts
    assert set(prediction.repairs) <= {"unescaped_quote"}


edits_of_a_reply = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from(PIECES + DAMAGE)),
    min_size=1,
    max_size=6,
)


@bounded
@given(replies(), edits_of_a_reply, FINISH)
def test_damaged_replies_do_no_harm(
    drawn: tuple[Stages, str], edits: list[tuple[float, int, str]], finish: str | None
) -> None:
    _, reply = drawn
    for share, removed, inserted in edits:
        position = round(share * len(reply))
        reply = reply[:position] + inserted + reply[position + removed :]
    for fields in (FIELDS, None):
        prediction = parse_reply(reply, fields=fields, finish_reason=finish)
        check_invariants(prediction, fields=fields)
    check_invariants(parse_reply(reply, ("result",), fields=FIELDS), ("result",))
    whole = canonical(reply)
    if whole is not None and finish is None and "\\" not in reply:
        prediction = parse_reply(reply, fields=FIELDS)
        assert (prediction.stages, prediction.status) == (whole, Status.OK)
    elements, error = read_published(reply, FIELDS)
    assert not (error and elements)


@bounded
@given(st.text(st.characters()) | st.lists(st.sampled_from(PIECES)).map("".join), FINISH)
def test_any_text_is_read(reply: str, finish: str | None) -> None:
    check_invariants(parse_reply(reply, fields=FIELDS, finish_reason=finish))
    read_published(reply, FIELDS)
