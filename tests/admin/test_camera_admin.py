"""Cameras in the admin: the same form, and no secret anywhere."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from detection.fields import Secret
from detection.models import Camera, CameraEvent, Capture, Trial
from detection.sources import Source
from tests.cast import ADDRESS, ENTERED, NOON, SECRET, TYPED, a_camera, a_capture, a_media, a_user

pytestmark = pytest.mark.django_db
LIST, ADD = "/admin/detection/camera/", "/admin/detection/camera/add/"
EMPTY = {"address": "", "username": "", "password": ""}
TRIED = f"http://viewer:{SECRET}@10.0.0.9/x.jpg"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    captures: list[int] = []
    monkeypatch.setattr("workers.tasks.send_capture", lambda capture: captures.append(capture.pk) or True)
    return captures


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("admin", password="only for tests"))
    return client


@pytest.fixture
def staff_viewer() -> Client:
    user = a_user("viewer")
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


def page_of(camera: Camera, name: str = "change") -> str:
    return reverse(f"admin:detection_camera_{name}", args=[camera.pk])


def act(client: Client, action: str, *cameras: Camera, **more: str) -> str:
    data = {"action": action, "_selected_action": [camera.pk for camera in cameras], **more}
    return client.post(LIST, data, follow=True).text


def test_a_camera_is_added_put_in_service_and_its_address_encrypted(admin: Client) -> None:
    assert admin.post(ADD, TYPED).status_code == 302
    camera = Camera.objects.get()
    assert camera.address.reveal() == ENTERED
    assert (camera.state, camera.next_at is not None) == ("new", True)


def test_a_change_with_an_empty_address_keeps_it(admin: Client) -> None:
    camera = a_camera(state="ok")
    assert admin.post(page_of(camera), TYPED | EMPTY | {"name": "Yard"}).status_code == 302
    camera.refresh_from_db()
    assert (camera.name, camera.state, camera.address.reveal()) == ("Yard", "ok", ADDRESS)


def test_no_page_of_the_admin_shows_a_secret(admin: Client, staff_viewer: Client) -> None:
    admin.post(ADD, TYPED)
    camera = Camera.objects.get()
    admin.post(page_of(camera), TYPED | {"address": f"http://viewer:{SECRET}@10.0.0.8/b.jpg", "username": ""})
    refused = admin.post(page_of(camera), TYPED | {"name": ""})
    assert refused.status_code == 200
    assert "Give the camera a name." in refused.text
    pages = [refused.text, *(client.get(page_of(camera)).text for client in (admin, staff_viewer))]
    pages += [
        admin.get(place).text for place in (LIST, page_of(camera, "history"), page_of(camera, "delete"), "/admin/")
    ]
    assert "http://10.0.0.8/…" in pages[1]
    assert "http://10.0.0.8/…" in pages[2]
    ciphertext = Camera.objects.get().address.ciphertext
    for page in pages:
        assert SECRET not in page
        assert "b.jpg" not in page
        assert ciphertext not in page


def test_the_history_says_that_the_address_was_changed_and_not_to_what(admin: Client) -> None:
    admin.post(ADD, TYPED)
    camera = Camera.objects.get()
    admin.post(page_of(camera), TYPED | {"address": "http://10.0.0.8/b.jpg"})
    assert "Changed Address" in LogEntry.objects.latest("pk").get_change_message()
    for entry in LogEntry.objects.all():
        for kept in (entry.change_message, entry.object_repr):
            assert SECRET not in kept
            assert "10.0.0" not in kept


def test_the_list_says_how_each_camera_is_doing(admin: Client) -> None:
    a_camera("Gate", state="offline", failures=7, why="The camera timed out.")
    page = admin.get(LIST).text
    for fact in ("Gate", "http://10.0.0.5/…", "offline", "7", "The camera timed out."):
        assert fact in page
    assert "Gate" not in admin.get(LIST, {"state__exact": "ok"}).context["cl"].queryset.values_list("name", flat=True)


def test_a_camera_whose_key_is_gone_does_not_break_the_list(admin: Client, settings) -> None:
    camera = a_camera()
    settings.CAMERA_KEYS = ["YW5vdGhlci1rZXktMDEyMzQ1Njc4OWFiY2RlZmdoaTA="]
    for place in (LIST, page_of(camera)):
        page = admin.get(place)
        assert page.status_code == 200
        assert "not in CAMERA_KEYS" in page.text


def test_many_are_paused_resumed_and_captured_at_once(admin: Client, sent: list[int]) -> None:
    one, two = a_camera(), a_camera()
    two.pause()
    assert "1 paused. 1 left as they were: paused already." in act(admin, "pause", one, two)
    assert not Camera.objects.exclude(state="disabled").exists()
    assert "2 resumed." in act(admin, "resume", one, two)
    assert "2 to be captured now" in act(admin, "capture_now", one, two)
    asked = Capture.objects.filter(is_manual=True, requested_by__username="admin")
    assert sorted(sent) == sorted(asked.values_list("pk", flat=True))
    assert len(sent) == 2


def test_a_camera_without_an_address_or_with_a_picture_on_its_way_is_not_captured(
    admin: Client, sent: list[int]
) -> None:
    asked = a_camera()
    act(admin, "capture_now", asked)
    said = act(admin, "capture_now", asked, a_camera(address=Secret.of("")), a_camera())
    assert "1 to be captured now" in said
    assert "2 left as they were: no address, or a picture is on its way already." in said
    assert len(sent) == 2


def test_without_a_broker_the_captures_wait_and_it_is_said(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("workers.tasks.send_capture", lambda capture: asked.append(capture.pk))
    assert "The queue cannot be reached just now" in act(admin, "capture_now", a_camera(), a_camera())
    assert Capture.objects.filter(state="planned").count() == 2
    assert len(asked) == 1, "the second would wait for a time-out too"


def test_a_viewer_of_the_admin_changes_and_tries_nothing(staff_viewer: Client) -> None:
    camera = a_camera()
    page = staff_viewer.get(page_of(camera)).text
    assert "Try it now" not in page
    assert 'name="address"' not in page
    for action in ("pause", "capture_now", "delete_selected"):
        act(staff_viewer, action, camera, post="yes")
    assert staff_viewer.post(page_of(camera), TYPED).status_code == 403
    assert staff_viewer.get(ADD).status_code == 403
    camera.refresh_from_db()
    assert camera.state == "new"
    assert not Capture.objects.exists()


def test_a_camera_is_deleted_although_captures_cannot_be_typed_or_deleted(admin: Client) -> None:
    camera = a_camera("Gate")
    media = a_media()
    media.camera = camera
    media.save()
    for second in range(3):
        a_capture(camera, at=NOON.replace(second=second), media=media)
    CameraEvent.objects.create(camera=camera, kind="offline", at=NOON)
    page = admin.get(page_of(camera, "delete")).text
    assert "captures: 3" in page.lower()
    assert "1 media stay" in page
    assert admin.post(page_of(camera, "delete"), {"post": "yes"}).status_code == 302
    for rows in (Camera, Capture, CameraEvent):
        assert not rows.objects.exists()
    media.refresh_from_db()
    assert media.camera is None


def test_a_camera_is_deleted_outside_of_any_transaction(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one, no camera would be planned until millions of captures are gone."""
    outside, inside = len(connection.savepoint_ids), []
    monkeypatch.setattr(Camera, "remove", lambda _: inside.append(len(connection.savepoint_ids)))
    admin.post(page_of(a_camera(), "delete"), {"post": "yes"})
    assert inside == [outside]


