"""Replies to prompts that ask for two lists, the English one first."""

from __future__ import annotations

from harness.records import Status
from tests.helpers.reply_cases import KANO, LAGOS, Case, people

# Two expected lists.
TWO_LISTS = {
    "canonical": Case(
        ' [\n    Person(span="Lagos"),\n]\n\n# The annotation instances\nfinal_result = [\n'
        '    Person(span="Kano"),\n]',
        KANO,
        result=LAGOS,
    ),
    "both empty": Case("[]\n\n# here\nfinal_result = []", (), result=()),
    "on one line": Case('[Person("Lagos")];final_result=[Person("Kano")]', KANO, result=LAGOS),
    "translation first": Case(
        '"He isn\'t in [Kano]."\n\n# here\nresult = [Person("Lagos")]\n\n'
        'final_result = [Person("Kano")]',
        KANO,
        result=LAGOS,
    ),
    "translation in parentheses": Case(
        ' (\n    "In Kano."\n)\n\nresult = [Person("Lagos")]\n\nfinal_result = [Person("Kano")]',
        KANO,
        result=LAGOS,
    ),
    "translation with quotes": Case(
        '"He said "hi" to Kano."\nresult = [Person("Lagos")]\nfinal_result = [Person("Kano")]',
        KANO,
        result=LAGOS,
    ),
    "translation by name": Case(
        'eng_text = "result = [Person(1)]"\nresult = [Person("Lagos")]\n'
        'final_result = [Person("Kano")]',
        KANO,
        result=LAGOS,
    ),
    "translation without a list's name": Case(
        '"In Kano."\n[Person("Lagos")]\nfinal_result = [Person("Kano")]',
        KANO,
        ("unnamed_list",),
        result=LAGOS,
    ),
    "no final list": Case('[Person("Lagos")]', None, status=Status.MISSING_STAGE, result=LAGOS),
    "no final list, with its name": Case(
        'result = [Person("Lagos")]\n\nfinal_result',
        None,
        ("restated", "prose"),
        Status.MISSING_STAGE,
        LAGOS,
    ),
    "English list again in prose": Case(
        '[Person("Lagos")]\n\nSo I found [Person("Lagos")].',
        None,
        ("prose",),
        Status.MISSING_STAGE,
        LAGOS,
    ),
    "English annotation again in prose": Case(
        '[Person("Lagos")]\n\nPerson("Lagos") is a city.',
        None,
        ("prose",),
        Status.MISSING_STAGE,
        LAGOS,
    ),
    "final list alone": Case('final_result = [Person("Kano")]', KANO, ("missing_intermediate",)),
    "another list before the final": Case(
        'english = [Person("Lagos")]\nfinal_result = [Person("Kano")]',
        KANO,
        ("missing_intermediate",),
    ),
    "no names": Case(
        '[Person("Lagos")]\n\n[Person("Kano")]', KANO, ("unnamed_list",), result=LAGOS
    ),
    "junk list first": Case(
        '["x"]\n[Person("Lagos")]', None, ("reassigned",), Status.MISSING_STAGE, LAGOS
    ),
    "remark first": Case(
        '(Note.) [Person("Lagos")]\nfinal_result = [Person("Kano")]', KANO, ("prose",), result=LAGOS
    ),
    "headings": Case(
        'The lists:\n**Result:**\n```python\n[Person("Lagos")]\n```\n'
        '**Final Result:**\n```python\n[Person("Kano")]\n```\nThat\'s it!',
        KANO,
        ("prose", "code_fence", "name_variant", "loose_assignment"),
        result=LAGOS,
    ),
    "name with a space": Case(
        '[Person("Lagos")]\nFinal results: [Person("Kano")]',
        KANO,
        ("name_variant", "loose_assignment"),
        result=LAGOS,
    ),
    "letters that only look the same": Case(
        '[Person("Lagos")]\nfınal_result = [Person("Kano")]',
        None,
        (),
        Status.MISSING_STAGE,
        LAGOS,
    ),
    "quoted name": Case(
        '[Person("Lagos")],\n"final_result": [Person("Kano")]',
        KANO,
        ("prose", "loose_assignment"),
        result=LAGOS,
    ),
    "alias": Case(
        'result = [Person("Kano")]\nfinal_result = result\n',
        KANO,
        ("restated", "alias"),
        result=KANO,
    ),
    "JSON": Case(
        '{"result": [{"type": "Person", "span": "Lagos"}], "final_result": [{"type": "Person", '
        '"span": "Kano"}]}',
        KANO,
        ("json",),
        result=LAGOS,
    ),
    "JSON in a fence": Case(
        '```json\n{\n  "result": null,\n  "Final_Result": {"Person": ["Kano"]}\n}\n```',
        KANO,
        ("code_fence", "none_list", "json"),
        result=(),
    ),
    "bare annotations": Case(
        'Person("Lagos")\n\nfinal_result = Person("Kano")', KANO, ("bare_annotation",), result=LAGOS
    ),
    "first list not closed": Case(
        '[Person("Lagos"),\n\n# here\nfinal_result = [Person("Kano")]',
        KANO,
        ("unclosed_list",),
        result=LAGOS,
    ),
    "first annotation not closed": Case(
        '[Person("Lagos"\n\n# here\nfinal_result = [Person("Kano")]',
        KANO,
        ("unclosed_list", "unclosed_call"),
        result=LAGOS,
    ),
    "first string not closed": Case(
        '[Person("a"), Person("Lag\n\nfinal_result = [Person("Kano")]',
        KANO,
        ("unclosed_list",),
        result=people("a"),
        dropped=(("incomplete", 'Person("Lag'),),
    ),
    "run on": Case(
        '[Person("Lagos")]\nfinal_result = [Person("Kano")]\n\ntext = "b"\n\nresult = []\n'
        "final_result = []",
        KANO,
        ("run_on",),
        result=LAGOS,
    ),
    "run on before the final list": Case(
        '[Person("Lagos")]\n\ntext = "b"\n\nresult = []\nfinal_result = [Person("Kano")]',
        None,
        ("run_on",),
        Status.MISSING_STAGE,
        LAGOS,
    ),
    "corrected": Case(
        'result = [Person("a")]\n\nWait.\n\nresult = [Person("Lagos")]\n'
        'final_result = [Person("Kano")]',
        KANO,
        ("restated", "prose", "reassigned"),
        result=LAGOS,
    ),
    "cut in the first list": Case(
        '[Person("Lagos"), Per', None, (), Status.TRUNCATED, LAGOS, dropped=(("incomplete", "Per"),)
    ),
    "cut between the lists": Case(
        '[Person("Lagos")]\n\n# The', None, (), Status.TRUNCATED, LAGOS, "length"
    ),
    "cut in the final list": Case(
        '[Person("Lagos")]\nfinal_result = [Person("Kano")',
        KANO,
        (),
        Status.TRUNCATED,
        LAGOS,
        "length",
    ),
}
