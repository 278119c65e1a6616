from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q, Sum
from django.db.models.functions import Now
from django.utils import timezone

from detection.models.media import Media
from detection.models.model import Model
from detection.models.visible import VisibleQuerySet
from detection.models.work import UNTRIED, LeaseLost, Work, error_fields
from detection.vision.types import Params, Span, Track

if TYPE_CHECKING:
    from detection.models.chunk import Chunk


class Analysis(Work):
    """One run of one model with one set of parameters over one media.

    Its steps: a worker plans the chunks, workers detect in each chunk, a worker finishes with the tracking. The lease
    on this row is held while planning and while finishing; in between the chunks have leases of their own.
    """

    class Step(models.TextChoices):
        PLAN = "plan"
        DETECT = "detect"
        FINISH = "finish"

    media = models.ForeignKey(Media, models.CASCADE, related_name="analyses", editable=False)
    model = models.ForeignKey(Model, models.PROTECT, related_name="analyses", editable=False)
    params = models.JSONField(editable=False)
    step = models.CharField(max_length=10, choices=Step, default=Step.PLAN, editable=False)
    is_current = models.BooleanField(default=False, editable=False, help_text="The one whose sightings are shown.")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    requested_at = models.DateTimeField(default=timezone.now, editable=False)
    code_version = models.CharField(max_length=40, editable=False)
    frames_planned = models.PositiveIntegerField(default=0, editable=False)
    frames_read = models.PositiveIntegerField(default=0, editable=False)
    frames_sampled = models.PositiveIntegerField(default=0, editable=False)
    frames_inferred = models.PositiveIntegerField(default=0, editable=False)
    decode_s = models.FloatField(default=0, editable=False)
    infer_s = models.FloatField(default=0, editable=False)
    finish_s = models.FloatField(default=0, editable=False)

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["-requested_at", "-pk"]
        verbose_name_plural = "analyses"
        permissions = [("run_analysis", "Can start, cancel and retry analyses")]
        constraints = [
            models.UniqueConstraint(fields=["media"], condition=Q(is_current=True), name="one_current_analysis")
        ]
        indexes = [
            models.Index(
                fields=["state", "lease_until"], condition=Q(state__in=["queued", "running"]), name="analysis_open"
            ),
            models.Index(fields=["id"], condition=Work.UNFINISHED, name="analysis_unfinished"),
        ]

    def __str__(self) -> str:
        return f"Analysis {self.pk} of {self.media}"

    def get_absolute_url(self) -> str:
        return f"{self.media.get_absolute_url()}?analysis={self.pk}"

    # Asking for one

    @classmethod
    def request(
        cls, media: Media, model: Model | None = None, params: Params | None = None, user: User | None = None
    ) -> Analysis:
        """Queues an analysis with this model, or the active one. Whoever calls sends it once this is committed."""
        return cls.objects.create(
            media=media,
            model=model or Model.active(),
            params=asdict(params or Params(fps=settings.ANALYSE_FPS)),
            requested_by=user,
            code_version=settings.CODE_VERSION,
        )

    @property
    def parameters(self) -> Params:
        return Params(**self.params)

    # Working on it

    @classmethod
    def free(cls) -> Q:
        """To plan: what is queued, or was being planned by a worker that is gone."""
        return super().free() & Q(step=cls.Step.PLAN)

    @classmethod
    def claim_finish(cls, pk: int, worker: str) -> Self | None:
        """Takes the analysis for tracking, once all its chunks are done."""
        ready = cls._default_manager.filter(cls.ready_to_finish(), pk=pk, attempts__lt=settings.MAX_ATTEMPTS)
        return cls._take(ready, worker, step=cls.Step.FINISH)

    @classmethod
    def ready_to_finish(cls) -> Q:
        """Which rows wait for their finish: all chunks done, and no worker at it."""
        from detection.models.chunk import Chunk

        chunks = Chunk.objects.filter(analysis=OuterRef("pk"))
        all_done = Exists(chunks) & ~Exists(chunks.exclude(state=cls.State.DONE))
        nobody = Q(step=cls.Step.DETECT) | Q(step=cls.Step.FINISH, lease_until__lt=Now())
        return Q(state=cls.State.RUNNING) & nobody & Q(all_done)

    def planned(self, spans: Sequence[Span]) -> list[Chunk]:
        """Stores the chunks, replacing what an earlier attempt may have planned, and opens them for workers."""
        from detection.models.chunk import Chunk

        with transaction.atomic():
            opened = self.mine().update(
                step=self.Step.DETECT,
                attempts=0,
                lease=None,
                lease_until=None,
                frames_planned=sum(span.frames for span in spans),
            )
            if not opened:
                raise LeaseLost(f"analysis {self.pk} is no longer ours")
            self.chunks.all().delete()
            return Chunk.objects.bulk_create(Chunk.plan(self, spans))

    def finish(self, tracks: Sequence[Track], thumbnails: dict[int, str], finish_s: float) -> None:
        """Stores the sightings and makes this the media's current analysis, all in one transaction.

        It becomes the current one unless one that was asked for later is. What people said of the same objects in
        earlier runs is said of the new sightings again. ``thumbnails`` are the stored names by track number. Raises
        LeaseLost where another worker has it by now, or the media is gone.
        """
        from detection.models.sighting import Sighting
        from detection.models.verdict import carry_over, earlier_verdicts

        totals: dict[str, Any] = self.chunks.aggregate(
            frames_read=Sum("frames_read"),
            frames_sampled=Sum("frames_sampled"),
            frames_inferred=Sum("frames_inferred"),
            decode_s=Sum("decode_s"),
            infer_s=Sum("infer_s"),
        )
        sightings = Sighting.from_tracks(self, tracks, thumbnails)
        # Looked up before the transaction, which holds SQLite's only lock, and again in it only where somebody judged
        # in the meantime.
        said = earlier_verdicts(self, sightings)
        with transaction.atomic():
            # The media's row is locked first: of two analyses of it exactly one is current in the end, and a verdict
            # comes either before this, and is carried over, or after, and is refused.
            media = Media.objects.select_for_update().filter(pk=self.media_id).first()
            if media is None:
                raise LeaseLost(f"the media of analysis {self.pk} is gone")
            self._end_as_done(finish_s=finish_s, **totals)
            self.sightings.all().delete()
            for sighting in sightings:
                sighting.at = media.at + timedelta(seconds=sighting.start_s)
            Sighting.objects.bulk_create(sightings)
            others = Analysis.objects.filter(media=media).exclude(pk=self.pk)
            if others.filter(is_current=True, requested_at__gt=self.requested_at).exists():
                return
            others.update(is_current=False)
            Analysis.objects.filter(pk=self.pk).update(is_current=True)
            carry_over(said if said.is_up_to_date() else earlier_verdicts(self, sightings))

    def hand_back(self, error: str, detail: str = "", delay_s: float = 0) -> None:
        """As for all work; a finish that is handed back waits as one whose chunks are done."""
        if self.step != self.Step.FINISH:
            super().hand_back(error, detail, delay_s)
            return
        self.mine().update(
            step=self.Step.DETECT,
            lease=None,
            lease_until=None,
            sent_at=Now() + timedelta(seconds=delay_s),
            **error_fields("", error, detail),
        )

    def fail_with_chunk(self, chunk: Chunk, kind: str, message: str, detail: str) -> None:
        """Ends it as failed because one of its chunks did, unless it is over already."""
        Analysis.objects.filter(pk=self.pk, state=self.State.RUNNING).update(
            state=self.State.FAILED,
            finished_at=Now(),
            worker=chunk.worker,
            **error_fields(kind, message, detail),
        )

    # What a person may do

    def cancel(self) -> bool:
        """Stops it where it is; its worker notices at its next sign of life. Answers whether there was one to stop."""
        open_states = [self.State.QUEUED, self.State.RUNNING]
        rows = Analysis.objects.filter(pk=self.pk, state__in=open_states)
        return bool(rows.update(state=self.State.CANCELLED, finished_at=Now(), lease=None, lease_until=None))

    def retry(self) -> bool:
        """Opens a failed or cancelled analysis again; chunks that are done stay done. Answers whether it did."""
        from detection.models.chunk import Chunk

        with transaction.atomic():
            rows = Analysis.objects.filter(pk=self.pk, state__in=[self.State.FAILED, self.State.CANCELLED])
            planned = self.chunks.exists()
            opened = rows.update(
                state=self.State.RUNNING if planned else self.State.QUEUED,
                step=self.Step.DETECT if planned else self.Step.PLAN,
                **UNTRIED,
            )
            if opened:
                undone = Chunk.objects.filter(analysis=self).exclude(state=Chunk.State.DONE)
                undone.update(state=Chunk.State.QUEUED, frames_read=0, **UNTRIED)
        return bool(opened)

    # What the pages show

    @property
    def wall_s(self) -> float | None:
        """Seconds from its first claim to its end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at) / timedelta(seconds=1)

    @property
    def frames_unreadable(self) -> int:
        """How many of the clip's frames could not be read, of those there are by its index; 0 while it is not done."""
        # By rule a few frames are in a clip's index and never shown, where its groups of pictures join.
        missing = self.frames_planned - self.frames_read
        return missing if self.state == self.State.DONE and missing > max(2, self.frames_planned // 100) else 0

    def progress(self) -> float:
        """The share of its frames that were read, 0 to 1."""
        if self.state == self.State.DONE:
            return 1.0
        if not self.frames_planned:
            return 0.0
        read = self.chunks.aggregate(read=Sum("frames_read"))["read"] or 0
        return min(1.0, read / self.frames_planned)
