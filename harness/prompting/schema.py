"""Schemas: the guideline dataclasses that a model reads, as Python source.

A schema file is parsed with ``ast`` and never imported. Its ``@dataclass`` classes go into the
prompt verbatim, in their order, with two blank lines between them. Everything else in the file (a
docstring, imports, comments between the classes, lists of classes) is for editors and never
reaches a model. A class derives from ``Entity``, ``Value``, ``Relation`` or ``Event``, or from a
class above it in the file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from harness.errors import SchemaError
from harness.prompting import lookup
from harness.shapes import BASES


@dataclass(frozen=True, slots=True)
class SchemaClass:
    """A guideline class.

    ``base`` is a key of ``BASES``, ``doc`` the guideline. ``fields`` are pairs of name and type.
    """

    name: str
    base: str
    doc: str
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Schema:
    """The classes of a schema file; ``source`` is their text in a prompt, without a line end."""

    name: str
    path: Path
    source: str
    classes: tuple[SchemaClass, ...]

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of ``source`` in hex: of the text for models, not of the file."""
        return lookup.digest(self.source)

    def fields(self) -> dict[str, tuple[str, ...]]:
        """Class name to field names, in the order of the file."""
        return {c.name: tuple(name for name, _ in c.fields) for c in self.classes}

    def black_formatted(self) -> bool | None:
        """Whether ``source`` is in black's format; ``None`` if black is not installed.

        Models of the GoLLIE family were trained only on prompts in black's format. For other
        models, another format is no error.
        """
        if find_spec("black") is None:
            return None
        import black

        text = self.source + "\n"
        return black.format_str(text, mode=black.Mode()) == text


@dataclass(frozen=True, slots=True)
class SchemaRow:
    """A line of ``harness ls prompts``; ``error`` is the reason why a file is no schema."""

    name: str
    classes: tuple[str, ...]
    origin: str
    sha256: str
    error: str | None = None


def load_schema(name_or_path: str | Path) -> Schema:
    """Read a schema: a name under ``prompts/schemas``, or the path of any Python file.

    Raises:
        UnknownNameError: there is no schema of that name.
        SchemaError: the file cannot be read, or its classes are faulty or missing. A message about
            the content begins with ``file:line``.
    """
    path = lookup.locate("schema", "schemas", ".py", name_or_path)
    text = lookup.read(path, SchemaError)
    try:
        body = ast.parse(text, filename=str(path)).body
    except SyntaxError as problem:
        raise SchemaError(
            f"{path}:{problem.lineno or 1}: not valid Python ({problem.msg}). Correct the line."
        ) from None
    except (ValueError, RecursionError) as problem:
        raise SchemaError(f"{path}:1: not valid Python ({problem}). Correct the file.") from None

    classes: dict[str, SchemaClass] = {}
    sources: list[str] = []
    lines = text.split("\n")
    for node in body:
        if isinstance(node, ast.ClassDef) and (schema_class := _read_class(node, classes, path)):
            classes[node.name] = schema_class
            sources.append(_source(node, lines))
    if not classes:
        raise SchemaError(
            f"{path}:1: no guideline classes here. Write each as '@dataclass', "
            f"'class Person(Entity):', a docstring with the guideline, and 'span: str'."
        )
    return Schema(path.stem, path, "\n\n\n".join(sources), tuple(classes.values()))


def list_schemas() -> list[SchemaRow]:
    """The schemas that have a name; a file that is no schema is listed with its error."""
    rows = []
    for name, path in lookup.prompt_files("schemas", ".py").items():
        try:
            schema = load_schema(path)
        except SchemaError as problem:
            rows.append(SchemaRow(name, (), lookup.origin(path), "", str(problem)))
        else:
            names = tuple(schema.fields())
            rows.append(SchemaRow(name, names, lookup.origin(path), schema.sha256[:12]))
    return rows


def _read_class(
    node: ast.ClassDef, classes: dict[str, SchemaClass], path: Path
) -> SchemaClass | None:
    """The guideline class of a node, or ``None`` if it is another class, for editors."""
    bases = [ast.unparse(base) for base in node.bases]
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    derives = len(bases) == 1 and (bases[0] in BASES or bases[0] in classes)
    if not decorators and not derives:
        return None  # a class for editors, such as a substitute for Entity
    here = f"{path}:{node.lineno}: class {node.name}"
    if decorators != ["dataclass"]:
        raise SchemaError(f"{here} is a guideline class: decorate it with '@dataclass' alone.")
    if not derives:
        base_names = ", ".join(bases) or "nothing"
        choices = ", ".join([*BASES, *classes])
        raise SchemaError(f"{here} derives from {base_names}. Derive it from one of: {choices}.")
    if node.name in classes:
        raise SchemaError(f"{here} is there twice. Rename or remove one.")

    parent = classes.get(bases[0])
    base = parent.base if parent else bases[0]
    fields = dict(parent.fields if parent else ()) | dict(_own_fields(node))
    missing = [name for name in BASES[base] if name not in fields]
    if missing:
        lines = " and ".join(f"'{name}: str'" for name in missing)
        raise SchemaError(f"{here} lacks {lines}: every {base} needs it. Add it to the class.")
    return SchemaClass(node.name, base, ast.get_docstring(node) or "", tuple(fields.items()))


def _own_fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id, ast.unparse(statement.annotation)


def _source(node: ast.ClassDef, lines: list[str]) -> str:
    """The source of a class, from its decorator to the last indented comment below it."""
    start = node.decorator_list[0].lineno - 1
    end = node.end_lineno or node.lineno
    for number in range(end, len(lines)):
        if lines[number].startswith((" ", "\t")) and lines[number].strip():
            end = number + 1
        elif lines[number].strip():
            break
    return "\n".join(lines[start:end])
