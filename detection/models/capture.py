from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from detection import correlation
from detection.metrics.instruments import CAPTURES
from detection.models.camera import Camera
from detection.models.clock import now
from detection.models.media import Media
from detection.models.visible import VisibleQuerySet
from detection.models.work import LeaseLost

log = logging.getLogger(__name__)

SLACK_S = 10.0  # beyond a grab's total limit: looking at the picture, and storing it
MANUAL_S = 60.0  # a person waits no longer
TRIED_MAX = 20
OURS = ("storage", "disk_full", "unexpected", "keys")  # kinds of failure that are no fault of the camera

WHY_LATE = "No worker was free for it in time."
WHY_LOST = "The worker that was at it was lost."
WHY_STANDSTILL = "Nightjar was not running, or its queue or its database was away."
WHY_BUSY = "The capture before it was still under way."
WHY_BREAKER = "The camera was offline and is tried less often."
WHY_CHANGED = "The camera was paused or changed at that moment."


ENDED = {"finished_at": Now(), "lease": None, "lease_until": None}
NOBODY_AT_IT = Q(lease_until=None) | Q(lease_until__lt=Now())


def plain(why: str) -> str:
    """A reason as its column takes it: PostgreSQL refuses a NUL in a text."""
    return why.replace("\0", "")[:500]


def _count(outcome: str, camera_state: str, times: int) -> None:
    if times:
        CAPTURES.add(str(outcome), camera_state, by=times)


