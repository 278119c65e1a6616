"""The benches of cameras from end to end, with few cameras: what the figures of docs/operating.md were printed by."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.slow


def printed(*words: str) -> str:
    said = StringIO()
    call_command("bench", *words, stdout=said)
    return said.getvalue()


def test_a_sweep_is_measured_with_all_that_it_does():
    said = printed("sweep", "--cameras", "20", "--due", "5", "--history", "1")
    assert "20 cameras, 5 of them due, 20 captures" in said
    for what in ("planning", "sending", "a whole sweep with these due", "a whole sweep with nothing due"):
        assert re.search(rf"^{what}: \d", said, re.MULTILINE), said


def test_cameras_are_measured_beside_bad_and_slow_ones():
    said = printed("cameras", "--cameras=5", "--every=2", "--minutes=0.05", "--dead=1", "--slow=1", "--width=160")
    assert "5 cameras (http, 160x90) every 2 s, 1 of them bad, 1 of them slow" in said
    well, _, slow = said.partition("the slow ones")
    assert re.search(r"within 2 s: \d+\.\d+% of the planned", well), said
    planned = re.search(r"planned: (\d+); recorded: (\d+)", slow)
    assert planned, said
    assert planned[1] == planned[2] != "0"
    assert "the bad ones are" in slow


@pytest.mark.parametrize("words", [("--kill=asleep",), ("--dead=3", "--slow=2"), ("--cameras=1", "--kill")])
def test_what_cannot_be_measured_is_refused(words):
    with pytest.raises(CommandError, match="--kill"):
        printed("cameras", "--cameras=5", *words)
