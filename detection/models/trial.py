from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from detection.fields import Secret, SecretField
from detection.models.camera import Camera, source_of
from detection.models.visible import VisibleQuerySet
from detection.models.work import Work
from detection.sources import Source, SourceKind, Transport

KEPT = timedelta(minutes=15)


class Trial(Work):
    """One picture from an address that somebody is about to enter for a camera. Kept for minutes only."""

    source: models.CharField[str, SourceKind] = models.CharField(max_length=5, choices=Camera.Kind, editable=False)
    address = SecretField(editable=False)
    rtsp_transport: models.CharField[str, Transport] = models.CharField(max_length=3, default="tcp", editable=False)
    verify_tls = models.BooleanField(default=True, editable=False)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, editable=False, related_name="+")
    requested_at = models.DateTimeField(default=timezone.now, editable=False)
    picture = models.BinaryField(default=b"", editable=False)
    width = models.PositiveIntegerField(default=0, editable=False)
    height = models.PositiveIntegerField(default=0, editable=False)
    took_s = models.FloatField(default=0, editable=False)

    objects = VisibleQuerySet.as_manager()

    def __str__(self) -> str:
        return f"Trial {self.pk}"

    @classmethod
    def max_lapses(cls) -> int:
        return 0  # somebody waits for an answer: none is one, too

    @classmethod
    def max_attempts(cls) -> int:
        """The person who waits tries again by themselves."""
        return 1

    @classmethod
    def ask(cls, source: Source, user: User) -> Trial:
        """Queues it. Whoever calls sends it once this is committed."""
        return cls.objects.create(
            source=source.kind,
            address=Secret.of(source.address),
            rtsp_transport=source.rtsp_transport,
            verify_tls=source.verify_tls,
            requested_by=user,
        )

    @classmethod
    def of(cls, user: User, pk: int) -> Trial | None:
        """The trial, if it is this user's own: nobody else may see it, or take its address over."""
        return cls.objects.filter(pk=pk, requested_by=user).first()

    @property
    def secret_source(self) -> Source:
        """What it is reached by, with its credentials: for the worker that grabs. Raises WrongKey."""
        return source_of(self)

    def finish(self, picture: bytes, width: int, height: int, took_s: float) -> None:
        """Stores the small picture. Raises LeaseLost."""
        self._end_as_done(picture=picture, width=width, height=height, took_s=took_s)

    @classmethod
    def forget_old(cls) -> None:
        old = cls.objects.filter(requested_at__lt=Now() - KEPT)
        if old.exists():  # a DELETE would wait for SQLite's one lock even so
            old.delete()