class Capture(models.Model):
    """One planned grab from a camera; or, where several in a row were missed for one reason, all of them.

    Planned, it is worth grabbing until ``until``: then the next one is due. A claim takes a lease as for other work,
    only that it is not renewed: a grab ends within its limits.
    """

    class State(models.TextChoices):
        PLANNED = "planned"
        GRABBED = "grabbed"
        FAILED = "failed"
        MISSED = "missed"

    camera = models.ForeignKey(Camera, models.CASCADE, related_name="captures")
    planned_at = models.DateTimeField()
    last_at = models.DateTimeField(null=True, editable=False, help_text="The last of the planned times it stands for.")
    times = models.PositiveIntegerField(default=1, editable=False, help_text="How many planned times it stands for.")
    until = models.DateTimeField(null=True, editable=False, help_text="Until when it is worth grabbing.")
    is_manual = models.BooleanField(default=False, editable=False, help_text="A person asked for it.")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    state = models.CharField(max_length=10, choices=State, default=State.PLANNED)
    attempts = models.PositiveSmallIntegerField(default=0)
    tried = models.JSONField(default=list, editable=False, help_text="Each failed attempt: when, kind, why.")
    kind = models.CharField("kind of failure", max_length=20, blank=True, editable=False)
    why = models.CharField(max_length=500, blank=True, help_text="Why it failed or was missed.")
    media = models.ForeignKey(Media, models.SET_NULL, null=True, blank=True, related_name="captures")
    worker = models.CharField(max_length=100, blank=True, editable=False)
    lease = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    sent_at = models.DateTimeField(null=True, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    correlation_id = correlation.field()

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["-planned_at"]
        constraints = [models.UniqueConstraint(fields=["camera", "planned_at"], name="one_capture_a_planned_time")]
        # Both small however long the history: what the sweep asks every second.
        indexes = [
            models.Index(fields=["until"], condition=Q(state="planned"), name="capture_open"),
            models.Index(fields=["camera"], condition=Q(state="planned"), name="capture_open_of_camera"),
        ]

    def __str__(self) -> str:
        return f"{self.camera} at {self.planned_at:%Y-%m-%d %H:%M:%S}"

    # Planning it

    @classmethod
    def ask(cls, camera: Camera, user: User | None = None) -> Capture:
        """A capture that a person asks for, now. Whoever calls sends it once this is committed."""
        moment = now()
        return cls.objects.create(
            camera=camera,
            planned_at=moment,
            until=moment + timedelta(seconds=MANUAL_S),
            is_manual=True,
            requested_by=user,
            sent_at=moment,
        )

    @classmethod
    def ask_once(cls, camera: Camera, user: User | None = None) -> Capture | None:
        """As ``ask``, or None where one that was asked for is still on its way.

        Raises DoesNotExist where the camera was removed meanwhile. Committed when this returns.
        """
        waiting = cls.objects.filter(camera=camera, is_manual=True, state=cls.State.PLANNED, until__gt=Now())
        with transaction.atomic():
            if Camera.locked(camera.pk) is None:  # the lock makes it so for two who ask at once, too
                raise Camera.DoesNotExist
            return None if waiting.exists() else cls.ask(camera, user)

    @classmethod
    def missed(cls, camera: Camera, times: Sequence[datetime], kind: str, why: str) -> Capture:
        """One record, not yet saved, for planned times in a row that were missed for one reason."""
        return cls(
            camera=camera,
            planned_at=times[0],
            last_at=times[-1],
            times=len(times),
            state=cls.State.MISSED,
            kind=kind,
            why=why,
            finished_at=times[-1],
        )

    @classmethod
    def free(cls) -> Q:
        """Which rows a worker may claim."""
        return Q(state=cls.State.PLANNED, until__gt=Now()) & NOBODY_AT_IT

    @classmethod
    def expired(cls) -> Q:
        """Which rows are past their time with no worker at them."""
        return Q(state=cls.State.PLANNED, until__lte=Now()) & NOBODY_AT_IT

    @classmethod
    def end_waiting(cls, camera: Camera) -> None:
        """Ends what its schedule planned and no worker is at: a paused camera is not called. Call with it locked."""
        waiting = cls.objects.filter(NOBODY_AT_IT, camera=camera, is_manual=False, state=cls.State.PLANNED)
        failed = waiting.exclude(kind="").update(state=cls.State.FAILED, **ENDED)
        missed = waiting.filter(kind="").update(state=cls.State.MISSED, kind="changed", why=WHY_CHANGED, **ENDED)
        _count(cls.State.FAILED, camera.state, failed)
        _count(cls.State.MISSED, camera.state, missed)

    # Grabbing it

    @classmethod
    def claim(cls, pk: int, worker: str) -> Capture | None:
        """Takes the row for this worker and counts the attempt, or answers None: then it is not to be had."""
        lease = uuid.uuid4()
        taken = cls.objects.filter(cls.free(), pk=pk).update(
            attempts=F("attempts") + 1,
            worker=worker,
            lease=lease,
            lease_until=Now() + timedelta(seconds=settings.GRAB_TOTAL_S + SLACK_S),
            started_at=Coalesce("started_at", Now()),
        )
        if not taken:
            return None
        return cls.objects.filter(pk=pk, lease=lease).select_related("camera").first()

    def mine(self) -> models.QuerySet[Capture]:
        """This row, as long as this worker's claim on it holds."""
        return Capture.objects.filter(pk=self.pk, lease=self.lease, state=self.State.PLANNED)

    def grabbed(self, media: Media, fingerprint: str, taken_at: datetime) -> None:
        """Ends it with its picture. Raises LeaseLost where it is no longer this worker's; call in a transaction."""
        camera = Camera.locked(self.camera_id)
        done = self.mine().update(
            state=self.State.GRABBED,
            media=media,
            kind="",
            why="",
            **ENDED,
        )
        if not done or camera is None:
            raise LeaseLost(f"capture {self.pk} is no longer ours")
        if self._is_of(camera):
            camera.saw(media.pk, fingerprint, taken_at, is_manual=self.is_manual)

    def _is_of(self, camera: Camera) -> bool:
        """Whether it called the camera at the address that the camera has now, and so says something of it."""
        return camera.address == self.camera.address

    def attempt_failed(self, kind: str, why: str, *, permanent: bool) -> float | None:
        """Notes a failed attempt; answers in how many seconds the next one follows, or None: it has failed.

        The pause doubles with each attempt, and is spread at random so that cameras behind one switch do not come back
        as one. A camera in trouble is not tried twice for one planned time: it has the next.
        """
        moment, why = now(), plain(why)
        self.tried = [*self.tried, {"at": moment.isoformat(), "kind": kind, "why": why}][-TRIED_MAX:]
        delay_s = 2.0 ** (self.attempts - 1) * random.uniform(0.5, 1.0)
        has_time = self.until is not None and moment + timedelta(seconds=delay_s + 1) < self.until
        if permanent or self.attempts >= settings.GRAB_ATTEMPTS or self.camera.failures or not has_time:
            self.fail(kind, why)
            return None
        self.mine().update(
            tried=self.tried,
            kind=kind,
            why=why,
            lease=None,
            lease_until=None,
            sent_at=Now() + timedelta(seconds=delay_s),
        )
        return delay_s

    def fail(self, kind: str, why: str) -> bool:
        """Ends it as failed, and says so of its camera; answers whether it was still to be ended."""
        why = plain(why)
        with transaction.atomic():
            camera = Camera.locked(self.camera_id)
            ended = self.mine().update(
                state=self.State.FAILED,
                tried=self.tried,
                kind=kind,
                why=why,
                **ENDED,
            )
            counts = ended and not self.is_manual and kind not in OURS
            if counts and camera is not None and self._is_of(camera):
                camera.could_not(why, self.planned_at, known_at=min(now(), self.until or now()))
        _count(self.State.FAILED, self.camera.state, ended)
        return bool(ended)

    def give_up(self) -> bool:
        """Ends it as failed instead of waiting for its next attempt; answers whether it was waiting."""
        self.lease = None
        return self.fail(self.kind, self.why)

    @classmethod
    def end_expired(cls) -> int:
        """Ends what nobody will grab any more: failed where an attempt had failed, else missed. Answers how many."""
        expired = cls.objects.filter(cls.expired())
        if not expired.exists():  # nearly always: an UPDATE would wait for SQLite's one lock even so
            return 0
        ended = 0
        for capture in expired.exclude(kind="").select_related("camera"):
            ended += capture._fail_safely()
        missed, over = expired.filter(kind=""), {"state": cls.State.MISSED, **ENDED}
        for state in set(missed.values_list("camera__state", flat=True)):
            # Another sweep may be at it, too: whoever changes a row counts it.
            of_state = missed.filter(camera__in=Camera.objects.filter(state=state))
            lost = of_state.filter(attempts=0).update(kind="late", why=WHY_LATE, **over)
            lost += of_state.filter(attempts__gt=0).update(kind="worker_lost", why=WHY_LOST, **over)
            _count(cls.State.MISSED, state, lost)
            ended += lost
        return ended

    def _fail_safely(self) -> bool:
        try:
            return self.fail(self.kind, self.why)
        except Exception:
            # A camera of which nothing can be noted must not keep the sweep from all others.
            log.exception("capture %s could not be ended with its camera %s", self.pk, self.camera_id)
            ended = self.mine().update(state=self.State.FAILED, **ENDED)
            _count(self.State.FAILED, self.camera.state, ended)
            return bool(ended)

    # What the pages show

    @property
    def late_s(self) -> float | None:
        """Seconds from the planned time to its end."""
        if self.finished_at is None or self.state != self.State.GRABBED:
            return None
        return (self.finished_at - self.planned_at) / timedelta(seconds=1)
