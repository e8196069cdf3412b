"""Schema files: what is read from them, and what is said about files that are none."""

from __future__ import annotations

import dataclasses
import json
import re
import runpy
from pathlib import Path

import black
import pytest

from harness import disk
from harness.errors import SchemaError, UnknownNameError
from harness.prompting.schema import SchemaClass, list_schemas, load_schema

SHIPPED = ["demo", "masakhaner2", "uner", "xsid"]

PERSON = '''@dataclass
class Person(Entity):
    """A guideline."""

    span: str  # Such as: "Ada"
'''


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_classes_fields_and_source_are_read_and_nothing_is_run(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '''"""A file in GoLLIE's style."""
from typing import List

raise SystemExit("schemas are never imported")

class Entity: ...  # a stand-in for editors


@dataclass
class Person(Entity):
    """A guideline of
    two lines."""

    span: str  # Such as: "Ada", "{{ text }}"
    # a comment that belongs to the class

# a comment between the classes
@dataclass
class Meet(Event):
    mention: str
    person: List[str]  # who


ENTITY_DEFINITIONS: List[Entity] = [Person]
''',
    )
    schema = load_schema(path)
    assert schema.source == (
        '@dataclass\nclass Person(Entity):\n    """A guideline of\n    two lines."""\n\n'
        '    span: str  # Such as: "Ada", "{{ text }}"\n'
        "    # a comment that belongs to the class\n\n\n"
        "@dataclass\nclass Meet(Event):\n    mention: str\n    person: List[str]  # who"
    )
    assert schema.classes == (
        SchemaClass("Person", "Entity", "A guideline of\ntwo lines.", (("span", "str"),)),
        SchemaClass("Meet", "Event", "", (("mention", "str"), ("person", "List[str]"))),
    )
    assert schema.fields() == {"Person": ("span",), "Meet": ("mention", "person")}
    assert (schema.name, schema.path) == ("mine", path)


def test_a_class_may_derive_from_one_above_it(tmp_path: Path) -> None:
    text = (
        "@dataclass\nclass Attack(Event):\n    mention: str\n\n\n"
        "@dataclass\nclass Siege(Attack):\n    place: List[str]\n"
    )
    siege = load_schema(write(tmp_path, text)).classes[1]
    assert siege.base == "Event"
    assert siege.fields == (("mention", "str"), ("place", "List[str]"))


def test_the_hash_is_of_what_the_model_sees(tmp_path: Path) -> None:
    plain = load_schema(write(tmp_path, PERSON))
    (tmp_path / "crlf.py").write_bytes(b"\xef\xbb\xbf" + PERSON.replace("\n", "\r\n").encode())
    edited = load_schema(write(tmp_path, f'"""For editors."""\n\n{PERSON}\n\nNAMES = []\n', "e.py"))
    assert plain.sha256 == load_schema(tmp_path / "crlf.py").sha256 == edited.sha256
    other = load_schema(write(tmp_path, PERSON.replace("Ada", "Eve"), "other.py"))
    assert other.sha256 != plain.sha256


