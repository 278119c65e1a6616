from __future__ import annotations

from django.db import models

from detection.models.visible import VisibleQuerySet


class Camera(models.Model):
    """A source of snapshots."""

    name = models.CharField(max_length=100, unique=True)
    time_zone = models.CharField(max_length=64, default="UTC", help_text="Such as Europe/Berlin.")
    is_enabled = models.BooleanField("enabled", default=True)
    created_at = models.DateTimeField(auto_now_add=True, editable=False)

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
