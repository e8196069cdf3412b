"""Signatures: what a printed score was made of, in one line, after the manner of sacreBLEU.

A signature is ``key:value`` pairs joined by ``|``. Two scores are comparable when their
signatures are equal but for the parts one means to compare. The system (model, sampling) is
named beside the score; how its prompt was wrapped and which backend read it are part here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from harness.records import Example
from harness.scoring.rules import find_rule
from harness.version import __version__

_DIGITS = 8


def signature(
    rule: str,
    *,
    dataset: str,
    language: str,
    split: str,
    n: int,
    data_sha256: str,
    schema_sha256: str,
    template: str,
    template_sha256: str,
    wrap: str,
    backend: str,
    translation: str = "none",
    format: str | None = None,  # noqa: A002
    shots: str | None = None,
    repeats: int | None = None,
    vote: str | None = None,
    resamples: int | None = None,
    seed: int | None = None,
    program: str | None = None,
) -> str:
    """The signature of one score.

    ``data_sha256`` is :func:`examples_hash` of the ``n`` scored examples, ``translation`` the
    identity of where the English came from, ``resamples`` and ``seed`` those of the bootstrap
    where an interval is printed, ``program`` the version (default: this one's).
    ``format`` of the answer, ``shots`` in the prompt (``3@train/random/0#1a2b3c4d``), ``repeats``
    of it and the ``vote`` over them are ``None`` where they are Python, none, one and none.
    Hashes are cut to their first 8 hexadecimal digits. Characters that part the pairs are replaced
    in values (``|`` by ``/``, white space by ``_``), so that the text splits back at ``|`` and
    the first ``:``.

    Raises :class:`UnknownNameError` for an unknown rule.
    """
    matching = find_rule(rule)
    parts = {
        "rule": rule,
        "filter": matching.filter,
        "norm": matching.normalisation,
        "data": f"{dataset}/{language}/{split}#{data_sha256[:_DIGITS]}",
        "n": n,
        "schema": schema_sha256[:_DIGITS],
        "template": f"{template}#{template_sha256[:_DIGITS]}",
        "shots": shots,
        "format": format,
        "wrap": wrap,
        "backend": backend,
        "mt": translation,
        "repeats": repeats,
        "vote": vote,
        "bs": resamples,
        "seed": seed,
        "version": program or __version__,
    }
    return "|".join(
        f"{key}:{'_'.join(str(value).replace('|', '/').split())}"
        for key, value in parts.items()
        if value is not None
    )


def examples_hash(examples: Iterable[Example]) -> str:
    """SHA-256 (hexadecimal) over id, text and gold of the examples, in their order."""
    content = [
        (e.id, e.text, [(a.type, sorted(a.fields.items()), a.offsets) for a in e.gold])
        for e in examples
    ]
    # The text of a corpus is hashed as it is, lone surrogates of a broken one included.
    canonical = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