def test_black_formatting_is_told_and_no_error(tmp_path: Path) -> None:
    assert load_schema(write(tmp_path, PERSON)).black_formatted() is True
    ragged = write(tmp_path, PERSON.replace("span: str", "span : str"), "ragged.py")
    assert load_schema(ragged).black_formatted() is False


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "no guideline classes here"),
        ("x = 1\n", 1, "no guideline classes here"),
        ("x = 1\nclass Person(Entity:\n", 2, "not valid Python"),
        ("\x00", 1, "not valid Python"),
        (f"x = {'(' * 5000}", 1, "not valid Python"),
        (
            "\n@dataclass\nclass Person(Thing):\n    span: str\n",
            3,
            "Entity, Value, Relation, Event",
        ),
        ("@dataclass\nclass Person:\n    span: str\n", 2, "derives from nothing"),
        ("@dataclass\nclass P(Entity, Value):\n    span: str\n", 2, "from Entity, Value. Derive"),
        ("class Person(Entity):\n    span: str\n", 1, "decorate it with '@dataclass' alone"),
        ("@dataclass()\nclass Person(Entity):\n    span: str\n", 2, "'@dataclass' alone"),
        ("@final\n@dataclass\nclass Person(Entity):\n    span: str\n", 3, "'@dataclass' alone"),
        ("@dataclass\nclass Person(Entity):\n    name: str\n", 2, "lacks 'span: str'"),
        ("@dataclass\nclass Born(Relation):\n    pass\n", 2, "'arg1: str' and 'arg2: str'"),
        ("@dataclass\nclass Die(Event):\n    victim: List[str]\n", 2, "lacks 'mention: str'"),
        (f"{PERSON}\n\n{PERSON}", 9, "class Person is there twice"),
    ],
)
def test_what_is_no_schema_is_told_with_its_line(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SchemaError) as caught:
        load_schema(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="no such file"):
        load_schema(tmp_path / "absent.py")
    with pytest.raises(SchemaError, match="no such file"):
        load_schema(str(tmp_path / "absent.py"))
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n")
    with pytest.raises(SchemaError, match="Save it as UTF-8"):
        load_schema(tmp_path / "latin.py")
    with pytest.raises(SchemaError, match="cannot be read"):
        load_schema(tmp_path)


def test_names_resolve_in_the_own_folder_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = load_schema("uner")
    monkeypatch.chdir(tmp_path)
    assert load_schema("uner").source == shipped.source
    (tmp_path / "prompts" / "schemas").mkdir(parents=True)
    write(tmp_path / "prompts" / "schemas", PERSON, "uner.py")
    write(tmp_path / "prompts" / "schemas", "x = 1", "broken.py")
    assert load_schema("uner").source == PERSON.rstrip()

    rows = {row.name: row for row in list_schemas()}
    assert sorted(rows) == sorted([*SHIPPED, "broken"])
    assert (rows["uner"].origin, rows["uner"].classes) == ("own", ("Person",))
    assert (rows["xsid"].origin, len(rows["xsid"].classes)) == ("shipped", 40)
    assert rows["demo"].sha256 == load_schema("demo").sha256[:12]
    assert "no guideline classes" in (rows["broken"].error or "")


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'masakhaner2'\? Choices: demo, "):
        load_schema("masakhaner")
    with pytest.raises(UnknownNameError):
        load_schema("..")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_schemas_are_valid_python_as_black_formats_it(name: str) -> None:
    path = disk.shipped("prompts") / "schemas" / f"{name}.py"
    text = path.read_text(encoding="utf-8")
    assert black.format_str(text, mode=black.Mode()) == text
    schema = load_schema(name)
    assert schema.black_formatted() is True
    module = runpy.run_path(str(path))
    for schema_class in schema.classes:
        fields = tuple(
            (f.name, f.type.__name__) for f in dataclasses.fields(module[schema_class.name])
        )
        assert fields == schema_class.fields == (("span", "str"),)
        assert schema_class.base == "Entity"
        assert schema_class.doc.endswith(".")


@pytest.mark.parametrize("name", ["masakhaner2", "uner", "xsid"])
def test_shipped_classes_are_those_of_the_corpus_in_their_order(name: str, corpora: Path) -> None:
    labels = json.loads((corpora / "labels.json").read_text(encoding="utf-8"))
    assert list(load_schema(name).fields()) == labels[name]["order"]


def test_example_names_are_in_no_corpus(corpora: Path) -> None:
    sources = [load_schema(name).source for name in ("masakhaner2", "uner", "demo")]
    names = {n for source in sources for n in re.findall(r'"([^"\n]+)"', source) if n[0].isupper()}
    assert len(names) >= 12
    for path in [*corpora.glob("masakhaner2/*/*.txt"), *corpora.glob("uner/*/*.iob2")]:
        column = 1 if path.suffix == ".iob2" else 0
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = (line.split("\t" if column else None) for line in lines)
        text = " ".join(row[column] for row in rows if len(row) > column)
        assert not [name for name in names if name in text], path
