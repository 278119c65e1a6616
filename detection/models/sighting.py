from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models import Q
from django.urls import reverse

from detection.models.analysis import Analysis
from detection.models.media import Media
from detection.models.verdict import Verdict
from detection.models.visible import VisibleQuerySet
from detection.vision.types import Track


class EarlierResult(Exception):
    """The sighting belongs to a result that a newer one has replaced; verdicts are given on that."""


class Sighting(models.Model):
    """One object seen in one media: an image's box or a clip's track. The unit of review."""

    analysis = models.ForeignKey(Analysis, models.CASCADE, related_name="sightings", editable=False)
    media = models.ForeignKey(Media, models.CASCADE, related_name="sightings", editable=False)
    number = models.PositiveIntegerField(editable=False)
    label = models.CharField("model's label", max_length=100, editable=False)
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
        """The sighting rows of an analysis, not yet saved; their ``at`` follows from the media's when they are."""
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
                path=[list(astuple(point)) for point in track.points],
                thumbnail=thumbnails.get(number, ""),
            )
            for number, track in enumerate(tracks, start=1)
        ]

    def judge(self, kind: str, user: User | None, label: str = "", *, keeps_media: bool = False) -> Verdict:
        """Records what a person says of it; a verdict is added, none is ever changed.

        With ``keeps_media``, retention leaves the media alone for as long as this verdict is in force.

        Raises ValueError for a relabelling without a label, EarlierResult where the media has a newer result, and
        DoesNotExist where it was removed.
        """
        if kind == Verdict.Kind.RELABELLED and not label.strip():
            raise ValueError("Say the new label.")
        with transaction.atomic():
            sighting = self._locked()
            is_new_label = kind == Verdict.Kind.RELABELLED
            said = label.strip() if is_new_label else sighting.label
            verdict = sighting._say(kind, user, said, keeps_media=keeps_media)
            self._store_in_force(verdict)
        return verdict

    def undo(self, user: User | None) -> bool:
        """Withdraws the verdict in force and brings back the one before it; answers whether there was one.

        Raises EarlierResult where the media has a newer result, and DoesNotExist where it was removed.
        """
        with transaction.atomic():
            sighting = self._locked()
            verdict = sighting.verdict
            if verdict is None:
                return False
            sighting._say(Verdict.Kind.WITHDRAWN, user, verdict.label)
            self._store_in_force(verdict.before)
        return True

    def _locked(self) -> Sighting:
        """The row as it is, while no analysis of its media can finish."""
        Media.objects.select_for_update().filter(pk=self.media_id).first()
        sighting = Sighting.objects.select_related("analysis", "verdict__before").get(pk=self.pk)
        if not sighting.analysis.is_current:
            raise EarlierResult
        return sighting

    def _say(self, kind: str, user: User | None, label: str, *, keeps_media: bool = False) -> Verdict:
        return Verdict.objects.create(
            media_id=self.media_id,
            sighting=self,
            kind=kind,
            label=label,
            user=user,
            before=self.verdict,
            start_s=self.start_s,
            end_s=self.end_s,
            box=self.best_box,
            keeps_media=keeps_media,
        )

    def _store_in_force(self, verdict: Verdict | None) -> None:
        self.put_in_force(verdict)
        self.save(update_fields=["verdict", "shown_label"])

    def put_in_force(self, verdict: Verdict | None) -> None:
        """Lets a verdict, or none, say what it is; not yet saved."""
        self.verdict = verdict
        self.shown_label = verdict.label_of(self) if verdict else self.label

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
