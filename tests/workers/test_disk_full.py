"""A disk that is nearly full takes no new pictures, and that is no fault of the cameras."""

from __future__ import annotations

import errno
import logging

import pytest
from django.core.files.storage import default_storage

from detection.models import Capture, LooseFile, Media
from detection.models.camera import Camera
from detection.storage import DurableFileSystemStorage
from detection.vision.types import Detection, DetectStats, FrameDetections
from tests.disks import Free, a_disk
from tests.workers.conftest import TIMEOUT, planned
from workers import capture as step
from workers import steps
from workers.again import TryAgain

pytestmark = pytest.mark.django_db


@pytest.fixture
def disk_with(monkeypatch) -> Free:
    return a_disk(monkeypatch)


def test_a_capture_is_refused_without_the_camera_being_asked(wire, gate, disk_with, settings):
    disk_with(free=settings.DISK_RESERVE_BYTES)
    capture = planned(gate)
    assert step.grab_one(capture.pk) is None
    capture.refresh_from_db()
    assert (capture.state, capture.kind, capture.why) == ("failed", "disk_full", step.NEARLY_FULL)
    assert [entry["kind"] for entry in capture.tried] == ["disk_full"]
    assert wire.asked == []
    assert not Media.objects.exists()
    assert not LooseFile.objects.exists()


def test_it_does_not_count_against_the_camera(wire, gate, disk_with, settings):
    disk_with(free=0)
    for _ in range(5):
        step.grab_one(planned(gate, planned_at=planned(gate).planned_at.replace(microsecond=_)).pk)
    gate.refresh_from_db()
    assert (gate.state, gate.failures, gate.failing_since) == ("new", 0, None)
    assert not gate.events.exists()


def test_a_camera_in_trouble_is_neither_better_nor_worse_for_it(wire, gate, disk_with, settings):
    wire.answers = [TIMEOUT]
    Camera.objects.update(failures=3)
    gate.refresh_from_db()
    before = Camera.objects.values("state", "failures", "failing_since", "next_at").get()
    disk_with(free=0)
    step.grab_one(planned(gate).pk)
    assert Camera.objects.values("state", "failures", "failing_since", "next_at").get() == before


def test_with_room_again_the_next_one_is_grabbed(wire, gate, disk_with, settings):
    disk_with(free=0)
    step.grab_one(planned(gate).pk)
    disk_with(free=settings.DISK_RESERVE_BYTES + 1)
    assert step.grab_one(planned(gate).pk)
    assert Capture.objects.filter(state="grabbed").count() == 1


def test_two_hundred_cameras_say_it_once_in_the_log(wire, gate, disk_with, settings, caplog, monkeypatch):
    monkeypatch.setattr(step, "_said_at", -step.SAID_EVERY_S)
    disk_with(free=0)
    first = planned(gate)
    with caplog.at_level(logging.INFO, "workers.capture"):
        step.grab_one(first.pk)
        step.grab_one(planned(gate).pk)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_picture_that_meets_a_full_disk_says_so_is_tried_again_and_leaves_nothing(wire, gate, monkeypatch, number):
    save = DurableFileSystemStorage._save

    def full(storage, name, content):
        raise OSError(number, "No space left on device")

    monkeypatch.setattr(DurableFileSystemStorage, "_save", full)
    capture = planned(gate)
    with pytest.raises(TryAgain):
        step.grab_one(capture.pk)
    capture.refresh_from_db()
    assert (capture.state, capture.kind, capture.why) == ("planned", "disk_full", step.FULL)
    assert not LooseFile.objects.exists()
    monkeypatch.setattr(DurableFileSystemStorage, "_save", save)
    assert step.grab_one(capture.pk)
    gate.refresh_from_db()
    assert (gate.state, gate.failures) == ("ok", 0)


def test_work_under_way_does_not_look_at_the_reserve(wire, gate, disk_with, monkeypatch):
    """The reserve is what it lives on."""
    analysis = step.grab_one(planned(gate).pk)
    disk_with(free=0)
    seen = FrameDetections(0.0, True, (Detection(1.0, 2.0, 30.0, 40.0, 0.9, "car"),))
    monkeypatch.setattr(steps, "detector_of", lambda *_: None)
    monkeypatch.setattr(steps.pipeline, "detect", lambda *_: ([seen], DetectStats(1, 1, 1)))
    monkeypatch.setattr(steps.pipeline, "thumbnails", lambda *_, **__: [(0, b"a small picture")])
    assert steps.plan(analysis.pk) == []
    analysis.refresh_from_db()
    assert analysis.state == "done"
    assert default_storage.open(analysis.sightings.get().thumbnail).read() == b"a small picture"
