"""What a test does where something it needs is not on this machine."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(what: str) -> NoReturn:
    """Skips the test, except under CI, where a test that cannot run must not look like one that passed."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{what} (CI=true: not skipped)", pytrace=False)
    pytest.skip(what)
