from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import models, transaction
from django.urls import reverse

from detection.fields import Secret, SecretField
from detection.models.clock import now
from detection.models.visible import VisibleQuerySet
from detection.schedule import Schedule, zone_of
from detection.sources import Source, SourceKind, Transport, shown

if TYPE_CHECKING:
    from detection.models.trial import Trial

log = logging.getLogger(__name__)

REMOVED_AT_ONCE = 5000  # captures

# A change of one of these plans anew.
SCHEDULE_FIELDS = (
    "schedule", "every_s", "cron", "sunrise_offset_min", "sunset_offset_min", "latitude", "longitude",
    "days", "active_from", "active_until", "jitter_s", "time_zone",
)  # fmt: skip


class Camera(models.Model):
    """A source of snapshots with its schedule, and how it has been doing.

    The columns below ``state`` are written by the verbs only. ``saw`` and ``could_not`` are called within the
    transaction that ends a capture, on a row that is locked (``locked``).
    """

    class Kind(models.TextChoices):
        RTSP = "rtsp", "RTSP stream"
        HTTP = "http", "HTTP picture (JPEG)"
        MJPEG = "mjpeg", "HTTP stream (MJPEG)"
        USB = "usb", "USB camera of the worker's machine"
        FILE = "file", "file that plays in a loop"

    class Plan(models.TextChoices):
        EVERY = "every", "every so many seconds"
        CRON = "cron", "cron expression"
        SUN = "sun", "sunrise and sunset"

    class State(models.TextChoices):
        NEW = "new", "waits for its first picture"
        OK = "ok", "ok"
        FAILING = "failing", "failing"
        OFFLINE = "offline", "offline"
        FROZEN = "frozen", "frozen"
        DISABLED = "disabled", "paused"

    IN_TROUBLE = (State.FAILING, State.OFFLINE, State.FROZEN)

    name = models.CharField(max_length=100, unique=True)
    source: models.CharField[str, SourceKind] = models.CharField(max_length=5, choices=Kind, default=Kind.RTSP)
    address = SecretField(blank=True, default="", editable=False)
    rtsp_transport: models.CharField[str, Transport] = models.CharField(
        "RTSP transport", max_length=3, choices=[("tcp", "TCP"), ("udp", "UDP")], default="tcp"
    )
    verify_tls = models.BooleanField(
        "check the certificate", default=True, help_text="Of https; off for cameras that signed their own."
    )
    retain_days = models.PositiveIntegerField(
        "keep pictures for days", null=True, blank=True, help_text="Empty: as long as all others."
    )
    retain_bytes = models.PositiveBigIntegerField(
        "keep pictures of bytes", null=True, blank=True, help_text="Empty: within the limit for all."
    )
    is_analysed = models.BooleanField(
        "analyse its pictures", default=True, help_text="Off: pictures are kept, and nothing is looked for in them."
    )

    schedule = models.CharField(max_length=5, choices=Plan, default=Plan.EVERY)
    every_s = models.PositiveIntegerField("seconds between pictures", default=60)
    cron = models.CharField(
        "cron expression", max_length=100, blank=True, help_text="Such as */5 6-20 * * 1-5, in the camera's time zone."
    )
    sunrise_offset_min = models.SmallIntegerField(
        "minutes after sunrise", null=True, blank=True, help_text="Below 0: before it. Empty: not at sunrise."
    )
    sunset_offset_min = models.SmallIntegerField(
        "minutes after sunset", null=True, blank=True, help_text="Below 0: before it. Empty: not at sunset."
    )
    latitude = models.FloatField(null=True, blank=True, help_text="Degrees north, such as 52.52.")
    longitude = models.FloatField(null=True, blank=True, help_text="Degrees east, such as 13.40.")
    days = models.CharField("active days", max_length=7, default="1234567", help_text="1 is Monday, 7 is Sunday.")
    active_from = models.TimeField(null=True, blank=True, help_text="Empty: all day.")
    active_until = models.TimeField(
        null=True, blank=True, help_text="Earlier than “from”: over midnight, counted to the day it began on."
    )
    jitter_s = models.PositiveIntegerField(
        "jitter in seconds",
        default=0,
        help_text="Each time is moved by a random part of this, so that not all come at once.",
    )
    time_zone = models.CharField(max_length=64, default="UTC", help_text="Such as Europe/Berlin.")
    frozen_after = models.PositiveIntegerField(
        default=5, help_text="The very same picture so often in a row is a frozen camera. 0: never."
    )
    created_at = models.DateTimeField(auto_now_add=True, editable=False)

    state = models.CharField(max_length=8, choices=State, default=State.NEW, editable=False, db_index=True)
    state_since = models.DateTimeField(null=True, editable=False)
    why = models.CharField(max_length=500, blank=True, editable=False, help_text="Why the last capture failed.")
    failures = models.PositiveIntegerField(default=0, editable=False, help_text="Failed captures in a row.")
    failing_since = models.DateTimeField(null=True, editable=False)
    last_good_at = models.DateTimeField(null=True, editable=False)
    last_media = models.ForeignKey(
        "detection.Media", models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    fingerprint = models.CharField(max_length=64, blank=True, editable=False)
    same_count = models.PositiveIntegerField(default=0, editable=False, help_text="Times in a row with this picture.")
    same_since = models.DateTimeField(null=True, editable=False, help_text="When this picture was first seen.")
    alarm = models.CharField(
        max_length=8, blank=True, editable=False, help_text="The trouble people were last told of."
    )
    next_at = models.DateTimeField(null=True, editable=False, help_text="When it is next to be grabbed.")
    accounted_until = models.DateTimeField(
        null=True, editable=False, help_text="Every planned time up to this one has its record."
    )
    breaker_s = models.FloatField(default=0, editable=False, help_text="Open circuit: seconds between two tries.")

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        indexes = [models.Index(fields=["next_at"], condition=models.Q(next_at__isnull=False), name="camera_next_at")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("camera", args=[self.pk])

    @classmethod
    def locked(cls, pk: int) -> Camera | None:
        """The row, locked until the end of the transaction; None where it was removed."""
        return cls.objects.select_for_update().filter(pk=pk).first()

    # What it is

    @property
    def rule(self) -> Schedule:
        return Schedule(
            kind=self.schedule,  # type: ignore[arg-type]  # one of Plan's values
            time_zone=self.time_zone,
            seed=self.pk or 0,
            every_s=self.every_s,
            cron=self.cron,
            sunrise_offset_min=self.sunrise_offset_min,
            sunset_offset_min=self.sunset_offset_min,
            latitude=self.latitude,
            longitude=self.longitude,
            days=frozenset(int(day) for day in self.days),
            active_from=self.active_from,
            active_until=self.active_until,
            jitter_s=self.jitter_s,
        )

    @property
    def secret_source(self) -> Source:
        """What it is reached by, with its credentials: for the worker that grabs. Raises WrongKey."""
        return source_of(self)

    @property
    def place(self) -> str:
        """The part of its address that may be shown."""
        return shown(self.source, self.address.reveal()) if self.address else ""

    @property
    def zone(self) -> ZoneInfo | None:
        """Its time zone; None where this machine has lost the one of that name."""
        return zone_of(self.time_zone)

    @property
    def is_enabled(self) -> bool:
        return self.state != self.State.DISABLED

    @property
    def is_in_trouble(self) -> bool:
        return self.state in self.IN_TROUBLE

    @property
    def same_words(self) -> str:
        """Why it counts as frozen."""
        return f"The very same picture came {self.same_count} {'time' if self.same_count == 1 else 'times'} in a row."

    @property
    def queue(self) -> str:
        """Cameras that did not answer have a queue of their own, where they may wait for time-outs among themselves."""
        return "probe" if self.failures else "grab"

    # What people do with it

    def put_in_service(self, address: Secret | None = None) -> None:
        """Saves what was entered. A new address makes it a camera nothing is known of, a new schedule plans anew.

        Raises DoesNotExist where it was removed meanwhile.
        """
        from detection.models.capture import Capture
        from detection.models.planning import settle

        with transaction.atomic():
            stored = Camera.objects.select_for_update().get(pk=self.pk) if self.pk else None
            moment = now()
            if stored is None:
                self._forget(self.State.NEW)
                self.save()  # its key is part of the schedule
            else:
                self._take_back_what_verbs_wrote(stored)
            if address is not None:
                self.address = address
                self._forget(self.state if stored and not self.is_enabled else self.State.NEW)
            is_new_plan = stored is None or any(
                getattr(self, name) != getattr(stored, name) for name in SCHEDULE_FIELDS
            )
            if self.is_enabled and (is_new_plan or address is not None):
                if stored is not None:
                    settle(stored, moment)
                if stored is not None and address is not None:
                    Capture.end_waiting(stored)  # what failed at the old one says nothing of the new one
                self._plan_from(moment)
            self.save()

    def _take_back_what_verbs_wrote(self, stored: Camera) -> None:
        """The camera was at work since the form was opened, and the form says nothing of these columns."""
        for field in self._meta.fields:
            if not field.editable:
                setattr(self, field.attname, getattr(stored, field.attname))

    def pause(self) -> bool:
        """No more captures until it is resumed, nor attempts that wait. Answers whether it was active."""
        from detection.models.capture import Capture
        from detection.models.planning import settle

        with transaction.atomic():
            camera = Camera.locked(self.pk)
            if camera is None or not camera.is_enabled:
                return False
            settle(camera, now())
            Capture.end_waiting(camera)
            camera._forget(self.State.DISABLED)
            camera.next_at = None
            camera.save()
        return True

    def resume(self) -> bool:
        """Plans again from now on; what lay in between was not planned and so is not missed."""
        with transaction.atomic():
            camera = Camera.locked(self.pk)
            if camera is None or camera.is_enabled:
                return False
            camera._forget(self.State.NEW)
            camera._plan_from(now())
            camera.save()
        return True

    def remove(self) -> None:
        """Deletes it with its captures and events; its media stay.

        Its captures, of which there may be millions, go first and bit by bit, so that nobody waits for a lock. Nothing
        is planned for it meanwhile.
        """
        from detection.models.capture import Capture

        Camera.objects.filter(pk=self.pk).update(state=self.State.DISABLED, next_at=None)
        captures = Capture.objects.filter(camera_id=self.pk).order_by()
        while some := list(captures.values_list("pk", flat=True)[:REMOVED_AT_ONCE]):
            Capture.objects.filter(pk__in=some).delete()
        with transaction.atomic():
            camera = Camera.locked(self.pk)
            if camera is not None:
                camera.delete()

    def plan_anew(self, moment: datetime) -> None:
        """Plans from this moment on, whatever was planned. Call with the row locked."""
        self._plan_from(moment)
        self.save(update_fields=["accounted_until", "next_at"])

    def _plan_from(self, moment: datetime) -> None:
        self.accounted_until = moment
        self.next_at = self.rule.next_after(moment)

    def _forget(self, state: str) -> None:
        """Somebody is at it: what was known of it counts no more, and what nobody was told yet is not told."""
        from detection.models.event import Notification

        if self.pk is not None:
            Notification.take_back(Notification.objects.filter(event__camera=self), now())
        self.state, self.state_since = state, now()
        self.why, self.failures, self.failing_since = "", 0, None
        self.fingerprint, self.same_count, self.same_since = "", 0, None
        self.alarm, self.breaker_s = "", 0

    # What captures say of it

    def saw(self, media_pk: int, fingerprint: str, taken_at: datetime, *, is_manual: bool = False) -> None:
        """A picture came: it is well, or frozen where the very same one came too often and for too long.

        Both, because a camera may make a new picture more rarely than it is asked. Whoever presses the button again and
        again freezes none.
        """
        if fingerprint != self.fingerprint or self.same_since is None:
            self.fingerprint, self.same_count, self.same_since = fingerprint, 1, taken_at
        elif not is_manual:
            self.same_count += 1
        self.last_media_id, self.last_good_at = media_pk, taken_at
        self.why, self.failures, self.failing_since = "", 0, None
        if self.breaker_s:
            self.breaker_s = 0
            self.next_at = self.rule.next_after(now()) if self.is_enabled else None
        if self.is_enabled:
            self._become(self.State.FROZEN if self._is_frozen(taken_at) else self.State.OK)
        self.save()

    def _is_frozen(self, moment: datetime) -> bool:
        lasted_s = (moment - (self.same_since or moment)).total_seconds()
        return 0 < self.frozen_after <= self.same_count and lasted_s >= settings.CAMERA_FROZEN_AFTER_S

    def could_not(self, why: str, planned_at: datetime, known_at: datetime) -> None:
        """A planned capture failed: failing, and offline once that has lasted.

        ``known_at`` is when the camera had failed, which may be noticed much later, after a standstill of the system.
        """
        if not self.is_enabled:
            return
        self.failures += 1
        self.why = why
        self.failing_since = self.failing_since or planned_at
        lasted_s = (known_at - self.failing_since).total_seconds()
        is_offline = self.failures > 1 and lasted_s >= settings.CAMERA_OFFLINE_AFTER_S
        if lasted_s >= settings.CAMERA_BREAKER_AFTER_S:
            self._open_circuit()
        self._become(self.State.OFFLINE if is_offline or self.state == self.State.OFFLINE else self.State.FAILING)
        self.save()

    def _open_circuit(self) -> None:
        """The next try comes later than the schedule says, twice as late each time, up to a bound."""
        rule, moment = self.rule, now()
        first = rule.next_after(moment)
        if first is None:
            return
        second = rule.next_after(first) or first
        every_s = max(2.0, (second - first).total_seconds())
        longer_s = min(settings.CAMERA_BREAKER_MAX_S, 2 * max(self.breaker_s, every_s))
        if longer_s > every_s:
            self.breaker_s = longer_s
            self.next_at = rule.next_after(moment + timedelta(seconds=longer_s - every_s))

    def _become(self, state: str) -> None:
        """Moves to a state; what people should know of it becomes an event."""
        from detection.models.event import CameraEvent

        if state != self.state:
            self.state, self.state_since = state, now()
        alarm = {self.State.OK: "", self.State.FAILING: self.alarm}.get(self.State(state), state)
        if alarm != self.alarm:
            log.warning("camera %s (%s) %s", self.pk, self, CameraEvent.Kind(alarm or "back").label)
            why = self.same_words if alarm == self.State.FROZEN else self.why
            CameraEvent.tell(self, CameraEvent.Kind(alarm or "back"), why)
            self.alarm = alarm


def source_of(row: Camera | Trial) -> Source:
    """What a row is reached by, with its credentials. Raises WrongKey."""
    return Source(
        kind=row.source,
        address=row.address.reveal() if row.address else "",
        rtsp_transport=row.rtsp_transport,
        verify_tls=row.verify_tls,
    )
