"""What tests find on this machine, and what one does where something it needs is not there."""

from __future__ import annotations

import os
import socket
from typing import NoReturn

import pytest

IS_CI = os.environ.get("CI", "").lower() == "true"


def absent(what: str) -> NoReturn:
    """Skips the test, except under CI, where a test that cannot run must not look like one that passed."""
    if IS_CI:
        pytest.fail(f"{what} (CI=true: not skipped)", pytrace=False)
    pytest.skip(what)


def find_free_port() -> int:
    """A port of this machine that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
