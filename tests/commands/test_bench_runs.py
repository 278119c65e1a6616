"""The benches from end to end, with as little as they can do: what the figures of docs/operating.md were printed by."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from detection.management.commands.bench import BENCHES

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


def test_the_overhead_of_a_picture_is_measured_beside_the_vision_code():
    said = printed("overhead", "--images=5")
    assert re.search(r"^5 pictures on \w+, one worker process, \d+ a second$", said, re.MULTILINE), said
    assert re.search(
        r"^the worker's CPU for each: \d+\.\d ms; of it the vision code alone: \d+\.\d ms$", said, re.MULTILINE
    )
    assert re.search(
        r"^rows, leases and messages: -?\d+\.\d ms of CPU for each; the broker's: \d+\.\d ms$", said, re.MULTILINE
    )


def test_the_two_lanes_are_measured_one_beside_the_other():
    said = printed("lanes", "--bulk=200", "--seconds=1")
    assert re.search(r"^200 bulk pictures wait on \w+, one worker process$", said, re.MULTILINE), said
    assert re.search(
        r"done after \d+\.\d\d s \(median\), \d+\.\d\d s at most; meanwhile \d+ of bulk a second$", said, re.MULTILINE
    )
    assert re.search(
        r"30 wait at any time: \d+ of theirs were done in 1 s, and \d+ of bulk, \d+% of all$", said, re.MULTILINE
    )


def test_the_memory_that_a_clip_takes_is_measured():
    said = printed("memory", "--minutes=0.5")
    measured = r"^0\.5 minutes, 300 frames in \d+ chunks, [\d,]+ boxes: at most \d+ MB \(\d+ MB before\), \d+ s$"
    assert re.search(measured, said, re.MULTILINE), said


def test_all_benches_are_listed(capsys):
    with pytest.raises(SystemExit):
        call_command("bench", "--help")
    said = capsys.readouterr().out
    for name in BENCHES:
        assert len(re.findall(rf"\b{name}\b", said)) >= 3, said


@pytest.mark.parametrize("words", [("--kill=asleep",), ("--dead=3", "--slow=2"), ("--cameras=1", "--kill")])
def test_what_cannot_be_measured_is_refused(words):
    with pytest.raises(CommandError, match="--kill"):
        printed("cameras", "--cameras=5", *words)


def test_a_list_with_many_rows_is_measured_at_a_steady_rate():
    said = printed("lists", "--rows=100", "--rate=5", "--seconds=1", "--processes=1")
    assert re.search(
        r"^100 sightings, /sightings/: \d+ requests a second, median \d+ ms, p99 \d+ ms, at most \d+ ms, 0 errors$",
        said,
        re.MULTILINE,
    ), said


def test_the_memory_of_the_pages_under_uploads_is_measured():
    said = printed("uploads", "--uploads=3", "--megabytes=2")
    assert re.search(r"^3 uploads of 2 MB at once: \d+ MB a second, answers \{201: 3\}$", said, re.MULTILINE), said
    assert re.search(r"^web with its worker: \d+ MB before, \d+ MB at most$", said, re.MULTILINE)


def test_an_outage_of_the_broker_is_measured():
    said = printed("outage", "--seconds=3", "--rate=2")
    assert re.search(r"^the broker was away for 3 s under 2 uploads a second: answers \{201: \d+\}", said), said
    assert re.search(r"^health said degraded after \d+\.\d s, and ok \d+\.\d s after", said, re.MULTILINE)
    assert re.search(r"^analyses: \{'done': \d+\}; all that were asked for meanwhile", said, re.MULTILINE)
