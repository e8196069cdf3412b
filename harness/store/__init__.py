"""The answer store: what was paid for once is read from here ever after.

One SQLite file holds every answer of every model under the hash of its whole request. A commit
precedes every use, answers are only ever added, and several processes may share the file.
"""

from harness.store.exchange import Imported, export_answers, import_answers
from harness.store.explanation import Explanation, Neighbour, explain
from harness.store.key import canonical, identity, normalise_base_url, request_key, table_key
from harness.store.maintenance import Entry, Pruned, Totals, find_keys, prune, recent, stats
from harness.store.store import ANSWER_KINDS, Store, default_path

__all__ = [
    "ANSWER_KINDS",
    "Entry",
    "Explanation",
    "Imported",
    "Neighbour",
    "Pruned",
    "Store",
    "Totals",
    "canonical",
    "default_path",
    "explain",
    "export_answers",
    "find_keys",
    "identity",
    "import_answers",
    "normalise_base_url",
    "prune",
    "recent",
    "request_key",
    "stats",
    "table_key",
]
