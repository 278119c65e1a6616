"""Each planned time gets its record, once, whatever happened in between."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import Error, connection
from django.utils import timezone

from detection.fields import Secret
from detection.models import Camera, Capture, planning
from detection.models.planning import follow_the_clock, plan_due
from tests.databases import on_postgresql

pytestmark = pytest.mark.django_db


def a_camera(name: str = "Gate", **given) -> Camera:
    camera = Camera(name=name, source="http", **{"schedule": "every", "every_s": 10, **given})
    camera.put_in_service(Secret.of("http://10.0.0.5/snap.jpg"))
    return camera


def between_times() -> None:
    """Waits while a camera is about to be due: a time that comes during a test is one more than it expects."""
    rules = [camera.rule for camera in Camera.objects.all()]
    for _ in range(100):
        moment = timezone.now()
        following = [rule.next_after(moment) for rule in rules]
        if all(next_at is None or next_at - moment > timedelta(seconds=0.5) for next_at in following):
            return
        time.sleep(0.1)


def stood_still(camera: Camera, for_s: float) -> None:
    """As if the sweep had not run for so long."""
    between_times()
    then = timezone.now() - timedelta(seconds=for_s)
    Camera.objects.filter(pk=camera.pk).update(accounted_until=then, next_at=camera.rule.next_after(then))


def rows() -> list[tuple[str, int, str]]:
    return list(Capture.objects.order_by("planned_at").values_list("state", "times", "kind"))


def test_before_its_time_nothing_is_planned():
    camera = a_camera()
    Camera.objects.update(next_at=timezone.now() + timedelta(seconds=5))
    assert plan_due() == []
    assert Camera.objects.get().accounted_until == camera.accounted_until


def test_when_its_time_has_come_one_capture_is_planned_and_the_next_time_set():
    camera = a_camera()
    stood_still(camera, 11)
    Camera.objects.update(
        accounted_until=camera.rule.between(timezone.now() - timedelta(seconds=21), timezone.now())[-2]
    )
    (capture,) = plan_due()
    assert rows() == [("planned", 1, "")]
    assert capture.until - capture.planned_at == timedelta(seconds=10)
    after = Camera.objects.get()
    assert after.next_at - capture.planned_at == timedelta(seconds=10)
    assert after.accounted_until == capture.planned_at
    assert plan_due() == []


def test_after_a_standstill_one_row_says_how_many_were_missed_and_only_the_latest_is_planned():
    stood_still(a_camera(), 3600)
    (capture,) = plan_due()
    missed = Capture.objects.get(state="missed")
    assert missed.times in (358, 359, 360)
    assert missed.why == "Nightjar was not running, or its queue or its database was away."
    assert missed.last_at == capture.planned_at - timedelta(seconds=10)
    assert (missed.last_at - missed.planned_at).total_seconds() == 10 * (missed.times - 1)


def test_a_standstill_of_many_cameras_is_written_in_one_statement(django_assert_max_num_queries):
    cameras = [a_camera(f"camera {number}") for number in range(20)]
    for camera in cameras:
        stood_still(camera, 600)
    with django_assert_max_num_queries(11) as seen:
        assert len(plan_due()) == 20
    inserts = [query["sql"] for query in seen.captured_queries if query["sql"].startswith("INSERT")]
    assert len(inserts) == 1
    assert Capture.objects.filter(state="missed").count() == 20


def test_a_daily_camera_is_not_grabbed_hours_late():
    due = (timezone.now() - timedelta(hours=5)).replace(minute=0, second=0, microsecond=0)
    camera = a_camera(schedule="cron", cron=f"0 {due.hour} * * *")
    Camera.objects.filter(pk=camera.pk).update(accounted_until=due - timedelta(hours=1), next_at=due)
    assert plan_due() == []
    assert rows() == [("missed", 1, "standstill")]


def test_a_standstill_of_months_is_accounted_for_bit_by_bit(monkeypatch):
    monkeypatch.setattr(planning, "TIMES_AT_ONCE", 100)
    stood_still(a_camera(), 2500)
    rounds = [len(plan_due()) for _ in range(3)]
    assert rounds == [0, 0, 1]
    assert [times for state, times, _ in rows() if state == "missed"][:2] == [100, 100]
    assert sum(times for _, times, _ in rows()) in (249, 250, 251)
    planned = sorted(Capture.objects.values_list("planned_at", "last_at"))
    assert all(later[0] > (earlier[1] or earlier[0]) for earlier, later in pairwise(planned))


def test_while_a_capture_is_under_way_the_next_one_is_missed_and_says_so():
    camera = a_camera()
    minute_ago = timezone.now() - timedelta(seconds=60)
    Capture.objects.create(camera=camera, planned_at=minute_ago, until=minute_ago + timedelta(seconds=10))
    stood_still(camera, 11)
    assert plan_due() == []
    assert rows()[-1] == ("missed", 1, "busy")


def test_what_the_open_circuit_left_out_is_one_row_that_says_so():
    camera = a_camera()
    stood_still(camera, 300)
    probe_at = camera.rule.between(timezone.now() - timedelta(seconds=11), timezone.now())[-1]
    Camera.objects.update(next_at=probe_at)
    (capture,) = plan_due()
    assert capture.planned_at == probe_at
    missed = Capture.objects.get(state="missed")
    assert (missed.kind, missed.times) == ("offline", 29)


def test_a_camera_that_cannot_be_planned_keeps_no_other_from_it():
    broken, camera = a_camera("Broken"), a_camera()
    for each in (broken, camera):
        stood_still(each, 15)
    Camera.objects.filter(pk=broken.pk).update(time_zone="Nowhere/At_all", schedule="cron", cron="* * * * *")
    assert [capture.camera for capture in plan_due()] == [camera]
    broken.refresh_from_db()
    assert broken.next_at > timezone.now()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@on_postgresql
def test_two_sweeps_at_once_plan_nothing_twice():
    cameras = [a_camera(f"camera {number}") for number in range(20)]
    for camera in cameras:
        stood_still(camera, 15)
    planned: list[int] = []
    errors: list[Exception] = []
    start = threading.Barrier(4)

    def sweep() -> None:
        try:
            start.wait()
            planned.extend(capture.camera_id for capture in plan_due())
        except Error as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(planned) == sorted(camera.pk for camera in cameras)


def test_a_changed_schedule_takes_effect_with_the_next_sweep(monkeypatch):
    camera = a_camera(every_s=86400)
    assert camera.next_at > timezone.now() + timedelta(seconds=3)
    camera.every_s = 2
    camera.put_in_service()
    assert camera.next_at <= timezone.now() + timedelta(seconds=2)
    monkeypatch.setattr(planning, "now", lambda: camera.next_at)
    (capture,) = plan_due()
    assert capture.planned_at == camera.next_at


@pytest.mark.parametrize("change", ["pause", "address", "schedule"])
def test_what_was_left_out_before_a_change_has_its_record(change):
    camera = a_camera()
    stood_still(camera, 300)
    Camera.objects.update(next_at=timezone.now() + timedelta(seconds=60))  # the circuit is open
    camera.refresh_from_db()
    if change == "pause":
        camera.pause()
    elif change == "address":
        camera.put_in_service(Secret.of("http://10.0.0.6/snap.jpg"))
    else:
        camera.every_s = 20
        camera.put_in_service()
    (row,) = Capture.objects.all()
    assert (row.state, row.kind) == ("missed", "offline")
    assert row.times in (29, 30)
    assert plan_due() == []


def test_a_standstill_before_a_change_is_said_to_be_one():
    camera = a_camera()
    stood_still(camera, 300)
    camera.refresh_from_db()
    camera.pause()
    assert [kind for _, _, kind in rows()] == ["standstill"]


def test_a_time_that_came_in_the_moment_of_the_change_says_so():
    camera = a_camera()
    stood_still(camera, 11)
    camera.refresh_from_db()
    camera.pause()
    assert {(state, kind) for state, _, kind in rows()} == {("missed", "changed")}


def test_a_camera_that_cannot_be_read_can_still_be_changed():
    camera = a_camera()
    stood_still(camera, 30)
    Camera.objects.update(time_zone="Nowhere/At_all")
    camera.refresh_from_db()
    camera.time_zone = "UTC"
    camera.put_in_service()
    assert camera.next_at > timezone.now()


def test_a_clock_that_was_set_back_disturbs_no_other_camera(caplog):
    first, second = a_camera("first"), a_camera("second")
    for camera in (first, second):
        stood_still(camera, 11)
    due = first.rule.between(timezone.now() - timedelta(seconds=11), timezone.now())[-1]
    Capture.objects.create(camera=first, planned_at=due, state="grabbed")
    assert second in [capture.camera for capture in plan_due()]
    assert "set back" in caplog.text
    assert Capture.objects.filter(camera=first, planned_at=due).count() == 1
    first.refresh_from_db()
    assert first.next_at > timezone.now()


def test_a_long_standstill_of_many_is_taken_in_portions(monkeypatch):
    monkeypatch.setattr(planning, "TIMES_A_SWEEP", 50)
    for number in range(4):
        stood_still(a_camera(f"camera {number}"), 300)
    assert [len(plan_due()) for _ in range(3)] == [2, 2, 0]


def test_a_standstill_does_not_count_as_failing():
    camera = a_camera()
    hours_ago = timezone.now() - timedelta(hours=8)
    Camera.objects.update(failures=1, state="failing", failing_since=hours_ago)
    stood_still(camera, 8 * 3600 - 5)
    plan_due()
    camera.refresh_from_db()
    assert timezone.now() - camera.failing_since < timedelta(seconds=20)
    camera.could_not("Too slow.", timezone.now(), known_at=timezone.now())
    assert (camera.state, camera.breaker_s) == ("failing", 0)


def test_a_long_standstill_does_not_count_as_failing_either(monkeypatch):
    monkeypatch.setattr(planning, "TIMES_AT_ONCE", 100)
    camera = a_camera()
    Camera.objects.update(failures=1, state="failing", failing_since=timezone.now() - timedelta(seconds=2502))
    stood_still(camera, 2500)
    for _ in range(3):
        plan_due()
    camera.refresh_from_db()
    assert timezone.now() - camera.failing_since < timedelta(seconds=5)


def test_a_sweep_that_is_late_does_not_put_off_that_a_camera_is_offline():
    camera = a_camera()
    failing_since = timezone.now() - timedelta(seconds=40)
    Camera.objects.update(failures=1, state="failing", failing_since=failing_since)
    stood_still(camera, 35)
    plan_due()
    assert Capture.objects.filter(kind="standstill").exists()
    assert Camera.objects.get().failing_since == failing_since


def test_a_camera_that_was_planned_by_a_clock_ahead_is_planned_anew():
    camera, well = a_camera("ahead"), a_camera("well")
    ahead = timezone.now() + timedelta(days=400)
    Camera.objects.filter(pk=camera.pk).update(accounted_until=ahead, next_at=ahead + timedelta(seconds=10))
    follow_the_clock()
    camera.refresh_from_db()
    assert camera.next_at - timezone.now() <= timedelta(seconds=10)
    assert Camera.objects.get(name="well").next_at == well.next_at
