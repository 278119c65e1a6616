"""Entering a camera and changing it: what is wrong is a sentence, and no secret is ever shown again."""

from __future__ import annotations

from datetime import time, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from detection.fields import Secret
from detection.models import Camera, CameraEvent, Capture, Media, Trial
from detection.sources import Source
from tests.cast import ADDRESS, a_camera, a_capture, a_done_analysis, a_media, a_user
from tests.views.conftest import Queue, Visit

SECRET = "s3cret"
TYPED: dict[str, Any] = {
    "name": "Gate",
    "source": "rtsp",
    "address": "rtsp://10.0.0.9:554/stream1",
    "username": "viewer",
    "password": SECRET,
    "rtsp_transport": "tcp",
    "verify_tls": "on",
    "schedule": "every",
    "every_s": "60",
    "days": list("1234567"),
    "time_zone": "Europe/Berlin",
    "jitter_s": "0",
    "frozen_after": "5",
    "is_analysed": "on",
}


def add(client: Client, **changes: Any) -> Any:
    return client.post("/cameras/new", TYPED | changes)


def change(client: Client, camera: Camera, **changes: Any) -> Any:
    kept = {"name": camera.name, "source": camera.source, "address": "", "username": "", "password": ""}
    return client.post(f"/cameras/{camera.pk}/edit", TYPED | kept | changes)


def a_trial(address: str = "rtsp://viewer:s3cret@10.0.0.9:554/stream1", kind: str = "rtsp", user: str = "") -> Trial:
    asked_by = User.objects.filter(username=user or "the operator").first() or a_user("operator")
    return Trial.ask(Source(kind, address), asked_by)  # type: ignore[arg-type]


def said(answer: Any) -> list[str]:
    assert answer.status_code == 422
    return [sentence for _, sentence in answer.context["form"].sentences()]


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
    assert camera.address.reveal() == "rtsp://viewer:s3cret@10.0.0.9:554/stream1"
    assert (camera.state, camera.time_zone, camera.days) == ("new", "Europe/Berlin", "1234567")
    assert camera.next_at is not None
    page = operator.get("/cameras/new").text
    assert "Gate is added. Its next picture is planned for 20" in page
    assert SECRET not in page


