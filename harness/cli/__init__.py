"""The command line: arguments in, one call, a table out."""

from harness.cli.main import main

__all__ = ["main"]
