"""What the sweep does for captures: sends what was lost, ends what is over, and leaves the rest alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from kombu.exceptions import OperationalError as NoBroker

from detection.models import Analysis, Camera, Capture, Trial
from detection.sources import Source
from tests.cast import a_user
from tests.workers.conftest import TIMEOUT, planned
from workers import capture as step
from workers import tasks
from workers.again import TryAgain
from workers.sweep import Due, unclaimed_captures

pytestmark = pytest.mark.django_db


def test_what_waits_in_a_long_queue_is_not_sent_again(gate, monkeypatch):
    monkeypatch.setattr("workers.sweep.queue_length", lambda queue: {"grab": 50, "probe": 49}[queue])
    capture = planned(gate, sent_at=timezone.now() - timedelta(seconds=30))
    assert unclaimed_captures() == []
    Camera.objects.update(failures=1)
    assert unclaimed_captures() == [capture]


def test_a_worker_that_was_lost_leaves_its_capture_to_another_while_it_is_fresh(wire, gate):
    capture = planned(gate, sent_at=timezone.now() - timedelta(seconds=30))
    Capture.claim(capture.pk, "lost")
    assert unclaimed_captures() == []
    Capture.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert unclaimed_captures() == [capture]
    assert unclaimed_captures() == []
    step.grab_one(capture.pk)
    capture.refresh_from_db()
    assert (capture.state, capture.attempts) == ("grabbed", 2)


def test_what_nobody_took_in_time_was_missed_and_what_had_failed_has_failed(wire, gate):
    then = timezone.now() - timedelta(seconds=90)
    over = {"until": then + timedelta(seconds=60)}
    planned(gate, planned_at=then, **over)
    planned(gate, planned_at=then + timedelta(seconds=1), attempts=1, **over)
    planned(gate, planned_at=then + timedelta(seconds=2), attempts=1, kind="timeout", why="Too slow.", **over)
    assert Capture.end_expired() == 3
    rows = Capture.objects.order_by("planned_at").values_list("state", "kind")
    assert list(rows) == [("missed", "late"), ("missed", "worker_lost"), ("failed", "timeout")]
    gate.refresh_from_db()
    assert gate.failures == 1


def test_the_sweep_sends_what_it_planned_to_the_cameras_queue(gate, monkeypatch):
    monkeypatch.setattr("workers.tasks.due_work", list)
    sent: list[tuple[int, str]] = []
    monkeypatch.setattr(tasks.grab, "apply_async", lambda args, queue, producer: sent.append((args[0], queue)))
    then = timezone.now() - timedelta(seconds=61)
    Camera.objects.update(accounted_until=then, next_at=gate.rule.next_after(then))
    tasks.sweep()
    capture = Capture.objects.exclude(state="missed").get()
    assert sent == [(capture.pk, "grab")]
    tasks.sweep()
    assert len(sent) == 1


@pytest.fixture
def nothing_to_send(monkeypatch) -> None:
    monkeypatch.setattr(tasks, "due_work", list)
    monkeypatch.setattr(tasks, "_send_captures", lambda _: True)


def test_the_sweep_ends_what_is_over_and_forgets_old_trials(gate, nothing_to_send):
    then = timezone.now() - timedelta(seconds=90)
    capture = planned(gate, planned_at=then, until=then + timedelta(seconds=60))
    Trial.ask(Source("http", "http://10.0.0.5/"), a_user("operator"))
    Trial.objects.update(requested_at=timezone.now() - timedelta(minutes=16))
    tasks.sweep()
    capture.refresh_from_db()
    assert (capture.state, capture.kind) == ("missed", "late")
    assert not Trial.objects.exists()


def test_the_sweep_follows_the_clock(nothing_to_send, monkeypatch):
    called = []
    monkeypatch.setattr(tasks, "follow_the_clock", lambda: called.append(1))
    tasks.sweep()
    assert called == [1]


def test_without_a_broker_a_capture_is_left_to_the_sweep(gate, monkeypatch):
    def away(*_, **__):
        raise NoBroker("gone")

    monkeypatch.setattr(tasks.grab, "apply_async", away)
    assert not tasks.send_capture(planned(gate))


def test_a_broker_that_is_away_is_asked_once_by_a_sweep(nothing_to_send, monkeypatch):
    asked = []
    monkeypatch.setattr(tasks, "_publish", lambda *given: asked.append(given))
    monkeypatch.setattr(tasks, "due_work", lambda: [Due("analyse", Analysis, pk, "analyse") for pk in (1, 2)])
    tasks.sweep()
    assert len(asked) == 1
    monkeypatch.setattr(tasks, "_send_captures", lambda _: False)
    tasks.sweep()
    assert len(asked) == 1


def test_what_killed_its_worker_every_time_is_not_sent_again(gate, settings):
    settings.GRAB_ATTEMPTS = 3
    planned(gate, attempts=3, sent_at=timezone.now() - timedelta(seconds=30))
    assert unclaimed_captures() == []


def test_a_retry_is_sent_also_where_the_queue_is_long(gate, monkeypatch):
    monkeypatch.setattr("workers.sweep.queue_length", lambda queue: 50)
    sent = {"sent_at": timezone.now() - timedelta(seconds=30)}
    planned(gate, planned_at=timezone.now() - timedelta(seconds=2), **sent)
    retry = planned(gate, attempts=1, **sent)
    assert unclaimed_captures() == [retry]


def test_the_sweep_leaves_a_retry_its_pause(wire, gate):
    wire.answers = [TIMEOUT]
    capture = planned(gate, sent_at=timezone.now() - timedelta(seconds=30))
    with pytest.raises(TryAgain):
        step.grab_one(capture.pk)
    assert unclaimed_captures() == []


def test_a_sweep_that_finds_nothing_writes_nothing(gate, monkeypatch):
    """On SQLite even an UPDATE of no row waits for the one lock that whoever stores a clip holds."""
    with CaptureQueriesContext(connection) as seen:
        tasks.sweep()
    assert [query["sql"] for query in seen.captured_queries if not query["sql"].startswith("SELECT")] == []
