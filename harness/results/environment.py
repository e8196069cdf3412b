"""What a run ran on: versions, commit, command, machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from harness.results.manifest import LAYOUT


def environment() -> dict[str, Any]:
    """What a run ran on: versions, git commit, command line, machine. No environment variables."""
    import platform
    from importlib import metadata

    versions = {}
    for package in ("transfusion-harness", "openai", "aiohttp", "jinja2", "numpy", "pydantic"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "layout": LAYOUT,
        "python": platform.python_version(),
        "versions": versions,
        "git_commit": _git_commit(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
    }


def _git_commit() -> str | None:
    """The commit of the repository that the working directory is in, or None."""
    import subprocess

    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
