"""What waits for workers, lane by lane, and since when."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from detection.fields import Secret
from detection.models import (
    Analysis,
    Camera,
    CameraEvent,
    Capture,
    Chunk,
    Notification,
    Proxy,
    Trial,
)
from detection.models.backlog import LANES, LaneBacklog, backlog
from detection.models.clock import now
from tests.cast import a_media, a_running_analysis, a_user

pytestmark = pytest.mark.django_db
EVERY = [
    ("interactive", "analysis"),
    ("bulk", "analysis"),
    ("interactive", "chunk"),
    ("bulk", "chunk"),
    ("cameras", "capture"),
    ("cameras", "trial"),
    ("proxies", "proxy"),
    ("notifications", "notification"),
]


def ago(seconds: float):
    return now() - timedelta(seconds=seconds)


def lane(lane: str, kind: str) -> LaneBacklog:
    (found,) = [row for row in backlog() if (row.lane, row.kind) == (lane, kind)]
    return found


def queued(lane: str, waits_s: float) -> Analysis:
    analysis = Analysis.request(a_media(f"{lane} {waits_s}".encode()))
    Analysis.objects.filter(pk=analysis.pk).update(lane=lane, queued_at=ago(waits_s))
    return analysis


def a_camera() -> Camera:
    return Camera.objects.create(name="Gate", address=Secret.of("rtsp://10.0.0.5/h264"))


def test_every_lane_is_always_there_and_empty_at_first():
    rows = backlog()
    assert [(row.lane, row.kind) for row in rows] == EVERY
    assert {(row.waiting, row.running, row.oldest_age_s) for row in rows} == {(0, 0, 0.0)}
    assert {row.lane for row in rows} == set(LANES)


def test_each_lane_counts_its_own_and_tells_how_long_the_oldest_waits():
    queued("interactive", 5)
    queued("bulk", 600)
    queued("bulk", 30)
    assert lane("interactive", "analysis").waiting == 1
    assert lane("bulk", "analysis").waiting == 2
    assert lane("interactive", "analysis").oldest_age_s == pytest.approx(5, abs=4)
    assert lane("bulk", "analysis").oldest_age_s == pytest.approx(600, abs=4)


def test_what_is_worked_on_runs_and_does_not_wait():
    analysis = queued("interactive", 100)
    assert Analysis.claim(analysis.pk, "a worker")
    seen = lane("interactive", "analysis")
    assert (seen.waiting, seen.running, seen.oldest_age_s) == (0, 1, 0.0)


def test_what_lost_its_worker_waits_again_since_its_lease_ran_out():
    analysis = queued("interactive", 100)
    Analysis.claim(analysis.pk, "a worker")
    Analysis.objects.filter(pk=analysis.pk).update(lease_until=ago(20))
    seen = lane("interactive", "analysis")
    assert (seen.waiting, seen.running) == (1, 0)
    assert seen.oldest_age_s == pytest.approx(20, abs=4)


def test_what_is_over_is_in_no_backlog():
    one, two = queued("bulk", 50), queued("interactive", 50)
    one.cancel()
    Analysis.claim(two.pk, "a worker").fail("unexpected", "It failed.")
    assert not [row for row in backlog() if row.waiting or row.running]


def test_the_chunks_of_a_clip_are_in_its_lane():
    analysis = a_running_analysis()
    Analysis.objects.filter(pk=analysis.pk).update(lane="bulk")
    first = analysis.chunks.first()
    Chunk.objects.filter(analysis=analysis).update(queued_at=ago(40))
    Chunk.claim(first.pk, "a worker")
    seen = lane("bulk", "chunk")
    assert (seen.waiting, seen.running) == (1, 1)
    assert seen.oldest_age_s == pytest.approx(40, abs=4)
    assert (lane("bulk", "analysis").waiting, lane("bulk", "analysis").running) == (0, 1)
    assert lane("interactive", "chunk").waiting == 0


def test_one_that_is_retried_after_a_week_has_not_waited_for_a_week():
    analysis = queued("interactive", 7 * 86_400)
    Analysis.objects.filter(pk=analysis.pk).update(requested_at=ago(7 * 86_400))
    analysis.cancel()
    assert analysis.retry()
    seen = lane("interactive", "analysis")
    assert seen.waiting == 1
    assert seen.oldest_age_s < 60


def test_one_that_is_handed_back_waits_from_then_on():
    analysis = queued("interactive", 900)
    Analysis.claim(analysis.pk, "a worker").hand_back("The storage was away.", delay_s=4)
    seen = lane("interactive", "analysis")
    assert seen.waiting == 1
    assert seen.oldest_age_s < 60


def test_captures_wait_from_their_planned_time_until_they_are_too_late():
    camera = a_camera()

    def capture(ago_s: float, until_s: float, **more: object) -> None:
        Capture.objects.create(camera=camera, planned_at=ago(ago_s), until=ago(-until_s), **more)

    capture(8, 30)
    capture(9, 30, lease_until=ago(-10))  # a worker is at it
    capture(10, 30, lease_until=ago(1))  # its worker was lost
    capture(500, -400)  # nobody takes it any more
    capture(600, 30, state="grabbed", finished_at=ago(590))
    seen = lane("cameras", "capture")
    assert (seen.waiting, seen.running) == (2, 1)
    assert seen.oldest_age_s == pytest.approx(10, abs=4)


def test_a_notification_waits_from_when_it_is_due():
    event = CameraEvent.objects.create(camera=a_camera(), kind="offline", at=now())
    early = Notification.objects.create(event=event, channel="email", due_at=ago(-300), queued_at=ago(300))
    assert lane("notifications", "notification").waiting == 0
    Notification.objects.filter(pk=early.pk).update(due_at=ago(15))
    seen = lane("notifications", "notification")
    assert seen.waiting == 1
    assert seen.oldest_age_s == pytest.approx(15, abs=4)


def test_proxies_and_trials_are_counted():
    Proxy.objects.create(media=a_media(), queued_at=ago(70))
    Trial.objects.create(
        source="http", address=Secret.of("http://10.0.0.5/"), requested_by=a_user("operator"), queued_at=ago(3)
    )
    assert lane("proxies", "proxy").oldest_age_s == pytest.approx(70, abs=4)
    assert lane("cameras", "trial").waiting == 1


def test_it_goes_along_the_indexes_of_what_is_unfinished():
    """However many rows are done. Without these, each scrape would read the rows of all time."""
    with CaptureQueriesContext(
        connection,
    ) as queries:
        backlog()
    selects = [query["sql"] for query in queries if "clock_timestamp" not in query["sql"]]
    assert len(selects) == 6
    explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # of tables as small as here it would be right
        plans = []
        for sql in selects:
            cursor.execute(explain + sql)
            plans.append(" ".join(str(row) for row in cursor.fetchall()))
    for plan, index in zip(
        plans,
        ("analysis_unfinished", "chunk_unfinished", "capture_open", "", "proxy_unfinished", "notification_unfinished"),
        strict=True,  # trials are forgotten after minutes, and need none
    ):
        assert index in plan, plan
