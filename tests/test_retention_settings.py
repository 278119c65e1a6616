"""The settings of retention: a wrong value is refused at the start, not found out by what is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import ROOT

SHOW = "from project import settings as s; print(s.RETAIN_DAYS, s.RETAIN_BYTES, s.RETAIN_CAPTURES_DAYS)"


def settings(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SHOW], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_nothing_is_removed_by_itself_unless_somebody_says_so(installation: Callable[..., dict[str, str]]) -> None:
    assert settings(installation()).stdout.split() == ["0", "0", "0"]
    given = installation(RETAIN_DAYS="30", RETAIN_BYTES="500000000000", RETAIN_CAPTURES_DAYS="32")
    assert settings(given).stdout.split() == ["30", "500000000000", "32"]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("RETAIN_DAYS", "-1", "RETAIN_DAYS must be a whole number from 0 to 36500"),
        ("RETAIN_DAYS", "30d", "RETAIN_DAYS must be a whole number"),
        ("RETAIN_BYTES", "500 Gigs", "RETAIN_BYTES must be a number of bytes"),
        ("RETAIN_CAPTURES_DAYS", "31", "RETAIN_CAPTURES_DAYS must be 0, for ever, or at least 32"),
    ],
)
def test_a_wrong_value_is_refused(
    installation: Callable[..., dict[str, str]], name: str, value: str, sentence: str
) -> None:
    done = settings(installation(**{name: value}))
    assert done.returncode == 1
    assert sentence in done.stderr
