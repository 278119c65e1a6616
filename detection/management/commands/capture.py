"""`manage.py capture CAMERA`: grabs one picture now, in this process, and says what came of it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from detection.models import Camera, Capture
from workers.capture import grab_now
from workers.tasks import send_analysis


class Command(BaseCommand):
    help = "Grabs one picture from a camera now, stores it, and queues its analysis."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("camera", metavar="CAMERA", help="the camera's name or number")
        parser.add_argument("--json", action="store_true", help="print what came of it as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        capture, analysis = grab_now(_camera(options["camera"]))
        if analysis is not None:
            send_analysis(analysis)
        if options["json"]:
            self.stdout.write(json.dumps(_facts(capture), indent=2))
        if capture.state != Capture.State.GRABBED:
            raise CommandError(f"{capture.camera}: {capture.why}")
        media = capture.media
        if media is not None and not options["json"]:
            size = f"{media.width} x {media.height} pixels, {media.bytes / 1000:.0f} kB"
            self.stdout.write(f"{capture.camera}: {size}, media {media.pk}")


def _camera(given: str) -> Camera:
    camera = Camera.objects.filter(name=given).first()
    if camera is None and given.isdecimal():
        camera = Camera.objects.filter(pk=int(given)).first()
    if camera is None:
        names = ", ".join(Camera.objects.values_list("name", flat=True)[:20]) or "none at all"
        raise CommandError(f"There is no camera “{given}”. There are: {names}.")
    return camera


def _facts(capture: Capture) -> dict[str, Any]:
    media = capture.media
    return {
        "camera": capture.camera.name,
        "capture": capture.pk,
        "state": capture.state,
        "asked_at": capture.planned_at.isoformat(),
        "ended_at": capture.finished_at and capture.finished_at.isoformat(),
        "kind": capture.kind,
        "why": capture.why,
        "media": None if media is None else {"id": media.pk, "sha256": media.sha256, "at": media.at.isoformat()},
    }
