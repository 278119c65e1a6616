from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from detection.models.camera import Camera
from detection.models.clock import now
from detection.models.visible import VisibleQuerySet
from detection.models.work import Work


class CameraEvent(models.Model):
    """Something that people should know of a camera."""

    class Kind(models.TextChoices):
        OFFLINE = "offline", "went offline"
        FROZEN = "frozen", "is frozen"
        BACK = "back", "is back"

    camera = models.ForeignKey(Camera, models.CASCADE, related_name="events", editable=False)
    kind = models.CharField(max_length=8, choices=Kind, editable=False)
    at = models.DateTimeField(editable=False, db_index=True)
    why = models.CharField(max_length=500, blank=True, editable=False)

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-pk"]

    def __str__(self) -> str:
        return f"{self.camera} {self.get_kind_display()}"

    @classmethod
    def tell(cls, camera: Camera, kind: CameraEvent.Kind, why: str) -> CameraEvent:
        """Records it, and plans a notification for each channel that is set up."""
        event = cls.objects.create(camera=camera, kind=kind, at=now(), why=why)
        for channel in Notification.channels():
            Notification.plan(event, channel)
        return event


class Notification(Work):
    """One event on its way to people through one channel.

    A camera that goes away and comes back again and again is told of once in a while: an alarm waits until the last one
    is ``NOTIFY_HOLD_OFF_S`` old, and where the camera is back before that, neither is sent.
    """

    class Channel(models.TextChoices):
        EMAIL = "email", "e-mail"
        WEBHOOK = "webhook", "webhook"
        APPRISE = "apprise", "Apprise"

    event = models.ForeignKey(CameraEvent, models.CASCADE, related_name="notifications", editable=False)
    channel = models.CharField(max_length=8, choices=Channel, editable=False)
    due_at = models.DateTimeField(editable=False)

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [models.UniqueConstraint(fields=["event", "channel"], name="one_notification_a_channel")]
        indexes = [models.Index(fields=["id"], condition=Work.UNFINISHED, name="notification_unfinished")]

    def __str__(self) -> str:
        return f"{self.get_channel_display()}: {self.event}"

    @classmethod
    def max_attempts(cls) -> int:
        """Mail servers and webhooks are away for minutes at times."""
        return settings.NOTIFY_ATTEMPTS

    @classmethod
    def channels(cls) -> list[Channel]:
        """The channels that are set up."""
        given = {
            cls.Channel.EMAIL: settings.NOTIFY_EMAILS,
            cls.Channel.WEBHOOK: settings.NOTIFY_WEBHOOK_URL,
            cls.Channel.APPRISE: settings.NOTIFY_APPRISE_URLS,
        }
        return [channel for channel, target in given.items() if target]

    @classmethod
    def free(cls) -> Q:
        return super().free() & Q(due_at__lte=Now())

    @classmethod
    def plan(cls, event: CameraEvent, channel: Channel) -> None:
        """Makes the notification, unless it would only take back what was not told."""
        of_camera = cls.objects.filter(event__camera=event.camera, channel=channel)
        due_at = event.at
        cls.take_back(of_camera, event.at)  # a newer one says more than what still waits
        if event.kind == CameraEvent.Kind.BACK:
            told = of_camera.exclude(state=cls.State.CANCELLED).select_related("event")
            last = told.order_by("-event__at", "-pk").first()
            if last is None or last.event.kind == CameraEvent.Kind.BACK:
                return  # there is nothing to be taken back
        else:
            alarms = of_camera.exclude(event__kind=CameraEvent.Kind.BACK).exclude(state=cls.State.CANCELLED)
            last = alarms.order_by("-due_at").first()
            if last is not None:
                due_at = max(due_at, last.due_at + timedelta(seconds=settings.NOTIFY_HOLD_OFF_S))
        cls.objects.create(event=event, channel=channel, due_at=due_at)

    @classmethod
    def take_back(cls, rows: models.QuerySet[Notification], moment: datetime) -> int:
        """Cancels those of the rows that still wait for the hold-off to pass; answers how many."""
        untold = rows.filter(state=cls.State.QUEUED, attempts=0, due_at__gt=moment)
        return untold.update(state=cls.State.CANCELLED, finished_at=Now())

    def sent(self) -> None:
        """Ends it as told. Raises LeaseLost."""
        self._end_as_done()
