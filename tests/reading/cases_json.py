"""Replies to prompts that ask for JSON, and what is to be read in each by hand."""

from __future__ import annotations

from harness.records import Status
from tests.helpers.reply_cases import KANO, Case, annotation, people

_KANO = '{"type": "Person", "span": "Kano"}'
_CUT = (("incomplete", '{"type": "Person", "span": "B'),)

# One expected list. ``final`` has its annotations; ``None`` means that the list is missing.
JSON_ONE = {
    # The requested form.
    "canonical": Case(f'{{"result": [{_KANO}]}}', KANO),
    "no white space": Case('{"result":[{"type":"Person","span":"Kano"}]}', KANO),
    "white space": Case(f'\n{{ "result" : [\r\n\t{_KANO}\n] }} \n', KANO),
    "empty": Case('{"result": []}', ()),
    "fields in another order": Case('{"result": [{"span": "Kano", "type": "Person"}]}', KANO),
    "a text beside it": Case(f'{{"eng_text": "a [b] {{c}}", "result": [{_KANO}]}}', KANO),
    "escapes": Case(
        r'{"result": [{"type": "Person", "span": "\"a\" \\ \/ \t\u0041\u00e9\ud83d\ude00"}]}',
        people('"a" \\ / \tAé😀'),
    ),
    "code in a string": Case(
        '{"result": [{"type": "Person", "span": "result = [] ```json\\n</think> it\'s"}]}',
        people("result = [] ```json\n</think> it's"),
    ),
    "duplicates": Case(f'{{"result": [{_KANO}, {_KANO}]}}', people("Kano", "Kano")),
    "two fields": Case(
        '{"result": [{"type": "BornIn", "arg1": "a", "arg2": "b"}]}',
        (annotation("BornIn", "a", "b"),),
    ),
    "event": Case(
        '{"result": [{"type": "Attack", "mention": "hit", "subtype": "", "attacker": [],'
        ' "target": ["a", "b"]}]}',
        (annotation("Attack", "hit", "", (), ("a", "b")),),
    ),
    # What is no annotation.
    "unknown class": Case(
        f'{{"result": [{{"type": "Country", "span": "Niger"}}, {_KANO}]}}',
        KANO,
        dropped=(("unknown_class", '{"type": "Country", "span": "Niger"}'),),
    ),
    "wrong values": Case(
        '{"result": [{"type": "Person", "span": 3}, {"type": "Person", "span": null},'
        ' {"type": "Person", "span": {}}, {"type": "Person"}, {}, "Kano", -1.5e3, true, null]}',
        (),
        status=Status.OK,
        dropped=(
            ("bad_value", '{"type": "Person", "span": 3}'),
            ("bad_value", '{"type": "Person", "span": null}'),
            ("bad_value", '{"type": "Person", "span": {}}'),
            ("missing_field", '{"type": "Person"}'),
            ("not_an_annotation", "{}"),
            ("not_an_annotation", "'Kano'"),
            ("not_an_annotation", "-1.5e3"),
            ("not_an_annotation", "true"),
            ("not_an_annotation", "null"),
        ),
    ),
    "no annotation in it": Case(
        '{"result": ["Kano"]}',
        (),
        status=Status.UNPARSEABLE,
        dropped=(("not_an_annotation", "'Kano'"),),
    ),
    # Another shape of the annotations.
    "a class in another case": Case(
        '{"result": [{"type": "PERSON", "span": "Kano"}]}', KANO, ("class_case",)
    ),
    "a class with its module": Case(
        '{"result": [{"type": "schema.Person", "span": "Kano"}]}', KANO, ("qualified_name",)
    ),
    "a list for a string": Case(
        '{"result": [{"type": "Person", "span": ["Kano"]}]}', KANO, ("list_scalar",)
    ),
    "a string for a list": Case(
        '{"result": [{"type": "Attack", "mention": "m", "subtype": "s", "attacker": "a",'
        ' "target": null}]}',
        (annotation("Attack", "m", "s", ("a",), ()),),
        ("scalar_role", "none_list"),
    ),
    "roles left out": Case(
        '{"result": [{"type": "Attack", "mention": "m", "target": ["a", 3]}]}',
        (annotation("Attack", "m", "", (), ("a",)),),
        ("bad_filler", "missing_role"),
    ),
    "a field too many": Case(
        '{"result": [{"type": "Person", "span": "Kano", "score": 0.9}]}', KANO, ("extra_field",)
    ),
    "a field twice": Case(
        '{"result": [{"type": "Person", "span": "Kano", "span": "b"}]}', KANO, ("extra_field",)
    ),
    "a field of another name": Case(
        '{"result": [{"type": "Person", "text": "Kano"}]}', KANO, ("renamed_field",)
    ),
    "the class under another key": Case(
        '{"result": [{"label": "Person", "span": "Kano"}]}', KANO, ("json",)
    ),
    "the class as a key": Case(
        '{"result": [{"Person": "Kano"}, {"Person": {"span": "b"}}]}',
        people("Kano", "b"),
        ("json",),
    ),
    "spans by class": Case(
        '{"result": {"Person": ["Kano", "b"], "Location": []}}', people("Kano", "b"), ("json",)
    ),
    "one object for a list": Case(f'{{"result": {_KANO}}}', KANO, ("json",)),
    "a list in the list": Case(f'{{"result": [[{_KANO}]]}}', KANO, ("nested_list",)),
    # Another shape of the whole.
    "fence": Case(f'```json\n{{"result": [{_KANO}]}}\n```\n', KANO, ("code_fence",)),
    "prose": Case(f'Of {{2}} names:\n{{"result": [{_KANO}]}}\nThat\'s [all].', KANO, ("prose",)),
    "reasoning": Case(
        f'<think>{{"result": []}}?</think>\n{{"result": [{_KANO}]}}', KANO, ("reasoning",)
    ),
    "byte order mark": Case(f'\ufeff{{"result": [{_KANO}]}}', KANO),
    "a list alone": Case(f"[{_KANO}]", KANO, ("unnamed_list",)),
    "prose and a list": Case(f"Sure:\n[{_KANO}]", KANO, ("prose", "json")),
    "two lists": Case(f"[{_KANO}]\n[]", KANO, ("json", "unnamed_list", "extra_list")),
    "an annotation alone": Case(_KANO, KANO, ("bare_annotation",)),
    "one annotation a line": Case(
        f'{_KANO}\n{_KANO.replace("Kano", "b")}\n',
        people("Kano", "b"),
        ("json", "bare_annotation"),
    ),
    "classes alone": Case('{"Person": ["Kano"], "Location": []}', KANO, ("json",)),
    "another name": Case(f'{{"entities": [{_KANO}]}}', KANO, ("json", "nested_list")),
    "a list too many": Case(f'{{"result": [{_KANO}], "notes": []}}', KANO, ("extra_list",)),
    "a variant of the name": Case(f'{{"Results": [{_KANO}]}}', KANO, ("name_variant",)),
    "inside another object": Case(f'{{"answer": {{"result": [{_KANO}]}}}}', KANO, ("json",)),
    "the key twice": Case(f'{{"result": [], "result": [{_KANO}]}}', KANO, ("reassigned",)),
    "the object twice": Case(
        f'{{"result": [{_KANO}]}}\n{{"result": []}}', (), ("reassigned", "json")
    ),
    "null for the list": Case('{"result": null}', (), ("none_list",)),
    "a string for the list": Case('{"result": "Kano"}', None, ("prose",), Status.UNPARSEABLE),
    # What is not quite JSON.
    "comma at the end": Case(f'{{"result": [{_KANO},],}}', KANO, ("extra_comma",)),
    "no comma": Case(
        f'{{"result": [{_KANO}\n{_KANO}]}}', people("Kano", "Kano"), ("missing_comma",)
    ),
    "raw newline": Case(
        '{"result": [{"type": "Person", "span": "a\n\tb"}]}', people("a\n\tb"), ("raw_newline",)
    ),
    "odd escapes": Case(
        r'{"result": [{"type": "Person", "span": "\d \u12 \ud800"}]}',
        people(r"\d \u12 \ud800"),
        ("bad_escape",),
    ),
    "apostrophes": Case("{'result': [{'type': 'Person', 'span': 'Kano'}]}", KANO, ("json",)),
    "quotes not escaped": Case(
        '{"result": [{"type": "Person", "span": "the "old" town"}]}',
        people('the "old" town'),
        ("unescaped_quote", "json"),
    ),
    "comments": Case(f'{{"result": [ # one\n{_KANO}]}}', KANO, ("json",)),
    "words that JSON lacks": Case(
        f'{{"result": [{{"type": "Person", "span": NaN}}, {_KANO}]}}',
        KANO,
        ("json",),
        dropped=(("bad_value", '{"type": "Person", "span": NaN}'),),
    ),
    "Python": Case(' [\n    Person(span="a []"),\n]\n', people("a []"), ("python",)),
    "Python inside JSON": Case('{"result": [Person(span="Kano")]}', KANO, ("json",)),
    # Cut.
    "cut in an annotation": Case(
        f'{{"result": [{_KANO}, {{"type": "Person", "span": "B', KANO, (), Status.TRUNCATED,
        dropped=_CUT,
    ),
    "cut, and said to be complete": Case(
        f'{{"result": [{_KANO}, {{"type": "Person", "span": "B', KANO, (), Status.TRUNCATED,
        finish="stop", dropped=_CUT,
    ),
    "cut in a class": Case(
        '{"result": [{"type": "Per', (), (), Status.TRUNCATED,
        dropped=(("incomplete", '{"type": "Per'),),
    ),
    "cut before the list": Case('{"eng_text": "On', None, (), Status.TRUNCATED),
    "cut in a word": Case('{"result": [nul', (), (), Status.TRUNCATED),
    "no brackets at the end": Case(f'{{"result": [{_KANO}', KANO, (), Status.TRUNCATED),
    "no brackets at the end, complete": Case(
        f'{{"result": [{_KANO}', KANO, ("unclosed_list",), finish="stop"
    ),
    "no brace at the end, complete": Case(
        f'{{"result": [{_KANO}]', KANO, ("unclosed_list",), finish="stop"
    ),
    "at the limit": Case(f'{{"result": [{_KANO}]}}', KANO, (), Status.TRUNCATED, finish="length"),
    # No answer.
    "nothing": Case("", None, (), Status.EMPTY),
    "white space alone": Case(" \n", None, (), Status.EMPTY),
    "refusal": Case("I'm sorry, I can't.", None, ("prose",), Status.REFUSED),
    "refusal in JSON": Case('{"error": "I cannot help."}', None, ("prose",), Status.REFUSED),
    "said to be a refusal": Case("No.", None, ("prose",), Status.REFUSED, finish="refusal"),
    "filtered": Case("", None, (), Status.FILTERED, finish="content_filter"),
    "chatter": Case("There are none.", None, ("prose",), Status.UNPARSEABLE),
}  # fmt: skip

