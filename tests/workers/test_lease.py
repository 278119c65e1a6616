"""The thread that keeps a lease."""

from __future__ import annotations

import time

import pytest
from django.db import InterfaceError

from detection.models import Chunk, LeaseLost
from tests.cast import a_running_analysis
from workers.lease import Keeper

pytestmark = pytest.mark.django_db


@pytest.fixture
def chunk(settings):
    settings.RENEW_S = 0.01
    return Chunk.claim(a_running_analysis().chunks.first().pk, "one")


def until(holds) -> None:
    deadline = time.monotonic() + 5
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
    with Keeper(chunk) as keeper:
        until(lambda: keeper._lost is not None)
        with pytest.raises(LeaseLost, match="cancelled"):
            keeper.check()


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
