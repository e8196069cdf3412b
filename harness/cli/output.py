"""Plain tables for the verbs that list something."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.terminal import visible


def print_rows(header: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print rows under a header, aligned; without rows, print ``empty``."""
    if not rows:
        print(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    # Piped output is not wrapped at 80 columns, which would cut figures.
    Console(highlight=False, width=None if sys.stdout.isatty() else 400).print(table)
