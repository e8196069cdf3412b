"""How well does a prompt, on a model, extract information from text in a language?

The names below are the Python interface; each is imported when it is first used, so that
``import harness`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = [
    "compare",
    "load_dataset",
    "load_experiment",
    "parse_reply",
    "render",
    "run",
    "score",
]

_HOMES = {
    "__version__": "harness.version",
    "compare": "harness.report.compare",
    "load_dataset": "harness.data",
    "load_experiment": "harness.experiment",
    "parse_reply": "harness.reading.reply",
    "render": "harness.prompting.rendering",
    "run": "harness.running.runner",
    "score": "harness.report.compare",
}

if TYPE_CHECKING:
    from harness.data import load_dataset
    from harness.experiment import load_experiment
    from harness.prompting.rendering import render
    from harness.reading.reply import parse_reply
    from harness.report.compare import compare, score
    from harness.running.runner import run
    from harness.version import __version__ as __version__


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'harness' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
