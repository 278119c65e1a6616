from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models import Q
from django.urls import reverse

from detection.models.analysis import Analysis
from detection.models.media import Media
from detection.models.verdict import Verdict
from detection.models.visible import VisibleQuerySet
from detection.vision.types import Track


class Sighting(models.Model):
    """One object seen in one media: an image's box or a clip's track. The unit of review."""

    analysis = models.ForeignKey(Analysis, models.CASCADE, related_name="sightings", editable=False)
    media = models.ForeignKey(Media, models.CASCADE, related_name="sightings", editable=False)
    number = models.PositiveIntegerField(editable=False)
    label = models.CharField(max_length=100, editable=False, help_text="As the model says.")
    shown_label = models.CharField("label", max_length=100, editable=False, help_text="As a person says, or the model.")
    score = models.FloatField(editable=False)
    start_s = models.FloatField(editable=False)
    end_s = models.FloatField(editable=False)
    best_s = models.FloatField(editable=False, help_text="The time of its best frame.")
    at = models.DateTimeField(editable=False, help_text="The media's time and start_s.")
    path = models.JSONField(editable=False, help_text="[[t_s, x1, y1, x2, y2, score], ...] in pixels of the media.")
    thumbnail = models.CharField(max_length=200, blank=True, editable=False)
    verdict = models.ForeignKey(
        Verdict,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        help_text="The one in force; empty while nobody has judged.",
    )

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-pk"]
        constraints = [models.UniqueConstraint(fields=["analysis", "number"], name="one_sighting_a_number")]
        indexes = [
            models.Index(fields=["-at", "-id"], name="sighting_at"),
            models.Index(fields=["shown_label", "-at"], name="sighting_label"),
        ]

    def __str__(self) -> str:
        return f"{self.shown_label} in {self.media}"

    @classmethod
    def current(cls) -> Q:
        """Which sightings count: those of each media's current analysis."""
        return Q(analysis__is_current=True)

    @classmethod
    def from_tracks(cls, analysis: Analysis, tracks: Sequence[Track], thumbnails: dict[int, str]) -> list[Sighting]:
        """The sighting rows of an analysis, not yet saved."""
        at = analysis.media.at
        return [
            cls(
                analysis=analysis,
                media_id=analysis.media_id,
                number=number,
                label=track.label,
                shown_label=track.label,
                score=track.score,
                start_s=track.points[0].time_s,
                end_s=track.points[-1].time_s,
                best_s=track.best.time_s,
                at=at + timedelta(seconds=track.points[0].time_s),
                path=[list(astuple(point)) for point in track.points],
                thumbnail=thumbnails.get(number, ""),
            )
            for number, track in enumerate(tracks, start=1)
        ]

    def judge(self, kind: str, user: User | None, label: str = "", carried_from: Verdict | None = None) -> Verdict:
        """Records what a person says of it; a verdict is added, none is ever changed.

        Raises ValueError for a relabelling without a label.
        """
        if kind == Verdict.Kind.RELABELLED and not label.strip():
            raise ValueError("Say the new label.")
        with transaction.atomic():
            sighting = Sighting.objects.select_for_update().get(pk=self.pk)
            verdict = Verdict.objects.create(
                media_id=sighting.media_id,
                sighting=sighting,
                kind=kind,
                label=label.strip() if kind == Verdict.Kind.RELABELLED else sighting.label,
                user=user,
                before=sighting.verdict,
                carried_from=carried_from,
                start_s=sighting.start_s,
                end_s=sighting.end_s,
                box=sighting.best_box,
            )
            self._put_in_force(verdict)
        return verdict

    def undo(self, user: User | None) -> bool:
        """Withdraws the verdict in force and brings back the one before it; answers whether there was one."""
        with transaction.atomic():
            sighting = Sighting.objects.select_for_update().get(pk=self.pk)
            verdict = sighting.verdict
            if verdict is None:
                return False
            Verdict.objects.create(
                media_id=sighting.media_id,
                sighting=sighting,
                kind=Verdict.Kind.WITHDRAWN,
                label=verdict.label,
                user=user,
                before=verdict,
                start_s=sighting.start_s,
                end_s=sighting.end_s,
                box=sighting.best_box,
            )
            self._put_in_force(verdict.before)
        return True

    def _put_in_force(self, verdict: Verdict | None) -> None:
        self.verdict = verdict
        self.shown_label = verdict.label if verdict and verdict.kind == Verdict.Kind.RELABELLED else self.label
        self.save(update_fields=["verdict", "shown_label"])

    def thumbnail_url(self) -> str:
        return reverse("sighting_thumbnail", args=[self.pk])

    @property
    def review(self) -> str:
        """confirmed, rejected or relabelled; empty while nobody has judged."""
        return self.verdict.kind if self.verdict else ""

    @property
    def best_box(self) -> list[float]:
        """x1, y1, x2, y2 in its best frame."""
        best: list[float] = max(self.path, key=lambda point: point[5])
        return best[1:5]
