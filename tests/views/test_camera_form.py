"""Entering a camera and changing it: what is wrong is a sentence."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from detection.fields import Secret
from detection.models import Camera, CameraEvent, Capture, Media
from tests.cast import ADDRESS, SECRET, a_camera, a_capture, a_done_analysis, a_media, a_user
from tests.views.camera_form import STREAM, Controls, add, change, said
from tests.views.conftest import Visit

# Adding


def test_the_form_is_plain_and_in_the_order_in_which_it_is_filled_in(operator: Client) -> None:
    page = operator.get("/cameras/new").text
    steps = [
        "1. The camera",
        "2. Its address",
        "Try it now",
        "3. When it takes pictures",
        "4. What becomes of the pictures",
    ]
    assert [page.index(step) for step in steps] == sorted(page.index(step) for step in steps)
    for kind in Camera.Kind:
        assert f'value="{kind.value}"' in page


def test_a_camera_is_added_and_planned_and_its_address_is_encrypted(operator: Client) -> None:
    answer = add(operator)
    camera = Camera.objects.get()
    assert answer["Location"] == f"/cameras/{camera.pk}/"
    assert camera.address.reveal() == STREAM
    assert (camera.state, camera.time_zone, camera.days) == ("new", "Europe/Berlin", "1234567")
    assert camera.next_at is not None
    page = operator.get("/cameras/new").text
    assert "Gate is added. Its next picture is planned for 20" in page
    assert SECRET not in page


def test_an_address_is_never_kept_in_clear(operator: Client) -> None:
    add(operator)
    kept = Camera.objects.get().address
    assert isinstance(kept, Secret)
    assert SECRET not in kept.ciphertext


def test_of_the_form_as_it_comes_only_name_and_address_need_to_be_filled_in(operator: Client, settings) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    given = Controls(operator.get("/cameras/new").text).given
    sent = given | {"name": ["Gate"], "address": ["rtsp://10.0.0.9/x"]}
    assert operator.post("/cameras/new", sent).status_code == 302
    camera = Camera.objects.get()
    assert (camera.source, camera.schedule, camera.every_s, camera.days) == ("rtsp", "every", 60, "1234567")
    assert (camera.is_analysed, camera.verify_tls, camera.frozen_after) == (True, True, 5)
    assert camera.time_zone == "Europe/Berlin"


def test_a_form_that_is_sent_back_as_it_came_changes_nothing(operator: Client) -> None:
    camera = a_camera(days="67", active_from=time(22), active_until=time(4, 30), jitter_s=3, time_zone="Asia/Tokyo")
    before = Camera.objects.filter(pk=camera.pk).values().get()
    sent = Controls(operator.get(f"/cameras/{camera.pk}/edit").text).given
    assert operator.post(f"/cameras/{camera.pk}/edit", sent).status_code == 302
    assert Camera.objects.filter(pk=camera.pk).values().get() == before


def test_the_days_are_checkboxes(operator: Client) -> None:
    add(operator, days=["6", "7"])
    camera = Camera.objects.get()
    assert camera.days == "67"
    page = operator.get(f"/cameras/{camera.pk}/edit").text
    assert page.count('name="days"') == 7
    assert page.count('name="days" value="6" id="id_days_5" checked') == 1
    assert 'name="days" value="1" id="id_days_0" checked' not in page


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": ""}, "Give the camera a name."),
        ({"source": "ftp"}, "There is no such kind of camera. Choose one of the list."),
        ({"address": "", "username": "", "password": ""}, "Enter the camera's address."),
        ({"address": ""}, "are never sent to another."),
        ({"address": "http://10.0.0.9/"}, "Begin the address with rtsp:// or rtsps://."),
        ({"address": "rtsp://169.254.169.254/latest"}, "This is the address of a cloud's metadata service"),
        ({"address": "rtsp://127.0.0.1/x"}, "This is an address of the server itself"),
        ({"address": "rtsp://localhost:554/x"}, "This is an address of the server itself"),
        ({"address": "rtsp://[::1]/x"}, "This is an address of the server itself"),
        ({"address": "rtsp://[fe80::1]/x"}, "This is a link-local address"),
        ({"every_s": "1"}, "The interval must be from 2 to"),
        ({"every_s": ""}, "Enter the seconds between two pictures."),
        ({"days": []}, "Choose at least one day of the week."),
        ({"time_zone": "Europe/Nowhere"}, "There is no time zone “Europe/Nowhere”"),
        ({"every_s": "9" * 40}, "The interval must be from 2 to"),
        ({"trial": "9" * 40, "address": ""}, "are never sent to another."),
        ({"time_zone": ""}, "Enter a time zone, such as Europe/Berlin or UTC."),
        ({"active_from": "25:00"}, "“From” is not a time of day. Write it as 06:30."),
        ({"active_from": "06:00"}, "Give both ends of the active hours, or neither for all day."),
        ({"schedule": "cron", "cron": "every day"}, "A cron expression has five parts"),
        ({"schedule": "cron", "cron": "0 0 31 2 *"}, "The day of the month of this cron expression is wrong."),
        ({"schedule": "sun"}, "Give the minutes from sunrise, from sunset, or both"),
        ({"schedule": "sun", "sunset_offset_min": "0"}, "The sun needs a place"),
    ],
)
def test_every_mistake_has_its_sentence(operator: Client, changes: dict[str, Any], sentence: str) -> None:
    answer = add(operator, **changes)
    assert sentence in " ".join(said(answer))
    assert not Camera.objects.exists()


def test_all_mistakes_are_told_at_once(operator: Client) -> None:
    sentences = said(add(operator, name="", address="x", days=[], every_s="1", time_zone="Nowhere", jitter_s="9999"))
    assert len(sentences) == 7, "six, and that the password must be entered again"


def test_loopback_is_allowed_where_the_setting_says_so(operator: Client, settings) -> None:
    settings.CAMERA_ALLOW_LOOPBACK = True
    assert add(operator, address="rtsp://127.0.0.1/x").status_code == 302


def test_a_name_is_given_once(operator: Client) -> None:
    a_camera("Gate")
    assert said(add(operator))[0] == "There is a camera of this name already. Choose another."


def test_of_two_who_give_the_same_name_in_the_same_moment_one_is_told(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_camera("Gate")
    monkeypatch.setattr("detection.forms.CameraForm.validate_unique", lambda self: None)  # it looked a moment before
    assert said(add(operator))[0] == "There is a camera of this name already. Choose another."


def test_what_does_not_belong_to_the_chosen_kind_is_not_judged(operator: Client) -> None:
    """It is out of sight: an error there could not be found."""
    answer = add(
        operator,
        source="usb",
        address="/dev/video0",
        username="filled in by the browser",
        rtsp_transport="",
        schedule="cron",
        cron="*/5 * * * *",
        every_s="",
        latitude="ninety",
        sunrise_offset_min="x",
    )
    assert answer.status_code == 302
    camera = Camera.objects.get()
    assert (camera.address.reveal(), camera.every_s, camera.latitude) == ("/dev/video0", 60, None)


# Changing


def test_an_empty_address_keeps_what_is_stored_and_what_is_known_of_the_camera(operator: Client) -> None:
    camera = a_camera(state="ok", failures=0)
    assert change(operator, camera, name="Yard", every_s="120").status_code == 302
    camera.refresh_from_db()
    assert (camera.name, camera.every_s, camera.state) == ("Yard", 120, "ok")
    assert camera.address.reveal() == ADDRESS


def test_a_new_address_takes_no_password_along(operator: Client) -> None:
    """Otherwise whoever may change a camera could have its password sent to a host of their own."""
    camera = a_camera()
    assert change(operator, camera, address="http://10.6.6.6/snap.jpg").status_code == 302
    camera.refresh_from_db()
    assert camera.address.reveal() == "http://10.6.6.6/snap.jpg"
    assert camera.state == "new"


def test_a_login_without_an_address_is_refused(operator: Client) -> None:
    camera = a_camera()
    assert "never sent to another" in " ".join(said(change(operator, camera, username="x", password="y")))


def test_another_kind_of_camera_needs_another_address(operator: Client) -> None:
    camera = a_camera()
    sentences = said(change(operator, camera, source="mjpeg"))
    assert sentences == ["The stored address is of another kind of camera: enter the address for this one."]
    camera.refresh_from_db()
    assert camera.source == "http"


def test_a_stored_address_whose_key_is_gone_is_said_and_can_be_entered_anew(operator: Client, settings) -> None:
    camera = a_camera()
    settings.CAMERA_KEYS = ["YW5vdGhlci1rZXktMDEyMzQ1Njc4OWFiY2RlZmdoaTA="]
    assert "cannot be decrypted" in operator.get(f"/cameras/{camera.pk}/edit").text
    assert change(operator, camera, address="http://10.0.0.7/x.jpg").status_code == 302
    camera.refresh_from_db()
    assert camera.address.reveal() == "http://10.0.0.7/x.jpg"


def test_a_paused_camera_stays_paused_when_it_is_changed(operator: Client) -> None:
    camera = a_camera()
    camera.pause()
    answer = change(operator, camera, name="Yard")
    camera.refresh_from_db()
    assert (camera.name, camera.state, camera.next_at) == ("Yard", "disabled", None)
    assert "It is paused" in operator.get("/cameras/new").text
    assert answer.status_code == 302


def test_the_title_names_the_camera_as_it_is_and_not_as_it_is_typed(operator: Client) -> None:
    page = change(operator, a_camera("Gate"), name="Fence", every_s="1").text
    assert "<h1>Change Gate</h1>" in page
    assert 'value="Fence"' in page


def test_a_form_that_was_opened_before_does_not_put_the_state_back(operator: Client) -> None:
    camera = a_camera(state="ok")
    Camera.objects.filter(pk=camera.pk).update(state="offline", failures=7, state_since=timezone.now() - timedelta(1))
    change(operator, camera, name="Yard")
    camera.refresh_from_db()
    assert (camera.state, camera.failures) == ("offline", 7)


# Removing


def test_removing_asks_first_and_leaves_the_pictures(operator: Client) -> None:
    camera = a_camera("Gate")
    media = a_done_analysis(a_media()).media
    Media.objects.filter(pk=media.pk).update(camera=camera)
    a_capture(camera, media=media)
    CameraEvent.objects.create(camera=camera, kind="offline", at=timezone.now())
    page = operator.get(f"/cameras/{camera.pk}/remove").text
    assert "the 1 record of its captures and what people were told of it are deleted" in page
    assert "Its 1 picture stays, with all sightings" in page
    assert Camera.objects.exists()
    answer = operator.post(f"/cameras/{camera.pk}/remove")
    assert answer["Location"] == reverse("cameras")
    for rows in (Camera, Capture, CameraEvent):
        assert not rows.objects.exists()
    media.refresh_from_db()
    assert media.camera is None
    assert media.sightings.count() == 1


# Who may


@pytest.mark.parametrize("group", ["", "viewer", "reviewer"])
def test_only_operators_enter_change_and_remove_cameras(visit: Visit, group: str) -> None:
    camera = a_camera()
    client = visit(group)
    assert add(client).status_code == 403
    assert change(client, camera, name="Mine").status_code == 403
    assert client.post(f"/cameras/{camera.pk}/remove").status_code == 403
    assert list(Camera.objects.values_list("name", flat=True)) == [camera.name]


def test_without_the_token_of_the_form_nothing_is_changed(db: None) -> None:
    camera = a_camera()
    client = Client(enforce_csrf_checks=True)
    client.force_login(a_user("operator"))
    assert add(client).status_code == 403
    assert client.post(f"/cameras/{camera.pk}/remove").status_code == 403
    assert Camera.objects.count() == 1
