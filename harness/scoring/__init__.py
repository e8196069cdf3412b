"""Counts per sentence under three matching rules, and the arithmetic over them."""

from harness.scoring.bootstrap import (
    Interval,
    Paired,
    Resampled,
    average,
    holm,
    interval,
    paired,
    resample,
)
from harness.scoring.ceiling import ceiling
from harness.scoring.rows import (
    Counts,
    Row,
    Score,
    arguments,
    micro,
    per_label,
)
from harness.scoring.rules import RULES, count
from harness.scoring.signature import examples_hash, signature
from harness.scoring.stages import Attribution, attribute
from harness.scoring.tags import TagScores, read_tags, score_tags
from harness.scoring.vote import as_written, vote

__all__ = [
    "RULES",
    "Attribution",
    "Counts",
    "Interval",
    "Paired",
    "Resampled",
    "Row",
    "Score",
    "TagScores",
    "arguments",
    "as_written",
    "attribute",
    "average",
    "ceiling",
    "count",
    "examples_hash",
    "holm",
    "interval",
    "micro",
    "paired",
    "per_label",
    "read_tags",
    "resample",
    "score_tags",
    "signature",
    "vote",
]
