"""A process that hangs is ended by the main process; with real ones that hold the lock of Python, see make chaos."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from detection.models import Chunk
from tests.cast import a_running_analysis
from workers import crash, pulse, stopping
from workers.crash import process_name
from workers.pulse import HUNG, STOPPED, Attendant, Sign

INFINITE = float("inf")


@pytest.fixture(autouse=True)
def _nothing_is_stopped():
    yield
    stopping.unsay()


def test_work_that_gets_on_is_in_no_trouble(settings):
    assert Sign(7, beat_at=100.0, alive_at=100.0).trouble(now=101.0) == ""
    # Longer without progress than a lease, and shorter than a stall: its threads run.
    assert Sign(7, beat_at=149.0, alive_at=100.0).trouble(now=150.0) == ""


def test_a_process_without_work_is_in_no_trouble_however_long_it_is_silent():
    assert Sign(7, beat_at=0.0, alive_at=0.0).trouble(now=1e6) == ""


def test_a_process_none_of_whose_threads_runs_is_in_trouble_before_its_lease_runs_out(settings):
    settings.LEASE_S = 10
    assert Sign(7, beat_at=100.0, alive_at=100.0).trouble(now=104.9) == ""
    assert Sign(7, beat_at=100.0, alive_at=100.0).trouble(now=105.1) == HUNG


def test_work_that_makes_no_progress_is_in_trouble(settings):
    settings.STALL_S = 300
    assert Sign(7, beat_at=400.0, alive_at=100.0).trouble(now=400.0) == ""
    said = Sign(7, beat_at=401.0, alive_at=100.0).trouble(now=401.0)
    assert said == "It made no progress for 300 seconds, and its process was ended."


def test_what_waits_for_a_bucket_makes_no_progress_and_is_in_no_trouble_while_its_threads_run():
    assert Sign(7, beat_at=1e5, alive_at=INFINITE).trouble(now=1e5) == ""
    assert Sign(7, beat_at=1.0, alive_at=INFINITE).trouble(now=1e5) == HUNG


def test_work_that_does_not_come_back_from_a_stop_is_in_trouble(monkeypatch):
    stopping.say()
    assert Sign(7, beat_at=100.0, alive_at=100.0).trouble(now=100.0) == ""
    monkeypatch.setattr(pulse, "STOP_END_S", 0.0)
    assert Sign(7, beat_at=100.0, alive_at=100.0).trouble(now=100.0) == STOPPED
    assert Sign(7, beat_at=100.0, alive_at=0.0).trouble(now=100.0) == ""


@pytest.fixture
def hanging(monkeypatch):
    """A process of a pool that hangs, and the attendant of that pool."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        signs = [Sign(process.pid, beat_at=time.monotonic() - 60, alive_at=time.monotonic())]
        monkeypatch.setattr(pulse, "signs", lambda: signs)
        yield SimpleNamespace(process=process, signs=signs, attendant=Attendant(SimpleNamespace(_pool=[process])))
        process.kill()


@pytest.mark.django_db
def test_a_process_that_hangs_is_ended_and_its_row_says_why(hanging, monkeypatch, caplog):
    monkeypatch.setattr(crash.connections, "close_all", lambda: None)
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, process_name(hanging.process.pid))
    hanging.attendant.look()
    assert hanging.process.poll() is None  # it may have woken up just now
    hanging.attendant.look()
    assert hanging.process.wait(timeout=30) == -signal.SIGKILL
    chunk.refresh_from_db()
    assert (chunk.state, chunk.attempts, chunk.error) == ("queued", 1, HUNG)
    hanging.attendant.look()
    assert caplog.text.count("is ended") == 1, "until the pool has seen that it is gone, it is not ended again"


@pytest.mark.django_db
def test_a_file_that_hangs_its_process_every_time_has_failed(hanging, monkeypatch, settings):
    settings.MAX_ATTEMPTS = 1
    monkeypatch.setattr(crash.connections, "close_all", lambda: None)
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, process_name(hanging.process.pid))
    hanging.attendant.look()
    hanging.attendant.look()
    chunk.refresh_from_db()
    assert (chunk.state, chunk.error_kind) == ("failed", "worker_lost")
    assert chunk.error.startswith(HUNG)


@pytest.mark.django_db
def test_what_is_ended_because_its_worker_stops_costs_no_attempt(hanging, monkeypatch):
    monkeypatch.setattr(crash.connections, "close_all", lambda: None)
    monkeypatch.setattr(pulse, "STOP_END_S", 0.0)
    stopping.say()
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, process_name(hanging.process.pid))
    hanging.attendant.look()
    hanging.attendant.look()
    chunk.refresh_from_db()
    assert (chunk.state, chunk.attempts, chunk.error) == ("queued", 0, STOPPED)


def test_one_that_stood_still_and_woke_up_is_left_alone(hanging):
    hanging.attendant.look()
    hanging.signs[0] = Sign(hanging.process.pid, beat_at=time.monotonic(), alive_at=time.monotonic())
    hanging.attendant.look()
    hanging.signs[0] = Sign(hanging.process.pid, beat_at=time.monotonic() - 60, alive_at=time.monotonic())
    hanging.attendant.look()
    assert hanging.process.poll() is None


def test_a_process_of_somebody_elses_is_never_ended(hanging):
    """A slot may name a process that is gone, and whose id another has by now."""
    other = Attendant(SimpleNamespace(_pool=[SimpleNamespace(pid=os.getpid())]))
    other.look()
    other.look()
    assert hanging.process.poll() is None


def test_a_process_that_is_no_workers_child_leaves_no_signs():
    before = pulse.signs()
    pulse.working(1.0)
    assert pulse.signs() == before
    assert pulse._mine is None


WORKS = """
import os, time
from billiard.process import current_process
from tests import settings  # noqa: F401
import django; django.setup()
from workers import pulse
child = os.fork()
if not child:
    current_process().index = 3
    pulse.working(5.0)
    time.sleep(60)
deadline = time.monotonic() + 20
while pulse.signs()[3].alive_at != 5.0 and time.monotonic() < deadline:
    time.sleep(0.05)
first = pulse.signs()[3]
assert first.pid == child, first
while pulse.signs()[3].beat_at == first.beat_at and time.monotonic() < deadline:
    time.sleep(0.05)
assert pulse.signs()[3].beat_at > first.beat_at
os.kill(child, 9)
os.waitpid(child, 0)
"""


def test_a_child_writes_its_signs_where_the_main_process_sees_them():
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run([sys.executable, "-c", WORKS], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