class Controls(HTMLParser):
    """What a browser would send of a page's form."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.given: dict[str, list[str]] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        if tag == "option" and "selected" in has:  # the page has one list to choose from
            self.given["rtsp_transport"] = [has["value"] or ""]
        kind = has.get("type", "text")
        if tag != "input" or not has.get("name") or (kind in ("radio", "checkbox") and "checked" not in has):
            return
        self.given.setdefault(has["name"] or "", []).append(has.get("value", "on" if kind == "checkbox" else "") or "")


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


# What is shown again


def test_what_was_typed_stays_but_for_the_password(operator: Client) -> None:
    answer = add(operator, every_s="1", time_zone="Asia/Tokyo")
    page = answer.text
    assert SECRET not in page
    for typed in ('value="Gate"', 'value="rtsp://10.0.0.9:554/stream1"', 'value="viewer"', 'value="Asia/Tokyo"'):
        assert typed in page
    assert "A password is never shown again: enter it once more." in said(answer)


def test_a_password_inside_the_address_is_not_shown_either(operator: Client) -> None:
    changes = {"address": f"rtsp://viewer:{SECRET}@10.0.0.9/x", "username": "", "password": "", "name": ""}
    page = add(operator, **changes).text
    assert SECRET not in page
    assert 'value="rtsp://10.0.0.9/x"' in page
    assert 'value="viewer"' in page


@pytest.mark.parametrize("address", [f"rtsp://viewer:{SECRET}#1@10.0.0.9/x", f"rtsp://v:a/{SECRET}@10.0.0.9/x"])
def test_an_address_whose_password_cannot_be_told_from_the_rest_is_not_shown_at_all(
    operator: Client, address: str
) -> None:
    page = add(operator, address=address, username="", password="").text
    assert SECRET not in page
    assert "10.0.0.9" not in page


QUERY = f"http://10.0.0.9/snap.cgi?user=viewer&password={SECRET}"


def test_an_address_with_a_query_is_not_shown_again_and_that_is_said(operator: Client) -> None:
    """Many cameras want the password there."""
    answer = add(operator, name="", source="http", address=QUERY, password="")
    assert "An address with a question mark is not shown again" in " ".join(said(answer))
    assert SECRET not in answer.text
    assert "snap.cgi" not in answer.text
    assert 'value="viewer"' in answer.text
    answer = add(operator, source="rtsp", address=QUERY)  # the wrong kind: it was not understood
    assert SECRET not in answer.text


def test_a_trial_carries_the_address_with_a_query_that_is_not_shown_again(operator: Client) -> None:
    trial = a_trial(QUERY, "http")
    answer = add(operator, name="", source="http", address=QUERY, username="", password="", trial=trial.pk)
    assert said(answer) == ["Give the camera a name."]
    assert SECRET not in answer.text
    given = Controls(answer.text).given
    assert (given["address"], given["username"], given["trial"]) == ([""], [""], [str(trial.pk)])
    assert operator.post("/cameras/new", given | {"name": ["Gate"]}).status_code == 302
    assert Camera.objects.get().address.reveal() == QUERY


def test_a_trial_with_a_login_carries_its_address_with_a_query_too(operator: Client) -> None:
    trial = a_trial(f"http://viewer:{SECRET}@10.0.0.9/snap.cgi?channel=1", "http")
    answer = add(operator, name="", source="http", address="http://10.0.0.9/snap.cgi?channel=1", trial=trial.pk)
    given = Controls(answer.text).given
    assert operator.post("/cameras/new", given | {"name": ["Gate"]}).status_code == 302
    assert Camera.objects.get().address.reveal() == trial.secret_source.address


def test_a_trial_of_another_address_does_not_stand_in_for_one_that_is_not_shown_again(operator: Client) -> None:
    trial = a_trial("http://10.6.6.6/snap.cgi?channel=1", "http")
    answer = add(operator, name="", source="http", address=QUERY, username="", password="", trial=trial.pk)
    assert "An address with a question mark is not shown again" in " ".join(said(answer))
    assert f'name="trial" value="{trial.pk}"' not in answer.text


def test_what_is_tried_without_scripts_is_saved_also_where_its_query_is_not_shown_again(
    operator: Client, queue: Queue
) -> None:
    answer = operator.post(
        "/cameras/trials", TYPED | {"source": "http", "address": QUERY, "username": "", "password": ""}
    )
    assert answer.status_code == 200
    assert SECRET not in answer.text
    assert operator.post("/cameras/new", Controls(answer.text).given).status_code == 302
    assert Camera.objects.get().address.reveal() == QUERY


def test_the_page_of_a_camera_to_be_changed_shows_no_more_than_its_place(operator: Client) -> None:
    camera = a_camera()
    answer = operator.get(f"/cameras/{camera.pk}/edit")
    assert "http://10.0.0.5/…" in answer.text
    assert SECRET not in answer.text
    assert "snap.jpg" not in answer.text
    assert camera.address.ciphertext not in answer.text
    assert "no-store" in answer["Cache-Control"]


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


# The address of a trial


def test_what_was_tried_is_saved_without_entering_it_again(operator: Client) -> None:
    trial = a_trial()
    assert add(operator, address="", username="", password="", trial=trial.pk).status_code == 302
    assert Camera.objects.get().address.reveal() == "rtsp://viewer:s3cret@10.0.0.9:554/stream1"


def test_the_password_of_the_trial_counts_where_the_page_came_back_without_it(operator: Client) -> None:
    trial = a_trial()
    assert add(operator, password="", trial=trial.pk).status_code == 302
    assert Camera.objects.get().address.reveal() == "rtsp://viewer:s3cret@10.0.0.9:554/stream1"


def test_what_is_typed_goes_before_what_was_tried(operator: Client) -> None:
    trial = a_trial()
    add(operator, address="rtsp://10.0.0.8/other", username="a", password="b", trial=trial.pk)
    assert Camera.objects.get().address.reveal() == "rtsp://a:b@10.0.0.8/other"


def test_the_password_of_a_trial_never_goes_to_another_address(operator: Client) -> None:
    trial = a_trial()
    answer = add(operator, address="rtsp://10.6.6.6/stream1", password="", trial=trial.pk)
    assert "Enter its password again" in " ".join(said(answer))
    assert f'name="trial" value="{trial.pk}"' not in answer.text, "what is sent next is taken as it stands"
    assert SECRET not in answer.text


def test_a_trial_of_somebody_else_is_no_way_to_their_password(operator: Client) -> None:
    a_user("viewer")
    trial = a_trial(user="the viewer")
    answer = add(operator, address="", username="", password="", trial=trial.pk)
    assert "kept for 15 minutes only" in " ".join(said(answer))
    assert not Camera.objects.exists()
    answer = add(operator, password="", trial=trial.pk)
    assert "Enter its password again" in " ".join(said(answer))


def test_a_trial_of_another_kind_is_refused(operator: Client) -> None:
    trial = a_trial("http://10.0.0.9/x.jpg", "http")
    answer = add(operator, address="", username="", password="", trial=trial.pk)
    assert said(answer) == ["What was tried is another kind of camera: enter the address for this one."]


def test_a_mistake_elsewhere_loses_neither_the_trial_nor_its_password(operator: Client) -> None:
    trial = a_trial()
    answer = add(operator, name="", trial=trial.pk)
    assert said(answer) == ["Give the camera a name."]
    assert f'name="trial" value="{trial.pk}"' in answer.text
    assert add(operator, password="", trial=trial.pk).status_code == 302


def test_who_tried_the_stored_address_does_not_start_the_camera_anew(operator: Client) -> None:
    camera = a_camera(state="ok")
    trial = a_trial(ADDRESS, "http")
    assert change(operator, camera, name="Yard", trial=trial.pk).status_code == 302
    camera.refresh_from_db()
    assert (camera.name, camera.state) == ("Yard", "ok")


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


def test_an_address_is_never_kept_in_clear(operator: Client) -> None:
    add(operator)
    kept = Camera.objects.get().address
    assert isinstance(kept, Secret)
    assert SECRET not in kept.ciphertext


def test_a_form_that_was_opened_before_does_not_put_the_state_back(operator: Client) -> None:
    camera = a_camera(state="ok")
    Camera.objects.filter(pk=camera.pk).update(state="offline", failures=7, state_since=timezone.now() - timedelta(1))
    change(operator, camera, name="Yard")
    camera.refresh_from_db()
    assert (camera.state, camera.failures) == ("offline", 7)
