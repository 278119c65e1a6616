"""No secret of the form is ever shown again, and what was tried is saved without entering it again."""

from __future__ import annotations

import pytest
from django.test import Client

from detection.models import Camera
from tests.cast import ADDRESS, SECRET, TYPED, a_camera, a_user
from tests.views.camera_form import STREAM, Controls, a_trial, add, change, said
from tests.views.conftest import Queue

QUERY = f"http://10.0.0.9/snap.cgi?user=viewer&password={SECRET}"


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


# The address of a trial


def test_what_was_tried_is_saved_without_entering_it_again(operator: Client) -> None:
    trial = a_trial()
    assert add(operator, address="", username="", password="", trial=trial.pk).status_code == 302
    assert Camera.objects.get().address.reveal() == STREAM


def test_the_password_of_the_trial_counts_where_the_page_came_back_without_it(operator: Client) -> None:
    trial = a_trial()
    assert add(operator, password="", trial=trial.pk).status_code == 302
    assert Camera.objects.get().address.reveal() == STREAM


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
