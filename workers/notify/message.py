"""What people are told, in the words of each channel."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from django.conf import settings

from detection.models import CameraEvent


@dataclass(frozen=True, slots=True)
class Message:
    """One piece of news, complete: a channel needs no database to send it."""

    key: str  # the same however often it is sent: receivers can drop doubles by it
    event: str  # "camera.offline"
    title: str  # "Gate went offline"
    camera_id: int | None  # None: of no camera, a test
    camera: str
    url: str  # of the page to look at
    at: datetime  # in the camera's time zone
    why: str

    @property
    def subject(self) -> str:
        return f"Nightjar: {self.title}"

    @property
    def text(self) -> str:
        """Plain text: when, why, and where to look."""
        lines = [f"{self.title} at {self.at:%H:%M:%S} on {self.at.day} {self.at:%B %Y} ({self._zone})."]
        if self.why:
            lines.append(f"Why: {self.why}")
        return "\n\n".join([*lines, self.url])

    @property
    def payload(self) -> dict[str, object]:
        """What a webhook is sent, as JSON."""
        return {
            "id": self.key,
            "event": self.event,
            "camera": self.camera_id and {"id": self.camera_id, "name": self.camera, "url": self.url},
            "at": self.at.astimezone(UTC).isoformat(),
            "why": self.why,
        }

    @property
    def _zone(self) -> str:
        return getattr(self.at.tzinfo, "key", None) or f"{self.at:%Z}"


def of_event(event: CameraEvent) -> Message:
    """The message for an event, whose camera was fetched with it."""
    camera = event.camera
    name = " ".join(camera.name.split())  # it goes into a header of the mail
    return Message(
        key=f"camera-event-{event.pk}",
        event=f"camera.{event.kind}",
        title=f"{name} {event.get_kind_display()}",
        camera_id=camera.pk,
        camera=name,
        url=settings.SITE_URL + camera.get_absolute_url(),
        at=event.at.astimezone(camera.zone or UTC),  # news must come through, whatever this machine has lost
        why=event.why,
    )


def a_test() -> Message:
    """What the command sends to find out whether the channels work."""
    return Message(
        key=f"test-{uuid.uuid4()}",
        event="test",
        title="A test",
        camera_id=None,
        camera="",
        url=settings.SITE_URL,
        at=datetime.now(ZoneInfo(settings.TIME_ZONE)),
        why="Somebody ran “manage.py notify --test”.",
    )
