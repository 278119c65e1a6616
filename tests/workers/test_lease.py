"""The thread that keeps a lease."""

from __future__ import annotations

import os
import signal
import time

import pytest
from celery.signals import worker_shutting_down
from django.db import InterfaceError

from detection.models import Chunk, LeaseLost
from tests.cast import a_running_analysis
from tests.processes import PATIENCE
from workers import lease, stopping
from workers.lease import Keeper

pytestmark = pytest.mark.django_db


@pytest.fixture
def chunk(settings):
    settings.RENEW_S = 0.01
    return Chunk.claim(a_running_analysis().chunks.first().pk, "one")


def until(holds) -> None:
    deadline = time.monotonic() + 5 * PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_renews_with_the_progress_that_was_told(chunk, monkeypatch):
    told = []
    monkeypatch.setattr(Chunk, "renew", lambda self, **progress: told.append(progress))
    with Keeper(chunk) as keeper:
        keeper.check(frames_read=7)
        until(lambda: {"frames_read": 7} in told)
    count = len(told)
    time.sleep(0.05)
    assert len(told) == count  # over with the work


def test_work_that_was_lost_is_dropped_at_the_next_step(chunk, monkeypatch):
    def lost(self, **progress):
        raise LeaseLost("cancelled")

    monkeypatch.setattr(Chunk, "renew", lost)
    with Keeper(chunk) as keeper, pytest.raises(LeaseLost, match="cancelled"):
        until(lambda: keeper.check())


def test_a_broken_connection_is_made_anew_and_the_lease_goes_on(chunk, monkeypatch):
    answers = iter([InterfaceError("connection already closed")])
    renewed = []

    def breaks_once(self, **progress):
        for error in answers:
            raise error
        renewed.append(progress)

    class Connection:
        closed_before_renewal = False

        def close(self):
            self.closed_before_renewal = self.closed_before_renewal or not renewed

    connection = Connection()
    monkeypatch.setattr(Chunk, "renew", breaks_once)
    monkeypatch.setattr("workers.lease.connection", connection)
    with Keeper(chunk) as keeper:
        until(lambda: renewed)
        keeper.check()
    assert connection.closed_before_renewal


@pytest.fixture
def stopping_worker():
    yield stopping.say
    stopping.unsay()


def test_work_goes_on_for_a_while_after_its_worker_was_told_to_stop_and_is_then_to_be_dropped(
    chunk, monkeypatch, stopping_worker
):
    monkeypatch.setattr(Chunk, "renew", lambda self, **progress: None)
    monkeypatch.setattr(lease, "STOP_WORK_S", 0.2)
    stopping_worker()
    with Keeper(chunk) as keeper:
        keeper.check()
        time.sleep(0.05)
        keeper.check()
        with pytest.raises(stopping.WorkerStops):
            until(lambda: keeper.check())


def test_a_worker_that_was_told_to_stop_long_ago_begins_nothing_more(chunk, monkeypatch, stopping_worker):
    monkeypatch.setattr(lease, "STOP_WORK_S", 0.0)
    stopping_worker()
    with Keeper(chunk) as keeper, pytest.raises(stopping.WorkerStops):
        keeper.check()


def test_a_main_process_that_does_not_end_its_stop_just_goes(monkeypatch, stopping_worker):
    """Celery's waits for ever for a process that was killed before."""
    gone = []
    monkeypatch.setattr(stopping, "GONE_AFTER_S", 0.05)
    monkeypatch.setattr(stopping.os, "kill", lambda pid, number: gone.append((pid, number)))
    worker_shutting_down.send(sender="analyse@host", sig="SIGTERM", how="Warm", exitcode=0)
    assert stopping.is_said()
    until(lambda: gone)
    assert gone == [(os.getpid(), signal.SIGKILL)]
