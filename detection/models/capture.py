from __future__ import annotations

from django.db import models

from detection.models.camera import Camera
from detection.models.media import Media
from detection.models.visible import VisibleQuerySet


class Capture(models.Model):
    """One planned grab from a camera."""

    class State(models.TextChoices):
        PLANNED = "planned"
        GRABBED = "grabbed"
        FAILED = "failed"
        MISSED = "missed"

    camera = models.ForeignKey(Camera, models.CASCADE, related_name="captures")
    planned_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State, default=State.PLANNED)
    attempts = models.PositiveSmallIntegerField(default=0)
    why = models.CharField(max_length=500, blank=True, help_text="Why it failed or was missed.")
    media = models.ForeignKey(Media, models.SET_NULL, null=True, blank=True, related_name="captures")

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["-planned_at"]
        constraints = [models.UniqueConstraint(fields=["camera", "planned_at"], name="one_capture_a_planned_time")]

    def __str__(self) -> str:
        return f"{self.camera} at {self.planned_at:%Y-%m-%d %H:%M:%S}"
