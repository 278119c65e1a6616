"""Media that came in some time ago, for the tests of retention."""

from __future__ import annotations

import itertools
from datetime import timedelta

from django.utils import timezone

from detection.models import Camera, Media
from detection.models.clock import now
from detection.models.pruning import Summary
from detection.models.retention import Plan
from tests.cast import a_media

numbers = itertools.count()


def old_media(days: float = 0, size: int = 1, camera: Camera | None = None, **fields: object) -> Media:
    """A media that came in so many days ago, of so many bytes as far as its row says. No analysis was asked for."""
    media = a_media(f"media {next(numbers)}".encode())
    created_at = timezone.now() - timedelta(days=days)
    Media.objects.filter(pk=media.pk).update(created_at=created_at, bytes=size, camera=camera, **fields)
    media.refresh_from_db()
    return media


def going() -> list[Media]:
    """What would go, in this order."""
    return [Media.objects.get(pk=each.pk) for each in Plan(now()).going()]


def summary() -> Summary:
    return Summary.of(Plan(now()).going())
