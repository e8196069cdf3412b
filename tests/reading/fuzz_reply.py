"""Coverage-guided fuzzing of the parser, for longer than a test run may take.

Not collected by pytest. In an environment of its own with ``pip install atheris`` (and nothing of
the project's dependencies, since the parser needs none), from the project's root::

    PYTHONPATH=. python tests/reading/fuzz_reply.py CORPUS_FOLDER -max_total_time=1800

What it finds goes into ``findings/`` as a text file, which ``test_reply.py`` reads from then on.
"""

from __future__ import annotations

import sys
import time

import atheris

with atheris.instrument_imports(include=["harness"]):
    from harness.reading.published import read_published
    from harness.reading.reply import parse_reply
from harness.records import Status
from tests.helpers.reply_oracle import FIELDS, canonical, check_invariants

_FINISH = (None, "stop", "length", "content_filter")


def read(data: bytes) -> None:
    """One reply: the first byte chooses how it is read, the rest is its text."""
    choice = data[0] if data else 0
    reply = data[1:].decode("utf-8", "surrogatepass" if choice & 8 else "replace")
    answers = ("result",) if choice & 16 else ("result", "final_result")
    fields = None if choice & 32 else FIELDS
    begin = time.process_time()
    prediction = parse_reply(reply, answers, fields=fields, finish_reason=_FINISH[choice & 3])
    assert time.process_time() - begin < 1 + len(reply) / 10_000, "slow"
    check_invariants(prediction, answers, fields)
    read_published(reply, FIELDS)
    whole = canonical(reply)
    if whole is not None and "\\" not in reply:
        prediction = parse_reply(reply, fields=FIELDS)
        assert prediction.status is Status.OK, prediction
        assert dict(prediction.stages) == whole, prediction


def main() -> None:
    """Fuzz until a fault or an interrupt; the arguments are those of libFuzzer."""

    def one(data: bytes) -> None:
        try:
            read(data)
        except UnicodeDecodeError:
            return

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
