"""The form comes again and again: a password that it has left out is missed until there is one."""

from __future__ import annotations

import pytest
from django.test import Client

from detection.models import Camera
from tests.cast import SECRET
from tests.views.camera_form import RTSP, Controls, a_trial, add, said
from tests.views.conftest import Queue

LEFT_OUT = "A password is never shown again: enter it once more."


def shown(answer) -> dict[str, list[str]]:
    """What a browser would send of the page, as it stands."""
    return Controls(answer.text).given


def test_a_password_that_was_left_out_is_asked_for_until_it_is_there(operator: Client) -> None:
    page = shown(add(operator, time_zone="Nowhere"))
    answer = operator.post("/cameras/new", page | {"time_zone": "Nowhere again"})
    assert LEFT_OUT in said(answer)
    answer = operator.post("/cameras/new", shown(answer) | {"time_zone": "UTC"})
    assert said(answer) == [LEFT_OUT]
    assert not Camera.objects.exists()
    operator.post("/cameras/new", shown(answer) | {"time_zone": "UTC", "password": SECRET})
    assert SECRET in Camera.objects.get().address.reveal()


def test_who_deletes_the_user_name_as_well_goes_on_without(operator: Client) -> None:
    page = shown(add(operator, time_zone="Nowhere"))
    operator.post("/cameras/new", page | {"time_zone": "UTC", "username": ""})
    assert Camera.objects.get().address.reveal() == "rtsp://10.0.0.9:554/stream1"


def test_a_user_name_that_never_had_a_password_needs_none(operator: Client) -> None:
    page = shown(add(operator, time_zone="Nowhere", password=""))
    operator.post("/cameras/new", page | {"time_zone": "UTC"})
    assert Camera.objects.get().address.reveal() == "rtsp://viewer@10.0.0.9:554/stream1"


def test_a_password_that_was_tried_since_is_enough(operator: Client) -> None:
    page = shown(add(operator, time_zone="Nowhere"))
    operator.post("/cameras/new", page | {"time_zone": "UTC", "trial": a_trial().pk})
    assert SECRET in Camera.objects.get().address.reveal()


def test_a_login_that_was_tried_can_be_taken_out(operator: Client) -> None:
    add(operator, username="", password="", trial=a_trial().pk)
    assert Camera.objects.get().address.reveal() == "rtsp://10.0.0.9:554/stream1"


def test_another_user_name_needs_its_own_password(operator: Client) -> None:
    answer = add(operator, username="admin", password="", trial=a_trial().pk)
    assert "Enter its password again" in " ".join(said(answer))
    assert not Camera.objects.exists()


def test_no_page_with_what_was_entered_is_kept_by_a_browser(operator: Client, queue: Queue) -> None:
    answers = [
        operator.get("/cameras/new"),
        add(operator, time_zone="Nowhere"),
        operator.post("/cameras/trials", RTSP),
        operator.get(f"/cameras/trials/{a_trial().pk}"),
    ]
    assert ["no-store" in answer.headers["Cache-Control"] for answer in answers] == [True] * 4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"jitter_s": "-1"}, "The spread must be at least 0 seconds."),
        ({"jitter_s": "3601"}, "The spread (jitter) must be from 0 to 3600 seconds."),
        ({"every_s": "often"}, "The seconds between two pictures are a whole number. Write it as 60."),
        ({"frozen_after": "-1"}, "The number of identical pictures must be at least 0, which stands for never."),
        ({"frozen_after": "99999999999"}, "The number of identical pictures must be at most 100,000."),
        (
            {"schedule": "sun", "sunset_offset_min": "2000", "latitude": "52", "longitude": "13"},
            "The offset from sunset must be from -720 to 720 minutes.",
        ),
        (
            {"schedule": "sun", "sunset_offset_min": "0", "latitude": "north", "longitude": "13"},
            "The latitude is a number of degrees. Write it as 52.52.",
        ),
    ],
)
def test_each_sentence_says_which_field_it_means(operator: Client, changes: dict[str, str], sentence: str) -> None:
    assert sentence in said(add(operator, **changes))
