"""A camera and the wire to it, for the tests of what workers do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from detection.fields import Secret
from detection.models import Camera, Capture
from detection.sources import Source
from tests.cast import IMAGE, a_model
from workers import capture as step
from workers.grab import GrabError, Snapshot

TIMEOUT = GrabError("It did not answer in time.", kind="timeout")
UNAUTHORISED = GrabError("User name or password is wrong.", kind="unauthorised", permanent=True)


class Wire:
    """The camera at the other end: what it answers next, and what it was asked with."""

    def __init__(self) -> None:
        self.answers: list[bytes | Exception | Callable[[], object]] = []
        self.asked: list[Source] = []

    def grab(self, source: Source, limits: object, policy: object) -> Snapshot:
        self.asked.append(source)
        answer = self.answers.pop(0) if self.answers else b"a picture"
        if callable(answer):
            given = answer()
            answer = given if isinstance(given, bytes) else b"a picture"
        if isinstance(answer, Exception):
            raise answer
        return Snapshot(answer, IMAGE, b"small", hashlib.sha256(answer).hexdigest(), datetime.now(UTC))


@pytest.fixture
def wire(monkeypatch, settings, tmp_path) -> Wire:
    settings.RENEW_S = 3600
    wire = Wire()
    monkeypatch.setattr(step, "grab", wire.grab)
    return wire


@pytest.fixture
def gate() -> Camera:
    a_model().activate()
    camera = Camera(name="Gate", source="http", every_s=60)
    camera.put_in_service(Secret.of("http://admin:pl4nted@10.0.0.5/snap.jpg"))
    return camera


def planned(camera: Camera, **given) -> Capture:
    moment = timezone.now()
    times = {"planned_at": moment, "until": moment + timedelta(seconds=60), "sent_at": moment, **given}
    return Capture.objects.create(camera=camera, **times)
