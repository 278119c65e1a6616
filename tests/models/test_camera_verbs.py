"""What the verbs of a camera and of its captures leave alone: other cameras, other workers, what was forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from detection.fields import Secret
from detection.models import Camera, Capture, Notification
from detection.models import camera as camera_module
from detection.models.work import LeaseLost
from detection.sources import Source
from tests.cast import a_media
from tests.models.gate import ago, fails, sees, the_gate

pytestmark = pytest.mark.django_db


def waits(camera: Camera, **given) -> Capture:
    moment = timezone.now()
    return Capture.objects.create(camera=camera, planned_at=moment, until=moment + timedelta(seconds=60), **given)


def a_yard() -> Camera:
    return the_gate(name="Yard")


def test_pausing_one_camera_ends_nothing_of_another():
    gate, yard = the_gate(), a_yard()
    capture = waits(yard)
    gate.pause()
    capture.refresh_from_db()
    assert capture.state == "planned"


def test_pausing_one_camera_takes_back_no_notification_of_another(settings):
    settings.NOTIFY_WEBHOOK_URL = "http://127.0.0.1:9/"
    gate, yard = the_gate(), a_yard()
    for _ in range(2):
        sees(fails(fails(yard, 30), 0))
    fails(fails(yard, 30), 0)
    gate.pause()
    assert Notification.objects.filter(state="queued", due_at__gt=timezone.now()).exists()


@pytest.mark.parametrize("outcome", ["grabbed", "failed", "again"])
def test_a_worker_whose_lease_ran_out_changes_nothing(outcome):
    camera = the_gate()
    late = Capture.claim(waits(camera).pk, "late")
    Capture.objects.update(lease_until=ago(1))
    assert Capture.claim(late.pk, "another")
    if outcome == "grabbed":
        with pytest.raises(LeaseLost):
            late.grabbed(a_media(), "a picture", timezone.now())
    elif outcome == "failed":
        assert not late.fail("timeout", "Too slow.")
    else:
        late.attempt_failed("timeout", "Too slow.", permanent=False)
    row = Capture.objects.get()
    camera.refresh_from_db()
    assert (row.state, row.worker, row.kind, row.lease is not None) == ("planned", "another", "", True)
    assert (camera.state, camera.failures) == ("new", 0)


def test_what_a_worker_is_at_beyond_its_time_is_not_ended_yet():
    capture = Capture.claim(waits(the_gate()).pk, "worker")
    Capture.objects.update(until=ago(1))
    assert Capture.end_expired() == 0
    Capture.objects.update(lease_until=ago(1))
    assert Capture.end_expired() == 1
    assert Capture.objects.get(pk=capture.pk).kind == "worker_lost"


def test_pausing_it_ends_what_a_lost_worker_left():
    camera = the_gate()
    Capture.claim(waits(camera).pk, "lost")
    Capture.objects.update(lease_until=ago(1))
    camera.pause()
    assert Capture.objects.get().state == "missed"


def test_what_it_is_grabbed_by_is_what_was_entered():
    camera = Camera(name="Gate", source="rtsp", rtsp_transport="udp", verify_tls=False)
    camera.put_in_service(Secret.of("rtsps://10.0.0.5/stream"))
    assert Camera.objects.get().secret_source == Source("rtsp", "rtsps://10.0.0.5/stream", "udp", verify_tls=False)


def test_a_form_that_was_opened_before_puts_nothing_back():
    opened = the_gate()
    verbs = {
        "address": Secret.of("http://10.0.0.7/new.jpg"), "state": "offline", "state_since": ago(60), "why": "Refused.",
        "failures": 3, "failing_since": ago(90), "last_good_at": ago(100), "last_media_id": a_media().pk,
        "fingerprint": "a picture", "same_count": 4, "same_since": ago(80), "alarm": "offline", "next_at": ago(-50),
        "accounted_until": ago(10), "breaker_s": 120.0,
    }  # fmt: skip
    columns = {field.attname for field in Camera._meta.fields if not field.editable}
    assert set(verbs) == columns - {"id", "created_at"}
    Camera.objects.update(**verbs)
    opened.name = "Back gate"
    opened.put_in_service()
    camera = Camera.objects.get()
    assert {name: getattr(camera, name) for name in verbs} == verbs


def test_pausing_it_forgets_the_open_circuit_and_the_picture_it_hung_at():
    camera = the_gate()
    Camera.objects.update(breaker_s=300, fingerprint="a picture", same_count=4)
    camera.pause()
    camera.resume()
    camera.refresh_from_db()
    assert (camera.breaker_s, camera.same_count) == (0, 0)
    assert camera.state_since > ago(5)
    assert sees(camera).state == Camera.State.OK


def test_a_picture_that_comes_after_the_pause_plans_nothing():
    camera = the_gate()
    camera.pause()
    Camera.objects.update(breaker_s=300)
    assert sees(camera).next_at is None


def test_offline_lasts_through_a_failure_after_a_standstill():
    camera = fails(fails(the_gate(), 30), 0)
    assert camera.state == "offline"
    Camera.objects.update(failing_since=timezone.now())  # what planning._leave_out_standstill does
    assert fails(camera).state == "offline"


def test_the_state_is_as_old_as_its_beginning():
    camera = fails(the_gate())
    Camera.objects.update(state_since=ago(3600))
    assert fails(camera).state_since < ago(3000)


def test_nothing_is_planned_for_it_from_the_moment_it_is_removed(monkeypatch):
    camera, seen = the_gate(), []
    Capture.ask(camera)
    monkeypatch.setattr(Camera, "locked", lambda pk: seen.append(Camera.objects.get(pk=pk)))
    camera.remove()
    (at_the_end,) = seen
    assert (at_the_end.state, at_the_end.next_at) == ("disabled", None)
    assert not Capture.objects.exists()


def test_a_camera_that_was_removed_is_neither_paused_nor_resumed_nor_asked():
    camera = the_gate()
    Camera.objects.all().delete()
    assert not camera.pause()
    assert not camera.resume()
    with pytest.raises(Camera.DoesNotExist):
        Capture.ask_once(camera)


def test_a_picture_asked_for_by_hand_is_no_failure_of_the_camera():
    camera = the_gate()
    capture = Capture.claim(Capture.ask(camera).pk, "worker")
    assert capture.fail("timeout", "Too slow.")
    assert not capture.give_up(), "it is over already"
    camera.refresh_from_db()
    assert (camera.state, camera.failures) == ("new", 0)


def test_a_changed_schedule_leaves_what_waits_to_its_worker():
    camera = the_gate()
    capture = waits(camera)
    camera.every_s = 20
    camera.put_in_service()
    capture.refresh_from_db()
    assert capture.state == "planned"


def test_its_captures_go_bit_by_bit_before_it(monkeypatch):
    camera = the_gate()
    monkeypatch.setattr(camera_module, "REMOVED_AT_ONCE", 3)
    for n in range(10):
        Capture.objects.create(camera=camera, planned_at=ago(n + 1))
    monkeypatch.setattr(Camera, "locked", lambda pk: None)
    camera.remove()
    assert not Capture.objects.exists()