def test_many_cameras_are_deleted_at_once(admin: Client) -> None:
    cameras = [a_camera(), a_camera()]
    a_capture(cameras[0])
    act(admin, "delete_selected", *cameras, post="yes")
    assert not Camera.objects.exists()


def test_a_camera_can_be_tried_in_the_admin_and_what_was_tried_is_saved(admin: Client) -> None:
    page = admin.get(ADD).text
    assert 'hx-post="/cameras/trials"' in page
    assert "htmx" in page
    camera = a_camera()
    assert f'hx-post="/cameras/trials?camera={camera.pk}"' in admin.get(page_of(camera)).text
    trial = Trial.ask(Source("http", TRIED), User.objects.get(username="admin"))
    refused = admin.post(ADD, TYPED | EMPTY | {"name": "", "trial": trial.pk}).text
    assert f'name="trial" value="{trial.pk}"' in refused
    assert admin.post(ADD, TYPED | EMPTY | {"trial": trial.pk}).status_code == 302
    assert Camera.objects.get(name="Gate").address.reveal() == TRIED


def test_in_the_admin_too_a_trial_of_somebody_else_is_not_taken(admin: Client) -> None:
    trial = Trial.ask(Source("http", TRIED), a_user("operator"))
    assert "kept for 15 minutes only" in admin.post(ADD, TYPED | EMPTY | {"trial": trial.pk}).text
    assert not Camera.objects.exists()


def test_nothing_in_the_form_is_inline_so_that_the_policy_holds(admin: Client) -> None:
    answer = admin.get(page_of(a_camera()))
    assert "script-src" not in answer["Content-Security-Policy"]
    assert "default-src 'self'" in answer["Content-Security-Policy"]
    assert "<script>" not in answer.text
    assert " style=" not in answer.text
    assert "onclick" not in answer.text


def test_the_captures_say_why_how_many_and_how_late(admin: Client) -> None:
    a_capture(state="missed", times=40, last_at=NOON)
    a_capture()
    page = admin.get("/admin/detection/capture/").text
    for fact in ("40", "0.5", "late", "No worker was free for it in time.", "2026-03-01 12:00:00"):
        assert fact in page


def test_trials_are_not_in_the_admin(admin: Client) -> None:
    assert admin.get("/admin/detection/trial/").status_code == 404
    assert "/admin/detection/trial" not in admin.get("/admin/").text


def test_many_are_removed_bit_by_bit(admin: Client, monkeypatch) -> None:
    removed: list[str] = []
    monkeypatch.setattr(Camera, "remove", lambda camera: removed.append(camera.name))
    act(admin, "delete_selected", a_camera("Gate"), a_camera("Yard"), post="yes")
    assert sorted(removed) == ["Gate", "Yard"]


def test_a_viewer_of_the_admin_does_not_resume(staff_viewer: Client) -> None:
    camera = a_camera()
    camera.pause()
    act(staff_viewer, "resume", camera)
    camera.refresh_from_db()
    assert camera.state == "disabled"
