"""Replies to prompts that ask for one list."""

from __future__ import annotations

from harness.records import Status
from tests.helpers.reply_cases import KANO, Case, annotation, people

# One expected list. ``final`` has its annotations; ``None`` means that the list is missing.
ONE_LIST = {
    # What Python reads as well.
    "canonical": Case(' [\n    Person(span="Kano"),\n]', KANO),
    "no white space": Case("[Person(span='Kano')]", KANO),
    "empty": Case(" []", ()),
    "positional": Case('[Person("Kano")]', KANO),
    "two positional": Case('[BornIn("a", arg2="b")]', (annotation("BornIn", "a", "b"),)),
    "duplicates": Case('[Person("Kano"), Person("Kano")]', people("Kano", "Kano")),
    "white space": Case('[\n Person ( span = " Kano  City " , ) , ]', people(" Kano  City ")),
    "comments": Case(
        '[  # the [list]\n Person(span="a"  # it\'s "a"\n), # b"\n Person("b")]# end\n\n#',
        people("a", "b"),
    ),
    "rules of number signs": Case("[  #####\n] ### [x]\n\n######\n## that is it", ()),
    "adjacent strings": Case("[Person(span=\"Ka\" 'no')]", KANO),
    "line continued": Case('[Person(span="Ka\\\nno"), \\\n]', KANO),
    "triple quotes": Case(
        '[Person(span="""the "old" town"""), Person(\'\'\'b\'\'\')]', people('the "old" town', "b")
    ),
    "escapes": Case(
        r'[Person("\"a\" \\ \'\t\x41\101\u00e9\U0001F600\N{BULLET}\d")]',
        people('"a" \\ \'\tAAé😀•\\d'),
    ),
    "raw and unicode prefix": Case(r"[Person(r'\d'), Person(u'\x41')]", people(r"\d", "A")),
    "parentheses": Case('([Person(("Kano"))])', KANO),
    "event": Case(
        '[Attack(mention="hit", subtype="", attacker=[], target=["a", "b"])]',
        (annotation("Attack", "hit", "", (), ("a", "b")),),
    ),
    "list of other things": Case(
        '[Location("Kano"), "Kano", 3, None, ..., Location, -1]',
        (annotation("Location", "Kano"),),
        dropped=tuple(
            ("not_an_annotation", item) for item in ("'Kano'", "3", "None", "...", "Location", "-1")
        ),
    ),
    "unknown class": Case(
        '[Country(span="Niger"), Person(span="Kano")]',
        KANO,
        dropped=(("unknown_class", 'Country(span="Niger")'),),
    ),
    "wrong values": Case(
        '[Person(span=3), Person(span=None), Person(["a", "b"]), Person({}), Person()]',
        (),
        dropped=(
            ("bad_value", "Person(span=3)"),
            ("bad_value", "Person(span=None)"),
            ("bad_value", 'Person(["a", "b"])'),
            ("bad_value", "Person({})"),
            ("missing_field", "Person()"),
        ),
    ),
    "missing argument": Case(
        '[BornIn(arg1="a"), Attack(subtype="a")]',
        (),
        dropped=(("missing_field", 'BornIn(arg1="a")'), ("missing_field", 'Attack(subtype="a")')),
    ),
    "invisible characters": Case('\ufeff\0[Person(\u200b"Kano\u200b")]\0', people("Kano\u200b")),
    # Around the list.
    "code fence": Case('```python\n[Person("Kano")]\n```', KANO, ("code_fence",)),
    "triple quotes for a fence": Case(
        '"""\nresult = [Person("Kano")]\n"""', KANO, ("prose", "restated")
    ),
    "quotes around the whole": Case("\"[Person('Kano')]\"", KANO, ("prose",)),
    "code fence, one line": Case('```[Person("Kano")]```', KANO, ("code_fence",)),
    "prose": Case(
        'Here\'s the list: [Person("Kano")] (see [1] and [x](y), it isn\'t "much")',
        KANO,
        ("prose",),
    ),
    "prose with an empty list": Case("There is nobody, so it is [].", (), ("prose",)),
    "end token": Case('[Person("Kano")]</s>', KANO, ("prose",)),
    "remark first": Case('(1) [Person("Kano")]', KANO, ("prose",)),
    "restated": Case('result = [Person("Kano")]', KANO, ("restated",)),
    "restated with a type": Case('result: list[Entity] = [Person("Kano")];', KANO, ("restated",)),
    "reassigned": Case(
        'result = [Person("Lagos")]\nresult = [Person("Kano")]', KANO, ("restated", "reassigned")
    ),
    "reassigned with a placeholder": Case(
        '[Person("Kano")]\n\nThat is `result = [...]`.', KANO, ("prose", "reassigned")
    ),
    "reassigned and cut": Case('[Person("Kano")]\nresult = [Person("La', KANO, ("reassigned",)),
    "restated prompt": Case(
        '@dataclass\nclass Person(Entity):\n    """Guide: [Person("x")]"""\n\n'
        '    span: str  # Such as: "Ada"\n\n\n# The text\ntext = "result = [Person("y")]"\n\n'
        '# Here\nresult = [Person("Kano")]',
        KANO,
        ("restated_prompt", "prose"),
    ),
    "run on": Case(
        '[Person("Kano")]\n\n\n# The text\ntext = "b"\n\nresult = [Person("b")]', KANO, ("run_on",)
    ),
    "run on with classes": Case(
        '[Person("Kano")]\n\n\n@dataclass\nclass A(Entity):\n    ...\nresult = []',
        KANO,
        ("run_on",),
    ),
    "restated prompt behind a list of nothing": Case(
        '[INST]\ntext = "b"\n\nresult = [Person("Kano")]', KANO, ("restated_prompt", "reassigned")
    ),
    "reasoning": Case('<think>[Person("a")]?</think>\n[Person("Kano")]', KANO, ("reasoning",)),
    "reasoning without its beginning": Case(
        'result = [Person("a")]\n</think>\n\n[Person("Kano")]', KANO, ("reasoning",)
    ),
    "other name": Case('entities = [Person("Kano")]', KANO, ("other_name",)),
    "name in another case": Case('RESULT = [Person("Kano")]', KANO, ("name_variant", "restated")),
    "heading": Case(
        '## Result\n\n[Person("Kano")]', KANO, ("prose", "name_variant", "loose_assignment")
    ),
    "colon": Case('result: [Person("Kano")]', KANO, ("loose_assignment",)),
    "None": Case(" None\n", (), ("none_list",)),
    "assigned None": Case("result = None", (), ("none_list", "restated")),
    "None at the beginning of a sentence": Case(
        'The result: None of them but [Person("Kano")]', KANO, ("prose",)
    ),
    "append": Case(
        'result = []\nresult.append(Person("a"))\n'
        'result.extend([Person("b")])\nresult += [Person("c")]',
        people("a", "b", "c"),
        ("restated", "bare_annotation", "appended"),
    ),
    "added to itself": Case('[Person("Kano")]\n' + "result += result\n" * 99, KANO, ("prose",)),
    "extra list": Case('[Person("Kano")]\n\n[Person("Lagos")]', KANO, ("extra_list",)),
    "bare annotation": Case('Person(span="Kano")', KANO, ("bare_annotation",)),
    "bare annotations": Case(
        'Person("a"), Person("b")\nPerson("c")', people("a", "b", "c"), ("bare_annotation",)
    ),
    "bullets": Case('- Person("a")\n* Person("b")\n', people("a", "b"), ("bare_annotation",)),
    "assigned without brackets": Case(
        'result = Person("a")\nPerson("b")', people("a", "b"), ("bare_annotation", "restated")
    ),
    "call of something else": Case('result = list([Person("Kano")])', KANO, ("prose",)),
    # Lists and calls.
    "no commas": Case(
        '[Person("a") Person("b")\nPerson("c")]', people("a", "b", "c"), ("missing_comma",)
    ),
    "no comma between arguments": Case(
        '[BornIn(arg1="a" arg2="b")]', (annotation("BornIn", "a", "b"),), ("missing_comma",)
    ),
    "commas": Case('[, Person("a",,),, Person("b")]', people("a", "b"), ("extra_comma",)),
    "no closing bracket": Case('[Person("Kano")', KANO, ("unclosed_list",), finish="stop"),
    "no closing brackets": Case(
        '[Person("Kano"', KANO, ("unclosed_call", "unclosed_list"), finish="stop"
    ),
    "no closing bracket, comma": Case(
        '[Person("Kano"),\n', KANO, ("unclosed_list",), finish="stop"
    ),
    "no closing bracket, fence": Case(
        '```\n[Person("Kano"),\n```\n', KANO, ("code_fence", "unclosed_list")
    ),
    "no closing parenthesis": Case(
        '[Person("a", Person("b")]', people("a", "b"), ("unclosed_call", "missing_comma")
    ),
    "no last closing parenthesis": Case('[Person("Kano"]', KANO, ("unclosed_call",)),
    "bare, no closing parenthesis": Case(
        'Person("a", Person("b")', people("a", "b"), ("bare_annotation", "unclosed_call")
    ),
    "role without closing bracket": Case(
        '[Attack("m", "s", [], ["a")]',
        (annotation("Attack", "m", "s", (), ("a",)),),
        ("unclosed_list",),
    ),
    "wrong bracket": Case('[Person("a"], Person("b")]', people("a", "b"), ("wrong_bracket",)),
    "stray bracket": Case(
        '[Person("a")), Person("b"}]', people("a", "b"), ("stray_bracket", "unclosed_call")
    ),
    "tuple": Case('(Person("a"), Person("b"))', people("a", "b"), ("other_brackets",)),
    "set": Case('{Person("a"), Person("b")}', people("a", "b"), ("other_brackets",)),
    "nested": Case('[[Person("a")], [[Person("b")]]]', people("a", "b"), ("nested_list",)),
    "carriage returns": Case('[\r\n  Person("Kano"),\r\n]\r\n', KANO),
    "junk": Case(
        '[Person("Kano"), and I don\'t know]',
        KANO,
        ("junk",),
        dropped=(("not_an_annotation", "and I don't know"),),
    ),
    "JSON": Case('[{"type": "Person", "span": "Kano"}]', KANO, ("json",)),
    "JSON, other keys": Case(
        '[{"class": "Person", "text": "a", "start": 0}, {"label": "Person", "name": "b"}]',
        people("a", "b"),
        ("json", "renamed_field"),
    ),
    "JSON with the text beside the span": Case(
        '[{"text": "in Kano", "type": "Person", "span": "Kano"}]', KANO, ("json",)
    ),
    "JSON by name": Case('{"result": [{"type": "Person", "span": "Kano"}]}', KANO, ("json",)),
    "JSON by another name": Case(
        '{"entities": [{"type": "Person", "span": "Kano"}]}', KANO, ("json", "nested_list")
    ),
    "JSON by class": Case(
        '{"Person": ["a", "b"], "Location": null}', people("a", "b"), ("json", "none_list")
    ),
    "JSON by class, in a list": Case(
        '[{"Person": "a"}, {"Person": {"span": "b"}}]', people("a", "b"), ("json",)
    ),
    "JSON objects of nothing": Case(
        '[{"a": "b"}, {}, {"type": "Person", "span": "Kano"}]',
        KANO,
        ("json",),
        dropped=(("not_an_annotation", '{"a": "b"}'), ("not_an_annotation", "{}")),
    ),
    "JSON event": Case(
        '[{"type": "Attack", "mention": "m", "subtype": "s", "attacker": ["a"], "target": null}]',
        (annotation("Attack", "m", "s", ("a",), ()),),
        ("json", "none_list"),
    ),
    # Strings.
    "unescaped quotes": Case(
        '[Person(span="He said "hi" there"), Person(span="the "old", the "new""), Person("x")]',
        people('He said "hi" there', 'the "old", the "new"', "x"),
        ("unescaped_quote",),
    ),
    "quotes in quotes": Case('[Person(span=""Kano"")]', people('"Kano"'), ("unescaped_quote",)),
    "apostrophes": Case(
        "[Person(span='Côte d'Ivoire'), Person('N'Djamena's')]",
        people("Côte d'Ivoire", "N'Djamena's"),
        ("unescaped_quote",),
    ),
    "number sign": Case(
        '[Person(span="Room "#5" here")]', people('Room "#5" here'), ("unescaped_quote",)
    ),
    "letter in quotes": Case(
        '[Person(span="vitamin "B" tests")]', people('vitamin "B" tests'), ("unescaped_quote",)
    ),
    "parenthesis in quotes": Case(
        '[Person(span="the "A" (or "B") team")]',
        people('the "A" (or "B") team'),
        ("unescaped_quote",),
    ),
    "unescaped in a role": Case(
        '[Attack("m", "s", ["the "old" guard", "b"], [])]',
        (annotation("Attack", "m", "s", ('the "old" guard', "b"), ()),),
        ("unescaped_quote",),
    ),
    "unescaped in JSON": Case(
        '[{"type": "Person", "span": "the "old" town"}]',
        people('the "old" town'),
        ("unescaped_quote", "json"),
    ),
    "smart quotes": Case(
        "[Person(span=“a”), Person(„b“), Person(‘c’), Person(«d»), Person(`e`)]",
        people("a", "b", "c", "d", "e"),
        ("smart_quotes",),
    ),
    "one smart quote": Case(
        '[Person(span="a”), Person(span="b")]', people("a", "b"), ("smart_quotes",)
    ),
    "smart quotes inside": Case('[Person(span="“a”")]', people("“a”")),
    "smart quotes in smart quotes": Case(
        "[Person(span=“say “a” twice”)]",
        people("say “a” twice"),
        ("smart_quotes", "unescaped_quote"),
    ),
    "escaped quotes": Case(
        '[Person(span=\\"Kano\\"), Person(\\"b\\")]', people("Kano", "b"), ("escaped_quotes",)
    ),
    "newline": Case('[Person(span="Ka\nno")]', people("Ka\nno"), ("raw_newline",)),
    "no closing quote": Case(
        '[Person(span="a), Person(span="b),\n  Person(span="c)\n]',
        people("a", "b", "c"),
        ("unclosed_string",),
    ),
    "no quotes": Case(
        "[Person(span=Kano City), Person(Lagos)]",
        people("Kano City", "Lagos"),
        ("unquoted_string",),
    ),
    "prefixes": Case("[Person(f'{a}'), Person(b'b')]", people("{a}", "b"), ("string_prefix",)),
    "bad escapes": Case(
        r'[Person("\x4 \u12 \N{no such} \U99999999 \ud800")]',
        people(r"\x4 \u12 \N{no such} \U99999999 \ud800"),
        ("bad_escape",),
    ),
    "surrogates": Case(r'[Person("\ud83d\ude00")]', people("😀"), ("surrogate_pair",)),
    # Arguments.
    "another field": Case('[Person(name="Kano")]', KANO, ("renamed_field",)),
    "further field": Case('[Person(span="Kano", start=0)]', KANO, ("extra_field",)),
    "field twice": Case('[Person("Kano", span="b")]', KANO, ("extra_field",)),
    "colon in a call": Case(
        '[Person("span": "a"), Person(span: "b")]', people("a", "b"), ("colon_keyword",)
    ),
    "list for a span": Case('[Person(span=["Kano"])]', KANO, ("list_scalar",)),
    "string for a role": Case(
        '[Attack("m", "s", attacker="a", target=["b"])]',
        (annotation("Attack", "m", "s", ("a",), ("b",)),),
        ("scalar_role",),
    ),
    "role left out": Case(
        '[Attack("m", target=["b"])]',
        (annotation("Attack", "m", "", (), ("b",)),),
        ("missing_role",),
    ),
    "role with other things": Case(
        '[Attack("m", "s", ["a", 3], target=Person("b"))]',
        (annotation("Attack", "m", "s", ("a",), ()),),
        ("bad_filler",),
    ),
    "class in another case": Case('[person("a"), PERSON("b")]', people("a", "b"), ("class_case",)),
    "module": Case('[schema.Person("Kano")]', KANO, ("qualified_name",)),
    # Cut, or nothing to read.
    "cut": Case(
        '[Person("Kano"), Person("La',
        KANO,
        status=Status.TRUNCATED,
        dropped=(("incomplete", 'Person("La'),),
    ),
    "cut, says the server": Case(
        '[Person("Kano")]', KANO, status=Status.TRUNCATED, finish="length"
    ),
    "cut whatever the server says": Case(
        '[Person("Kano"), Person("La',
        KANO,
        status=Status.TRUNCATED,
        finish="stop",
        dropped=(("incomplete", 'Person("La'),),
    ),
    "cut at a comma": Case('[Person("Kano"),', KANO, status=Status.TRUNCATED),
    "cut in a name": Case(
        '[Person("Kano"), Pers', KANO, status=Status.TRUNCATED, dropped=(("incomplete", "Pers"),)
    ),
    "cut in a keyword": Case(
        '[Attack("m", "s", [], targ',
        (),
        status=Status.TRUNCATED,
        dropped=(("incomplete", 'Attack("m", "s", [], targ'),),
    ),
    "cut in a role": Case(
        '[Attack("m", "s", [], ["b"',
        (),
        status=Status.TRUNCATED,
        dropped=(("incomplete", 'Attack("m", "s", [], ["b"'),),
    ),
    "cut before a role": Case(
        '[Attack("m", "s", []',
        (),
        status=Status.TRUNCATED,
        dropped=(("incomplete", 'Attack("m", "s", []'),),
    ),
    "cut before anything": Case("", None, status=Status.TRUNCATED, finish="length"),
    "cut in the prose": Case("Let me", None, ("prose",), Status.TRUNCATED, finish="length"),
    "cut in the reasoning": Case(
        "<think>[Person('a')]", None, ("reasoning",), Status.TRUNCATED, finish="length"
    ),
    "filtered": Case('[Person("Kano")]', KANO, status=Status.FILTERED, finish="content_filter"),
    "refused, says the server": Case("No.", None, ("prose",), Status.REFUSED, finish="refusal"),
    "refusal": Case("I'm sorry, but I can't help.", None, ("prose",), Status.REFUSED),
    "refusal in a quote": Case("**“I’m unable to** do this.", None, ("prose",), Status.REFUSED),
    "no refusal with a list": Case('Sorry! [Person("Kano")]', KANO, ("prose",)),
    "nothing": Case("", None, status=Status.EMPTY),
    "white space only": Case(" \n\t\0\ufeff", None, status=Status.EMPTY),
    "prose only": Case("There are no names.", None, ("prose",), Status.UNPARSEABLE),
    "no list": Case("result = extract(text)", None, ("prose",), Status.UNPARSEABLE),
    "list of strings": Case(
        '["Kano"]', (), status=Status.UNPARSEABLE, dropped=(("not_an_annotation", "'Kano'"),)
    ),
    "placeholder": Case(
        "result = [...]",
        (),
        ("restated",),
        Status.UNPARSEABLE,
        dropped=(("not_an_annotation", "..."),),
    ),
}
