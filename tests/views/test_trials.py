"""Trying a camera before it is saved: a picture or a reason, for the one who asked and nobody else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from detection.models import Camera, Trial
from detection.sources import Source
from tests.cast import ADDRESS, ENTERED, SECRET, TYPED, a_camera, a_user
from tests.views.conftest import Queue, Visit

HTMX = {"HX-Request": "true"}


def try_it(client: Client, camera: Camera | None = None, part: bool = True, **changes: Any) -> Any:
    place = "/cameras/trials" + (f"?camera={camera.pk}" if camera else "")
    return client.post(place, TYPED | changes, headers=HTMX if part else {})


def worked_on(trial: Trial) -> Trial:
    claimed = Trial.claim(trial.pk, "worker")
    assert claimed is not None
    return claimed


def test_the_entered_data_are_tried_and_nothing_is_saved(operator: Client, queue: Queue) -> None:
    answer = try_it(operator, verify_tls="")
    assert answer.status_code == 200
    trial = Trial.objects.get()
    assert trial.secret_source == Source("http", ENTERED, "tcp", verify_tls=False)
    assert queue.trials == [trial.pk]
    assert not Camera.objects.exists()
    assert f'hx-get="/cameras/trials/{trial.pk}?seen=' in answer.text
    assert f'name="trial" value="{trial.pk}"' in answer.text
    assert "http://10.0.0.9/…" in answer.text
    assert SECRET not in answer.text
    assert "<html" not in answer.text


def test_the_name_and_the_schedule_need_not_be_right_yet(operator: Client, queue: Queue) -> None:
    assert try_it(operator, part=False, name="", schedule="cron", cron="x").status_code == 200
    assert len(queue.trials) == 1


def test_the_panel_is_asked_for_again_until_there_is_something_new(operator: Client, queue: Queue) -> None:
    try_it(operator)
    trial = Trial.objects.get()
    Trial.mark_sent([trial.pk])
    place = f"/cameras/trials/{trial.pk}"
    assert "starts as soon as a worker is free" in operator.get(place, headers=HTMX).text
    assert operator.get(f"{place}?seen=sent", headers=HTMX).status_code == 204
    claimed = worked_on(trial)
    assert "Waiting for the camera’s answer" in operator.get(f"{place}?seen=sent", headers=HTMX).text
    assert operator.get(f"{place}?seen=running", headers=HTMX).status_code == 204
    claimed.finish(b"a jpeg", 1920, 1080, 0.84)
    page = operator.get(f"{place}?seen=running", headers=HTMX).text
    assert "1920 × 1080 pixels, after 0.8 seconds" in page
    assert f'src="{place}/picture"' in page
    assert "hx-get" not in page, "it is over"


def test_the_picture_is_served_as_a_jpeg_and_not_kept(operator: Client, queue: Queue) -> None:
    try_it(operator)
    trial = Trial.objects.get()
    assert operator.get(f"/cameras/trials/{trial.pk}/picture").status_code == 404
    worked_on(trial).finish(b"a jpeg", 640, 360, 0.2)
    answer = operator.get(f"/cameras/trials/{trial.pk}/picture")
    assert (answer["Content-Type"], answer.content) == ("image/jpeg", b"a jpeg")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in answer["Cache-Control"]


def test_without_a_picture_the_reason_is_said(operator: Client, queue: Queue) -> None:
    try_it(operator)
    worked_on(Trial.objects.get()).fail("unauthorised", "The camera wants another password <401>.")
    page = operator.get(f"/cameras/trials/{Trial.objects.get().pk}", headers=HTMX).text
    assert "The camera wants another password &lt;401&gt;." in page
    assert "No picture" in page
    assert "hx-get" not in page


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"address": "", "username": "", "password": ""}, "Enter the camera&#x27;s address."),
        ({"address": "http://169.254.169.254/latest"}, "cloud&#x27;s metadata service"),
        ({"address": "http://127.0.0.1/"}, "an address of the server itself"),
        ({"address": f"ftp://viewer:{SECRET}@10.0.0.9/"}, "Begin the address with http:// or https://."),
        ({"source": ""}, "Choose what kind of camera it is."),
    ],
)
@pytest.mark.parametrize("part", [True, False])
def test_what_is_wrong_is_said_and_not_tried(
    operator: Client, queue: Queue, changes: dict[str, str], sentence: str, part: bool
) -> None:
    answer = try_it(operator, part=part, **changes)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert SECRET not in answer.text
    assert not Trial.objects.exists()
    assert ("enter it once more" in answer.text) == (not part and bool((TYPED | changes)["password"]))


def test_with_an_empty_address_the_stored_one_is_tried(operator: Client, queue: Queue) -> None:
    camera = a_camera()
    answer = try_it(operator, camera, address="", username="", password="")
    assert answer.status_code == 200
    assert Trial.objects.get().secret_source.address == ADDRESS
    assert SECRET not in answer.text


def test_the_stored_address_is_not_tried_as_another_kind_or_through_another_host(
    operator: Client, queue: Queue
) -> None:
    camera = a_camera()
    assert try_it(operator, camera, source="mjpeg", address="", username="", password="").status_code == 422
    try_it(operator, camera, address="http://10.6.6.6/snap.jpg", username="", password="")
    assert Trial.objects.get().secret_source.address == "http://10.6.6.6/snap.jpg"


def test_a_stored_address_without_its_key_is_said(operator: Client, queue: Queue, settings) -> None:
    camera = a_camera()
    settings.CAMERA_KEYS = ["YW5vdGhlci1rZXktMDEyMzQ1Njc4OWFiY2RlZmdoaTA="]
    answer = try_it(operator, camera, address="", username="", password="")
    assert answer.status_code == 422
    assert "cannot be decrypted" in answer.text


def test_a_trial_whose_key_is_gone_by_now_breaks_no_page(operator: Client, queue: Queue, settings) -> None:
    try_it(operator)
    trial = Trial.objects.get()
    settings.CAMERA_KEYS = ["YW5vdGhlci1rZXktMDEyMzQ1Njc4OWFiY2RlZmdoaTA="]
    assert operator.get(f"/cameras/trials/{trial.pk}").status_code == 200
    answer = try_it(operator, address="", username="", password="", trial=trial.pk)
    assert "kept for 15 minutes only" in answer.text


# Without JavaScript


def test_without_javascript_the_form_comes_back_with_the_panel(operator: Client, queue: Queue) -> None:
    answer = try_it(operator, part=False, name="Gate", schedule="every", every_s="30", time_zone="Asia/Tokyo")
    page = answer.text
    trial = Trial.objects.get()
    assert answer.status_code == 200
    for typed in ('value="Gate"', 'value="30"', 'value="Asia/Tokyo"', 'value="http://10.0.0.9/snap.jpg"'):
        assert typed in page
    assert SECRET not in page
    assert f'name="trial" value="{trial.pk}"' in page
    assert "Look again" in page
    assert "<strong>It was not tried" not in page


def test_looking_again_shows_the_same_trial(operator: Client, queue: Queue) -> None:
    try_it(operator, part=False)
    trial = Trial.objects.get()
    worked_on(trial).finish(b"a jpeg", 640, 360, 0.2)
    page = try_it(operator, part=False, password="", trial=trial.pk, look="1").text
    assert "640 × 360 pixels" in page
    assert "Look again" not in page
    assert Trial.objects.count() == 1


def test_trying_once_more_uses_the_password_of_the_trial_before(operator: Client, queue: Queue) -> None:
    try_it(operator, part=False)
    first = Trial.objects.get()
    try_it(operator, part=False, password="", trial=first.pk)
    assert Trial.objects.latest("pk").secret_source.address == first.secret_source.address
    assert Trial.objects.count() == 2


# Limits


def test_five_unfinished_trials_are_enough_for_one(operator: Client, queue: Queue) -> None:
    for _ in range(5):
        assert try_it(operator).status_code == 200
    answer = try_it(operator)
    assert answer.status_code == 429
    assert "5 tries of yours are under way already" in answer.text
    assert Trial.objects.count() == 5
    worked_on(Trial.objects.earliest("pk")).finish(b"a jpeg", 640, 360, 0.2)
    assert try_it(operator).status_code == 200


def test_the_trials_of_others_and_those_long_forgotten_do_not_count(operator: Client, queue: Queue) -> None:
    other = a_user("viewer")
    for _ in range(5):
        Trial.ask(Source("http", "http://10.0.0.9/"), other)
    assert try_it(operator).status_code == 200
    for _ in range(4):
        try_it(operator)
    Trial.objects.update(requested_at=timezone.now() - timedelta(minutes=16))
    assert try_it(operator).status_code == 200


def test_without_a_broker_the_trial_waits_and_says_so(operator: Client, queue: Queue) -> None:
    queue.is_away = True
    answer = try_it(operator)
    assert answer.status_code == 200
    assert "waits for the queue, which cannot be reached just now" in answer.text
    assert Trial.objects.get().state == "queued"


def test_a_trial_that_no_worker_takes_says_where_to_look(operator: Client, queue: Queue) -> None:
    try_it(operator)
    Trial.objects.update(requested_at=timezone.now() - timedelta(seconds=30))
    page = operator.get(f"/cameras/trials/{Trial.objects.get().pk}?seen=sent", headers=HTMX).text
    assert "see whether the workers that grab are running" in page


# Who may


def test_a_trial_is_there_for_the_one_who_asked_only(operator: Client, visit: Visit, queue: Queue) -> None:
    try_it(operator)
    trial = Trial.objects.get()
    worked_on(trial).finish(b"a jpeg", 640, 360, 0.2)
    admin, viewer = Client(), visit("viewer")
    admin.force_login(User.objects.create_superuser("the admin", password="only for tests"))
    for place in (f"/cameras/trials/{trial.pk}", f"/cameras/trials/{trial.pk}/picture"):
        assert operator.get(place).status_code == 200
        assert admin.get(place).status_code == 404
        assert viewer.get(place).status_code == 403


@pytest.mark.parametrize("group", ["", "viewer", "reviewer"])
def test_only_operators_try_cameras(visit: Visit, queue: Queue, group: str) -> None:
    camera = a_camera()
    client = visit(group)
    assert try_it(client).status_code == 403
    assert try_it(client, camera, address="").status_code == 403
    assert not Trial.objects.exists()


def test_a_camera_that_is_not_there_is_not_tried(operator: Client, queue: Queue) -> None:
    for number in ("999", "x", "²", "9" * 30):
        assert operator.post(f"/cameras/trials?camera={number}", TYPED, headers=HTMX).status_code == 404
    assert not Trial.objects.exists()


def test_without_the_token_of_the_form_nothing_is_tried(db: None, queue: Queue) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(a_user("operator"))
    assert try_it(client).status_code == 403
    assert not Trial.objects.exists()


def test_trying_is_never_a_get(operator: Client) -> None:
    assert operator.get("/cameras/trials").status_code == 405
