"""The cameras in the browser: tried before they are saved, entered, watched, paused. The worker's part is done here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from detection.management.commands._simulated import SimulatedCameras
from detection.models import Camera, Capture, Trial
from tests.browser.waiting import eventually, has_a_picture
from workers import capture as worker
from workers.again import TryAgain

pytestmark = pytest.mark.slow


@pytest.fixture
def simulated(settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedCameras]:
    settings.CAMERA_ALLOW_LOOPBACK = True
    settings.RENEW_S = 3600
    settings.GRAB_FIRST_FRAME_S = settings.GRAB_TOTAL_S = 2.0

    def grab(capture: Capture) -> bool:
        try:
            worker.grab_one(capture.pk)
        except TryAgain:
            capture.refresh_from_db()
            capture.give_up()
        return True

    def try_source(trial: Trial) -> bool:
        worker.try_source(trial.pk)
        return True

    monkeypatch.setattr("workers.tasks.send_capture", grab)
    monkeypatch.setattr("workers.tasks.send_trial", try_source)
    with SimulatedCameras() as cameras:
        yield cameras


def test_a_camera_is_tried_entered_and_watched(open_page, simulated):
    simulated.behave(0, "digest")
    page = open_page("operator")
    page.click("text=Cameras")
    page.click("text=Add a camera >> nth=0")
    page.wait_for_url("**/cameras/new")
    page.fill("[name=name]", "Gate")
    page.check("[name=source][value=http]")
    page.fill("[name=address]", simulated.address(0))
    page.click("text=Try it now")
    page.wait_for_selector("text=asks for a user name and a password")
    page.fill("[name=username]", "camera")
    page.fill("[name=password]", "s3cret")
    page.click("text=Try it now")
    page.wait_for_selector("text=It works")
    has_a_picture(page, ".trial img")
    assert not Camera.objects.exists()
    assert not page.is_visible("text=Something was changed since")
    page.fill("[name=address]", simulated.address(0) + "?since")
    page.wait_for_selector("text=Something was changed since")
    page.fill("[name=address]", simulated.address(0))
    page.click("button:has-text('Add the camera')")
    page.wait_for_selector("h1:has-text('Gate')")
    page.click("text=Capture now")
    page.wait_for_selector("text=A picture is asked for")
    has_a_picture(page, "main img")
    assert "s3cret" not in page.content()
    page.click("button:has-text('Pause')")
    page.wait_for_selector("text=is paused")
    assert Camera.objects.get().state == "disabled"
    page.goto("/cameras/")
    page.wait_for_selector("text=Gate")
    eventually(page, lambda: "Paused" in page.inner_text("main"), True)


def test_with_the_keyboard_alone(open_page, simulated):
    page = open_page("operator")
    page.goto("/cameras/new")
    page.focus("[name=name]")
    page.keyboard.type("Yard")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("[name=source][value=http]:checked")
    page.keyboard.press("Tab")
    page.keyboard.type(simulated.address(0))
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Yard')")
    assert Camera.objects.get().source == "http"


def test_what_cannot_be_reached_is_said_in_words_before_anything_is_saved(open_page, simulated):
    simulated.behave(0, "silent")
    page = open_page("operator")
    page.goto("/cameras/new")
    page.check("[name=source][value=http]")
    page.fill("[name=address]", simulated.address(0))
    page.click("text=Try it now")
    page.wait_for_selector("text=sent no picture within 2 seconds")
    page.fill("[name=address]", "http://169.254.169.254/latest/")
    page.click("text=Try it now")
    page.wait_for_selector("text=It was not tried")
    assert Trial.objects.count() == 1
