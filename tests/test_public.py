"""The public names and the tree of errors are complete, and say what they promise."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import harness
from harness import errors


def test_public_names_are_sorted_and_documented() -> None:
    assert harness.__all__ == sorted(harness.__all__)
    for name in harness.__all__:
        assert inspect.getdoc(getattr(harness, name)), name
        assert name in dir(harness)


def test_import_costs_nothing() -> None:
    script = "import sys, harness; print(sorted(m for m in sys.modules if m.startswith('harness')))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['harness']"


def test_the_drawn_tree_is_the_tree() -> None:
    tree = errors.__doc__ or ""
    drawn: dict[str, str] = {}
    ancestors: list[str] = []
    for line in tree.splitlines():
        found = re.match(r"(    [│├└─ ]*)([A-Z]\w+Error)\b", line)
        if found:
            depth = (len(found[1]) - 4) // 4
            del ancestors[depth:]
            drawn[found[2]] = ancestors[-1] if ancestors else "Exception"
            ancestors.append(found[2])
    real = {
        name: kind.__bases__[0].__name__
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, Exception)
    }
    assert drawn == real
