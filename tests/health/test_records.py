"""What is read of the rows, for a look at the system."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F

from detection.health.records import Process, read_records
from detection.models import Analysis, Camera, CameraEvent, Heartbeat, Model, Notification
from detection.models.clock import now
from detection.models.heartbeat import Sign
from tests.cast import a_camera, a_media, a_model

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def a_notification(state: str, ago: timedelta) -> None:
    event = CameraEvent.objects.create(camera=Camera.objects.all()[0], kind="offline", at=now())
    ended = None if state == "queued" else now() - ago
    Notification.objects.create(event=event, channel="email", state=state, due_at=now(), finished_at=ended)


def fail(analysis: Analysis) -> None:
    claimed = Analysis.claim(analysis.pk, "worker")
    assert claimed is not None
    claimed.fail("unreadable", "It is damaged.")


def test_it_counts_what_there_is():
    a_model("another")
    a_model("cars").activate()
    a_model("others")
    Model.objects.exclude(name="cars").update(sha256="cd" * 32)
    for state in ("ok", "ok", "failing"):
        a_camera(state=state)
    Analysis.request(a_media(b"waits"))
    fail(Analysis.request(a_media(b"damaged")))
    fail(Analysis.request(a_media(b"tried again")))
    Analysis.request(a_media(b"tried again"))  # so nobody has anything to do about the one before
    for state, ago in (("failed", DAY / 2), ("failed", DAY * 2), ("done", DAY / 2), ("queued", DAY / 2)):
        a_notification(state, ago)

    found = read_records()
    assert set(found.cameras) == set(Camera.State.values)
    assert {state: count for state, count in found.cameras.items() if count} == {"ok": 2, "failing": 1}
    assert {(row.lane, row.kind): row.waiting for row in found.lanes if row.waiting} == {
        ("interactive", "analysis"): 2,
        ("notifications", "notification"): 1,
    }
    assert (found.model, found.model_sha256) == ("cars", "ab" * 32)
    assert (found.failed_analyses, found.failed_notifications) == (1, 1)
    assert found.processes == ()


def test_a_process_is_told_as_its_last_sign_says_with_the_age_of_that():
    worker = Sign("grab@here", "worker", "here", 17, "1.2", ["grab", "probe"], 2, 3_000_000, 2_000_000, False, 60)
    Heartbeat.beat(worker)
    Heartbeat.beat(Sign("beat@here", "beat", "here", 18, "1.2", [], 0, 500, 400, True, 61))
    Heartbeat.objects.filter(name="grab@here").update(at=F("at") - timedelta(seconds=40))
    Heartbeat.objects.filter(name="beat@here").update(at=F("at") + timedelta(seconds=100))
    beat, grab = read_records().processes
    assert 40 <= grab.age_s < 60
    assert grab == Process(
        "grab@here", "worker", "here", 17, "1.2", ("grab", "probe"), 2, 3_000_000, 2_000_000, False, 60, grab.age_s
    )
    assert (beat.name, beat.kind, beat.has_broker, beat.age_s) == ("beat@here", "beat", True, 0.0)  # never below


def test_without_a_row_all_is_there_and_nothing_is_counted():
    Model.objects.all().delete()
    found = read_records()
    assert (found.processes, found.model, found.model_sha256) == ((), "", "")
    assert (found.failed_analyses, found.failed_notifications) == (0, 0)
    assert found.cameras == dict.fromkeys(Camera.State.values, 0)
    assert found.lanes
    assert not any(row.waiting or row.running or row.oldest_age_s for row in found.lanes)
