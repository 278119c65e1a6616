"""How a camera fares: what its captures make of it, and who is told."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import Error, connection
from django.utils import timezone

from detection.fields import Secret
from detection.models import Camera, CameraEvent, Capture, Notification
from detection.models.planning import plan_due
from tests.cast import a_media
from tests.databases import on_postgresql
from tests.models.gate import TEN_SECONDS, ago, fails, freezes, sees, the_gate, told

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _limits(settings):
    settings.CAMERA_OFFLINE_AFTER_S = 25.0
    settings.CAMERA_FROZEN_AFTER_S = 60.0
    settings.CAMERA_BREAKER_AFTER_S = 600.0
    settings.CAMERA_BREAKER_MAX_S = 300.0


def test_a_new_camera_waits_for_its_first_picture_and_is_planned_within_its_interval():
    camera = the_gate()
    assert camera.state == Camera.State.NEW
    assert timedelta(0) < camera.next_at - timezone.now() <= timedelta(seconds=10)


def test_its_first_picture_makes_it_ok_and_is_no_event():
    camera = sees(the_gate())
    assert camera.state == Camera.State.OK
    assert camera.last_media.sha256
    assert told(camera) == []


def test_one_failed_capture_makes_it_failing_and_nobody_is_told():
    camera = fails(sees(the_gate()))
    assert (camera.state, camera.failures, camera.why) == ("failing", 1, "It did not answer in time.")
    assert told(camera) == []


def test_two_failures_in_quick_succession_are_not_offline_yet():
    camera = fails(fails(sees(the_gate()), 10))
    assert camera.state == Camera.State.FAILING
    assert told(camera) == []


def test_it_is_offline_once_failing_has_lasted_and_people_are_told_once():
    camera = the_gate()
    for planned_ago_s in (30, 20, 10, 0):
        fails(camera, planned_ago_s)
    assert camera.state == Camera.State.OFFLINE
    assert told(camera) == ["offline"]


def test_one_failure_of_long_ago_is_not_offline_by_itself():
    assert fails(sees(the_gate()), 3600).state == Camera.State.FAILING


def test_its_first_good_picture_brings_it_back_and_says_so():
    camera = sees(fails(fails(the_gate(), 30), 0))
    assert (camera.state, camera.failures, camera.why, camera.failing_since) == ("ok", 0, "", None)
    assert told(camera) == ["offline", "back"]


def test_the_very_same_picture_five_times_is_frozen_and_another_one_is_not():
    camera = the_gate()
    for n in range(4):
        assert sees(camera, after_s=20 * n).state == Camera.State.OK
    assert sees(camera, after_s=80).state == Camera.State.FROZEN
    assert sees(camera, after_s=100).state == Camera.State.FROZEN
    assert told(camera) == ["frozen"]
    assert sees(camera, "another").state == Camera.State.OK
    assert told(camera) == ["frozen", "back"]
    assert camera.events.get(kind="frozen").why == "The very same picture came 5 times in a row."


def test_a_camera_that_makes_a_picture_every_half_minute_is_not_frozen():
    camera = the_gate(every_s=2)
    for n in range(60):
        assert sees(camera, f"picture {n // 15}", after_s=2 * n).state == Camera.State.OK


def test_the_same_picture_is_frozen_only_when_it_has_lasted():
    camera = the_gate(every_s=2)
    states = [sees(camera, after_s=2 * n).state for n in range(32)]
    assert states == ["ok"] * 30 + ["frozen"] * 2


def test_who_asks_for_pictures_by_hand_freezes_no_camera():
    camera = the_gate(every_s=3600)
    for n in range(20):
        sees(camera, after_s=10 * n, is_manual=True)
    assert (camera.state, camera.same_count) == (Camera.State.OK, 1)


def test_a_camera_that_may_stand_still_is_never_frozen():
    camera = the_gate(frozen_after=0)
    for n in range(20):
        sees(camera, after_s=20 * n)
    assert camera.state == Camera.State.OK


def test_a_frozen_camera_that_fails_once_and_is_still_frozen_is_told_of_once():
    camera = the_gate()
    freezes(camera)
    sees(fails(camera), after_s=100)
    assert camera.state == Camera.State.FROZEN
    assert told(camera) == ["frozen"]


def test_after_ten_minutes_it_is_tried_less_and_less_up_to_the_bound():
    camera = fails(the_gate(), 700)
    pauses = []
    for _ in range(8):
        fails(camera)
        pauses.append((camera.next_at - timezone.now()).total_seconds())
    assert pauses[0] < 41 < pauses[1]
    assert all(later >= earlier - 10 for earlier, later in pairwise(pauses))
    assert 280 < pauses[-1] <= 300
    assert camera.breaker_s == 300


def test_an_hourly_camera_is_never_tried_less_often_than_its_schedule():
    camera = the_gate(every_s=3600)
    planned = camera.next_at
    for _ in range(5):
        fails(camera, 7200)
    assert camera.next_at == planned
    assert camera.breaker_s == 0, "its page would say that it is tried less often"


def test_its_first_good_picture_closes_the_circuit():
    camera = fails(the_gate(), 700)
    for _ in range(8):
        fails(camera)
    sees(camera)
    assert camera.breaker_s == 0
    assert camera.next_at - timezone.now() <= timedelta(seconds=10)


def test_a_paused_camera_is_not_planned_and_resumes_without_a_past():
    camera = fails(the_gate())
    assert camera.pause()
    camera.refresh_from_db()
    assert (camera.state, camera.next_at, camera.failures) == ("disabled", None, 0)
    assert not camera.pause()
    assert camera.resume()
    camera.refresh_from_db()
    assert camera.state == Camera.State.NEW
    assert camera.accounted_until > ago(5)


def test_pausing_it_ends_what_waits_and_leaves_what_is_under_way():
    camera = the_gate()
    moment = timezone.now()
    until = {"until": moment + timedelta(seconds=60)}
    waits, retried, under_way = (
        Capture.objects.create(camera=camera, planned_at=moment + timedelta(seconds=n), **until) for n in range(3)
    )
    Capture.objects.filter(pk=retried.pk).update(kind="timeout", why="Too slow.", attempts=1)
    assert Capture.claim(under_way.pk, "worker")
    asked = Capture.ask(camera)
    camera.pause()
    states = dict(Capture.objects.values_list("pk", "state"))
    assert states == {waits.pk: "missed", retried.pk: "failed", under_way.pk: "planned", asked.pk: "planned"}
    assert Capture.claim(retried.pk, "worker") is None


def test_a_capture_that_fails_while_it_is_paused_changes_nothing():
    camera = the_gate()
    camera.pause()
    assert fails(camera).state == Camera.State.DISABLED


def test_editing_its_schedule_plans_anew_and_editing_its_name_does_not():
    camera = the_gate(every_s=3600)
    planned = camera.next_at
    camera.name = "Back gate"
    camera.put_in_service()
    assert camera.next_at == planned
    camera.every_s = 10
    camera.put_in_service()
    assert camera.next_at - timezone.now() <= timedelta(seconds=10)


def test_a_form_that_was_opened_before_a_capture_does_not_put_the_capture_back():
    opened = the_gate()
    sees(Camera.objects.get())
    opened.name = "Back gate"
    opened.put_in_service()
    camera = Camera.objects.get()
    assert (camera.name, camera.state) == ("Back gate", "ok")
    assert camera.last_media is not None


def test_a_new_address_makes_it_a_camera_that_nothing_is_known_of():
    camera = fails(fails(the_gate(), 30))
    camera.put_in_service(Secret.of("http://10.0.0.6/snap.jpg"))
    assert (camera.state, camera.failures, camera.alarm) == ("new", 0, "")
    assert camera.place == "http://10.0.0.6/…"


def test_a_camera_that_was_removed_while_its_form_was_open_does_not_come_back():
    opened = the_gate()
    Camera.objects.all().delete()
    with pytest.raises(Camera.DoesNotExist):
        opened.put_in_service()
    assert not Camera.objects.exists()


def test_pausing_it_takes_back_what_was_not_told_yet(settings):
    settings.NOTIFY_WEBHOOK_URL = "http://127.0.0.1:9/"
    camera = the_gate()
    for _ in range(2):
        sees(fails(fails(camera, 30), 0))
    fails(fails(camera, 30), 0)
    assert Notification.objects.filter(state="queued", due_at__gt=timezone.now()).exists()
    camera.pause()
    assert not Notification.objects.filter(state="queued", due_at__gt=timezone.now()).exists()


def test_cameras_in_trouble_have_a_queue_of_their_own():
    camera = the_gate()
    assert camera.queue == "grab"
    assert fails(camera).queue == "probe"
    assert sees(camera).queue == "grab"


def test_no_secret_is_in_what_it_shows_of_itself():
    camera = the_gate()
    camera.put_in_service(Secret.of("rtsp://admin:pl4nted@10.0.0.5/stream"))
    shown = f"{camera} {camera.__dict__} {camera.secret_source!r} {camera.place} {vars(camera)!r}"
    assert "pl4nted" not in shown
    assert "admin" not in shown


@pytest.mark.parametrize("outcome", ["grabbed", "failed"])
def test_what_a_capture_found_at_the_address_before_says_nothing_of_the_new_one(outcome):
    camera = the_gate()
    moment = timezone.now()
    row = Capture.objects.create(camera=camera, planned_at=moment, until=moment + timedelta(seconds=60))
    capture = Capture.claim(row.pk, "worker")
    camera.put_in_service(Secret.of("http://10.0.0.6/snap.jpg"))
    if outcome == "grabbed":
        capture.grabbed(a_media(), "a picture", moment)
    else:
        capture.fail("timeout", "Too slow.")
    row.refresh_from_db()
    camera.refresh_from_db()
    assert (row.state, camera.state, camera.failures) == (outcome, "new", 0)


def test_what_waited_for_its_next_attempt_ends_with_the_address():
    camera = the_gate()
    moment = timezone.now()
    capture = Capture.objects.create(
        camera=camera, planned_at=moment, until=moment, attempts=1, kind="timeout", why="Too slow."
    )
    camera.put_in_service(Secret.of("http://10.0.0.6/snap.jpg"))
    capture.refresh_from_db()
    assert (capture.state, capture.why) == ("failed", "Too slow.")
    assert Capture.end_expired() == 0
    assert Camera.objects.get().failures == 0


def test_a_failure_that_is_noticed_after_a_standstill_opens_no_circuit():
    camera = the_gate()
    hour_ago = ago(3600)
    Capture.objects.create(
        camera=camera, planned_at=hour_ago, until=hour_ago + timedelta(seconds=10), attempts=1, kind="timeout", why="!"
    )
    assert Capture.end_expired() == 1
    camera.refresh_from_db()
    assert (camera.state, camera.breaker_s) == ("failing", 0)


def test_a_camera_that_cannot_be_read_keeps_the_sweep_from_no_other(caplog):
    hour_ago = ago(3600)
    for name in ("broken", "well"):
        camera = Camera(name=name, source="http", **TEN_SECONDS)
        camera.put_in_service(Secret.of("http://10.0.0.5/snap.jpg"))
        for minute in (40, 0):
            at = hour_ago - timedelta(minutes=minute)
            Capture.objects.create(
                camera=camera, planned_at=at, until=at + timedelta(seconds=10), attempts=1, kind="timeout", why="!"
            )
    Camera.objects.filter(name="broken").update(time_zone="Nowhere/At_all")
    assert Capture.end_expired() == 4
    assert not Capture.objects.filter(state="planned").exists()
    assert Camera.objects.get(name="well").failures == 2


def test_removing_it_takes_its_captures_and_events_and_leaves_its_media():
    camera = fails(fails(the_gate(), 30))
    media = a_media()
    media.camera = camera
    media.save()
    Capture.ask(camera)
    camera.remove()
    assert not Capture.objects.exists()
    assert not CameraEvent.objects.exists()
    media.refresh_from_db()
    assert media.camera is None


def test_removing_it_goes_bit_by_bit(monkeypatch):
    monkeypatch.setattr("detection.models.camera.REMOVED_AT_ONCE", 3)
    camera = the_gate()
    times = [ago(second) for second in range(10)]
    Capture.objects.bulk_create([Capture(camera=camera, planned_at=at, state="grabbed") for at in times])
    camera.remove()
    assert not Capture.objects.exists()
    camera.remove()
    assert not Camera.objects.exists()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@on_postgresql
def test_it_is_removed_while_it_is_planned_and_asked_for():
    """On PostgreSQL a capture that came in between broke the foreign key, and nothing was removed."""
    camera = the_gate(every_s=2)
    other = Camera(name="Yard", source="http", **TEN_SECONDS)
    other.put_in_service(Secret.of("http://10.0.0.6/snap.jpg"))
    old = [ago(100 + 2 * n) for n in range(20_000)]
    Capture.objects.bulk_create([Capture(camera=camera, planned_at=at, state="grabbed") for at in old])
    errors: list[Exception] = []
    is_over = threading.Event()

    def plan() -> None:
        try:
            while not is_over.wait(0.001):
                then = timezone.now() - timedelta(seconds=2.5)
                Camera.objects.filter(next_at__isnull=False).update(accounted_until=then, next_at=then)
                plan_due()
                with suppress(Camera.DoesNotExist):
                    Capture.ask_once(camera)
        except Error as error:
            errors.append(error)
        finally:
            connection.close()

    planner = threading.Thread(target=plan)
    planner.start()
    camera.remove()
    is_over.set()
    planner.join()
    assert errors == []
    assert list(Camera.objects.all()) == [other]
    assert not Capture.objects.exclude(camera=other).exists()
