"""How long a camera's pictures are kept: entered in days and GB, shown on its page."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from detection.models import Camera
from tests.cast import TYPED, a_camera
from tests.views.camera_form import Controls, add, change, said

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_rule(settings):
    settings.RETAIN_DAYS = settings.RETAIN_BYTES = 0


def limits(camera: Camera | None = None) -> tuple[int | None, int | None]:
    camera = Camera.objects.get(pk=camera.pk) if camera else Camera.objects.get()
    return camera.retain_days, camera.retain_bytes


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ({"retain_days": "30", "retain_bytes": "5"}, (30, 5_000_000_000)),
        ({"retain_days": "", "retain_bytes": ""}, (None, None)),
        ({}, (None, None)),
        ({"retain_bytes": "0.5"}, (None, 500_000_000)),
        ({"retain_bytes": "1000000"}, (None, 10**15)),
        ({"retain_days": "1", "retain_bytes": "0.1"}, (1, 100_000_000)),
        ({"retain_days": "36500"}, (36_500, None)),
    ],
)
def test_they_are_entered_in_days_and_gb(operator: Client, typed: dict[str, str], stored: Any) -> None:
    assert add(operator, **typed).status_code == 302
    assert limits() == stored


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"retain_days": "0"}, "Pictures must be kept for at least 1 day."),
        ({"retain_days": "-1"}, "Pictures must be kept for at least 1 day."),
        ({"retain_days": "36501"}, "Pictures can be kept for at most 36,500 days."),
        ({"retain_days": "9" * 40}, "Pictures can be kept for at most 36,500 days."),
        ({"retain_days": "1.5"}, "The days for which pictures are kept are a whole number. Write it as 30."),
        ({"retain_bytes": "0"}, "At least 0.1 GB of pictures must be kept."),
        ({"retain_bytes": "0.01"}, "At least 0.1 GB of pictures must be kept."),
        ({"retain_bytes": "-5"}, "At least 0.1 GB of pictures must be kept."),
        ({"retain_bytes": "1000001"}, "At most 1,000,000 GB of pictures can be kept."),
        ({"retain_bytes": "5 GB"}, "The GB of pictures that are kept are a number. Write it as 5 or 0.5."),
        ({"retain_bytes": "NaN"}, "The GB of pictures that are kept are a number."),
        ({"retain_bytes": "Infinity"}, "The GB of pictures that are kept are a number."),
    ],
)
def test_every_mistake_has_its_sentence(operator: Client, typed: dict[str, str], sentence: str) -> None:
    answer = add(operator, username="", password="", **typed)
    assert len(said(answer)) == 1
    assert said(answer)[0].startswith(sentence)
    assert not Camera.objects.exists()
    (name, value), *_ = typed.items()
    assert f'name="{name}" value="{value}"' in answer.text, "what was typed is shown again"


@pytest.mark.parametrize("size", [5_000_000_000, 1_500_000_001, 100_000_000_000, 123_456_789_123])
def test_a_form_that_is_sent_back_as_it_came_changes_nothing(operator: Client, size: int) -> None:
    camera = a_camera(retain_days=7, retain_bytes=size)
    sent = Controls(operator.get(f"/cameras/{camera.pk}/edit").text).given
    assert operator.post(f"/cameras/{camera.pk}/edit", sent).status_code == 302
    assert limits(camera) == (7, size)


def test_emptying_them_takes_them_back(operator: Client) -> None:
    camera = a_camera("Gate", retain_days=7, retain_bytes=5_000_000_000)
    assert change(operator, camera, retain_days="", retain_bytes="").status_code == 302
    assert limits(camera) == (None, None)


def test_the_form_says_what_holds_for_all(operator: Client, settings) -> None:
    text = operator.get("/cameras/new").text
    assert "For all cameras: for ever." in text
    assert "Beyond that the oldest go. Empty: no limit of its own.</p>" in text
    settings.RETAIN_DAYS, settings.RETAIN_BYTES = 30, 2_000_000_000
    text = operator.get("/cameras/new").text
    assert "For all cameras: 30 days; only less has an effect." in text
    assert "All media together: 2 GB." in text


def test_a_trial_does_not_mind_them(operator: Client, queue: object) -> None:
    answer = operator.post("/cameras/trials", TYPED | {"retain_days": "x", "retain_bytes": "x"})
    assert answer.status_code in (200, 302)


@pytest.mark.parametrize(
    ("given", "days", "size", "words"),
    [
        ({}, 0, 0, "until somebody removes them"),
        ({}, 30, 0, "30 days"),
        ({"retain_days": 7}, 30, 0, "7 days"),
        ({"retain_days": 60}, 30, 0, "30 days"),
        ({"retain_days": 1, "retain_bytes": 1_500_000_000}, 0, 0, "1 day, at most 1.5 GB"),
        ({"retain_bytes": 1_500_000_000}, 0, 10**12, "at most 1.5 GB, within 1.0 TB for all media"),
    ],
)
def test_its_page_says_how_long_they_are_kept(
    viewer: Client, settings, given: dict[str, int], days: int, size: int, words: str
) -> None:
    settings.RETAIN_DAYS, settings.RETAIN_BYTES = days, size
    camera = a_camera(**given)
    assert f"<dt>Pictures stay</dt><dd>{words}</dd>" in viewer.get(f"/cameras/{camera.pk}/").text


def test_in_the_administration_they_are_in_days_and_gb_too(client: Client) -> None:
    client.force_login(User.objects.create_superuser("admin", password="only for tests"))
    camera = a_camera("Gate", retain_days=7, retain_bytes=1_500_000_000)
    url = reverse("admin:detection_camera_change", args=[camera.pk])
    page = client.get(url).text
    assert 'name="retain_bytes" value="1.5"' in page
    kept = {"name": "Gate", "address": "", "username": "", "password": ""}
    answer = client.post(url, TYPED | kept | {"retain_days": "9", "retain_bytes": "2.5"})
    assert answer.status_code == 302
    assert limits(camera) == (9, 2_500_000_000)
    assert client.post(url, TYPED | kept | {"retain_days": "0"}).status_code == 200
    assert limits(camera) == (9, 2_500_000_000)
