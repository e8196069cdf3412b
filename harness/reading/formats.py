"""The reader of each answer format."""

from __future__ import annotations

from harness.reading.json_reply import parse_json_reply
from harness.reading.reply import parse_reply

#: The readers of replies, by what ``format`` a system asks for.
FORMATS = {"python": parse_reply, "json": parse_json_reply}
