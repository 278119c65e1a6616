from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import Exists, Max, OuterRef
from django.utils import timezone

from detection.models.media import Media
from detection.models.visible import VisibleQuerySet

if TYPE_CHECKING:
    from detection.models.analysis import Analysis
    from detection.models.sighting import Sighting

SAME_OBJECT_IOU = 0.5
SAME_TIME_S = 0.5


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
    keeps_media = models.BooleanField(
        default=False, editable=False, help_text="While it is in force, retention does not remove the media."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.label}"

    @classmethod
    def keeping(cls) -> VisibleQuerySet[Verdict]:
        """Those that keep their media: they were asked to, and are in force on a sighting of any of its runs.

        Of what was said again of a newer run's sighting only that counts: undone there, it keeps nothing here.
        """
        from detection.models.sighting import Sighting

        in_force = Sighting.objects.filter(verdict=OuterRef("pk"))
        said_again = cls.objects.filter(carried_from=OuterRef("pk"), sighting__isnull=False)
        return cls.objects.filter(Exists(in_force), ~Exists(said_again), keeps_media=True)

    def label_of(self, sighting: Sighting) -> str:
        """What a sighting is called while this verdict is in force."""
        return self.label if self.kind == self.Kind.RELABELLED else sighting.label


@dataclass(frozen=True, slots=True)
class EarlierVerdicts:
    """What people said of earlier runs' sightings, each with the new sighting of the same object."""

    media_id: int
    latest: int | None  # the key of the media's newest verdict when this was looked up
    pairs: list[tuple[Verdict, Sighting]]

    def is_up_to_date(self) -> bool:
        return _latest_verdict(self.media_id) == self.latest


def earlier_verdicts(analysis: Analysis, sightings: Sequence[Sighting]) -> EarlierVerdicts:
    """Finds for each object that people judged in any earlier run of the media its new sighting, if it has one.

    The same object is where the two paths lie on each other best, at an IoU of 0.5 or more on average. A relabelled
    object is also the same when the new model calls it by its right name. Of several earlier runs, the one that was
    judged last has the say, also where its verdict was taken back.
    """
    from detection.models.sighting import Sighting

    latest = _latest_verdict(analysis.media_id)
    if latest is None:
        return EarlierVerdicts(analysis.media_id, None, [])
    judged = (
        Sighting.objects.filter(media=analysis.media_id, verdicts__isnull=False)
        .exclude(analysis=analysis)
        .annotate(last_said=Max("verdicts__pk"))
        .select_related("verdict")
        .order_by("-last_said")
    )
    free = list(sightings)
    pairs = []
    for earlier in judged.iterator():
        likeness, index = max(((_likeness(earlier, new), -at) for at, new in enumerate(free)), default=(0.0, 0))
        if likeness < SAME_OBJECT_IOU:
            continue
        new = free.pop(-index)
        if earlier.verdict is not None:
            pairs.append((earlier.verdict, new))
    return EarlierVerdicts(analysis.media_id, latest, pairs)


def carry_over(said: EarlierVerdicts) -> None:
    """Says the earlier verdicts again of the new sightings, which must be saved."""
    from detection.models.sighting import Sighting

    if not said.pairs:
        return
    verdicts = [
        Verdict(
            media_id=said.media_id,
            sighting=sighting,
            kind=verdict.kind,
            label=verdict.label_of(sighting),
            user_id=verdict.user_id,
            carried_from=verdict,
            keeps_media=verdict.keeps_media,
            start_s=sighting.start_s,
            end_s=sighting.end_s,
            box=sighting.best_box,
        )
        for verdict, sighting in said.pairs
    ]
    for verdict, (_, sighting) in zip(Verdict.objects.bulk_create(verdicts), said.pairs, strict=True):
        sighting.put_in_force(verdict)
    Sighting.objects.bulk_update([sighting for _, sighting in said.pairs], ["verdict", "shown_label"])


def _latest_verdict(media_id: int) -> int | None:
    latest: int | None = Verdict.objects.filter(media=media_id).aggregate(latest=Max("pk"))["latest"]
    return latest


def _likeness(one: Sighting, other: Sighting) -> float:
    """The mean IoU of two sightings over the points of the first; 0 where the other does not share their time."""
    if one.end_s < other.start_s - SAME_TIME_S or other.end_s < one.start_s - SAME_TIME_S:
        return 0.0
    if one.label != other.label and one.shown_label != other.label:
        return 0.0
    times = [point[0] for point in other.path]
    overlaps = 0.0
    for time_s, *box, _score in one.path:
        after = bisect_left(times, time_s)
        nearest = min(other.path[max(0, after - 1) : after + 1], key=lambda point: abs(point[0] - time_s))
        if abs(nearest[0] - time_s) <= SAME_TIME_S:
            overlaps += box_overlap(box, nearest[1:5])
    # Over all points of the first: sharing a moment of a long path is not being the same object.
    return overlaps / len(one.path)


def box_overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """The IoU of two boxes x1, y1, x2, y2. Without NumPy, which the web process does not load."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    area = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return width * height / (area - width * height)
