from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.utils import timezone

from detection.models.media import Media
from detection.models.visible import VisibleQuerySet

if TYPE_CHECKING:
    from detection.models.analysis import Analysis
    from detection.models.sighting import Sighting

SAME_OBJECT_IOU = 0.5


class Verdict(models.Model):
    """What a person said of a sighting. Append-only: to change one's mind is a further verdict.

    It keeps the place and time it was about, so that it outlives the sighting and can be found again in the result of
    another run or another model.
    """

    class Kind(models.TextChoices):
        CONFIRMED = "confirmed"
        REJECTED = "rejected"
        RELABELLED = "relabelled"
        WITHDRAWN = "withdrawn", "undone"

    media = models.ForeignKey(Media, models.CASCADE, related_name="verdicts", editable=False)
    sighting = models.ForeignKey(
        "detection.Sighting", models.SET_NULL, null=True, editable=False, related_name="verdicts"
    )
    kind = models.CharField(max_length=10, choices=Kind, editable=False)
    label = models.CharField(max_length=100, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+")
    before = models.ForeignKey(
        "self", models.SET_NULL, null=True, editable=False, related_name="+", help_text="The one in force until then."
    )
    carried_from = models.ForeignKey(
        "self", models.SET_NULL, null=True, editable=False, related_name="+", help_text="Its origin in an earlier run."
    )
    start_s = models.FloatField(editable=False)
    end_s = models.FloatField(editable=False)
    box = models.JSONField(editable=False, help_text="x1, y1, x2, y2 in the best frame, pixels of the media.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.label}"

    @classmethod
    def carry_over(cls, old: Analysis, new: Analysis) -> int:
        """Says again of the new run's sightings what people said of the same objects in the old run; answers how many.

        The same object is where the two paths lie on each other best, at an IoU of 0.5 or more on average over the
        times they share. A relabelled object is also the same when the new model calls it by its right name.
        """
        judged = list(old.sightings.filter(verdict__isnull=False).select_related("verdict__user"))
        free = list(new.sightings.all())
        carried = 0
        for sighting in judged:
            match = max(free, key=lambda other: _likeness(sighting, other), default=None)
            if match is None or _likeness(sighting, match) < SAME_OBJECT_IOU:
                continue
            free.remove(match)
            verdict = sighting.verdict
            if verdict is not None:
                match.judge(verdict.kind, verdict.user, label=verdict.label, carried_from=verdict)
                carried += 1
        return carried


def _likeness(one: Sighting, other: Sighting) -> float:
    """The mean IoU of two sightings over the points of the first; 0 where the other does not share their time."""
    if one.label != other.label and one.shown_label != other.label:
        return 0.0
    overlaps = []
    for time_s, *box, _score in one.path:
        nearest = min(other.path, key=lambda point: abs(point[0] - time_s))
        if abs(nearest[0] - time_s) <= 0.5:
            overlaps.append(_iou(box, nearest[1:5]))
    # Sharing a moment of a long path is not being the same object.
    return sum(overlaps) / len(one.path) if overlaps else 0.0


def _iou(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    area = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return width * height / (area - width * height)
