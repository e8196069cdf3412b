"""The reader of each reply format."""

from __future__ import annotations

from harness.reading.json_reply import parse_json_reply
from harness.reading.reply import parse_reply

#: The function that reads a reply, by the ``format`` of the system.
REPLY_READERS = {"python": parse_reply, "json": parse_json_reply}
