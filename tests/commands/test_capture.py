"""`manage.py capture`."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from detection.fields import Secret
from detection.management.commands._simulated import SimulatedCameras
from detection.models import Analysis, Camera, Capture, Media
from tests.cast import a_model

pytestmark = pytest.mark.django_db


@pytest.fixture
def simulated(settings, monkeypatch):
    settings.CAMERA_ALLOW_LOOPBACK = True
    monkeypatch.setattr("detection.management.commands.capture.send_analysis", lambda analysis: True)
    a_model().activate()
    with SimulatedCameras() as cameras:
        Camera(name="Gate", source="http").put_in_service(Secret.of(cameras.address(0)))
        yield cameras


def test_it_stores_a_picture_and_says_so(simulated, capsys):
    call_command("capture", "Gate")
    media = Media.objects.get()
    assert f"Gate: {media.width} x {media.height} pixels" in capsys.readouterr().out
    assert Capture.objects.get().state == "grabbed"
    assert Analysis.objects.filter(media=media).exists()


def test_a_camera_can_be_named_by_its_number(simulated, capsys):
    call_command("capture", str(Camera.objects.get().pk), "--json")
    facts = json.loads(capsys.readouterr().out)
    assert (facts["state"], facts["media"]["sha256"]) == ("grabbed", Media.objects.get().sha256)
    capture = Capture.objects.get()
    assert (facts["asked_at"], facts["ended_at"]) == (capture.planned_at.isoformat(), capture.finished_at.isoformat())


def test_what_went_wrong_is_a_sentence_and_the_capture_has_failed(simulated):
    simulated.behave(0, "broken")
    with pytest.raises(CommandError, match=r"^Gate: "):
        call_command("capture", "Gate")
    capture = Capture.objects.get()
    assert (capture.state, capture.kind) == ("failed", "server_error")


def test_an_unknown_camera_is_answered_with_the_names_there_are(simulated):
    with pytest.raises(CommandError, match=r"There is no camera “Gte”\. There are: Gate\."):
        call_command("capture", "Gte")
