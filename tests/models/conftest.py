"""No key, endpoint or price file of whoever runs the tests takes part in these."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _own_environment(own_environment: None) -> None:
    """Every test of this room uses it."""