# Two expected lists: ``result``, then the scored ``final_result`` as ``final``.
JSON_TWO = {
    "canonical": Case(
        f'{{"result": [], "final_result": [{_KANO}]}}', KANO, result=()
    ),
    "behind a text": Case(
        f'{{"eng_text": "On.", "result": [{_KANO}], "final_result": []}}', (), result=KANO
    ),
    "two objects": Case(
        f'{{"result": []}}\n{{"final_result": [{_KANO}]}}', KANO, ("json",), result=()
    ),
    "two lists": Case(f"[]\n[{_KANO}]", KANO, ("json", "unnamed_list"), result=()),
    "assignments": Case(
        f"result = []\nfinal_result = [{_KANO}]", KANO, ("restated", "json"), result=()
    ),
    "Python": Case(
        ' []\n\n# Of the text\nfinal_result = [Person("Kano")]', KANO, ("python",), result=()
    ),
    "the first alone": Case(
        f'{{"result": [{_KANO}]}}', None, (), Status.MISSING_STAGE, result=KANO
    ),
    "the last alone": Case(f'{{"final_result": [{_KANO}]}}', KANO, ("missing_intermediate",)),
    "cut between them": Case(
        f'{{"result": [{_KANO}], "fi', None, (), Status.TRUNCATED, result=KANO, finish="stop"
    ),
    "cut behind a comma": Case(
        f'{{"result": [{_KANO}],', None, (), Status.TRUNCATED, result=KANO
    ),
}  # fmt: skip
