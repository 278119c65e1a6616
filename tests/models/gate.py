"""A camera, and what happens to it, as its captures tell it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from detection.fields import Secret
from detection.models import Camera
from tests.cast import a_media

TEN_SECONDS = {"schedule": "every", "every_s": 10}


def the_gate(**given) -> Camera:
    camera = Camera(**{"name": "Gate", "source": "http", **TEN_SECONDS, **given})
    camera.put_in_service(Secret.of("http://10.0.0.5/snap.jpg"))
    return camera


def ago(seconds: float) -> datetime:
    return timezone.now() - timedelta(seconds=seconds)


def sees(camera: Camera, fingerprint: str = "a picture", after_s: float = 0, *, is_manual: bool = False) -> Camera:
    camera.refresh_from_db()
    taken_at = timezone.now() + timedelta(seconds=after_s)
    camera.saw(a_media(fingerprint.encode()).pk, fingerprint, taken_at, is_manual=is_manual)
    return camera


def freezes(camera: Camera) -> Camera:
    for n in range(5):
        sees(camera, after_s=20 * n)
    return camera


def fails(camera: Camera, planned_ago_s: float = 0) -> Camera:
    camera.refresh_from_db()
    camera.could_not("It did not answer in time.", ago(planned_ago_s), known_at=timezone.now())
    return camera


def told(camera: Camera) -> list[str]:
    return list(camera.events.order_by("pk").values_list("kind", flat=True))
