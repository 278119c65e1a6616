from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q, Sum
from django.db.models.functions import Now
from django.utils import timezone

from detection import correlation
from detection.models.clock import now
from detection.models.loose_file import LooseFile
from detection.models.media import Media
from detection.models.model import Model
from detection.models.visible import VisibleQuerySet
from detection.models.work import UNCLAIMED, UNTRIED, LeaseLost, Work, error_fields
from detection.vision.types import Params, Span, Track

if TYPE_CHECKING:
    from detection.models.chunk import Chunk

log = logging.getLogger(__name__)

BATCH = 500  # rows that one transaction changes
SENT_AT_ONCE = 20  # of many that are retried; enough for the workers to begin


SUMMED = ("frames_read", "frames_sampled", "frames_inferred", "decode_s", "infer_s")  # over all chunks


class Analysis(Work):
    """One run of one model with one set of parameters over one media.

    Its steps: a worker plans the chunks, workers detect in each chunk, a worker finishes with the tracking. The lease
    on this row is held while planning and while finishing; in between the chunks have leases of their own.
    """

    class Step(models.TextChoices):
        PLAN = "plan"
        DETECT = "detect"
        FINISH = "finish"

    class Lane(models.TextChoices):
        INTERACTIVE = "interactive", "somebody waits for it"
        BULK = "bulk"

    media = models.ForeignKey(Media, models.CASCADE, related_name="analyses", editable=False)
    model = models.ForeignKey(Model, models.PROTECT, related_name="analyses", editable=False)
    params = models.JSONField(editable=False)
    step = models.CharField(max_length=10, choices=Step, default=Step.PLAN, editable=False)
    lane = models.CharField(max_length=11, choices=Lane, default=Lane.INTERACTIVE, editable=False)
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
    is_latest: bool  # of its media's; where the rows were annotated with it (models/failures.py)

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
            lane=cls.lane_for(user),
            model=model or Model.active(),
            params=asdict(params or Params(fps=settings.ANALYSE_FPS, chunk_s=settings.CHUNK_S)),
            requested_by=user,
            requested_at=now(),
            code_version=settings.CODE_VERSION,
        )

    @classmethod
    def lane_for(cls, user: User | None) -> str:
        """Somebody waits for a camera's snapshot, and for the first few that a person asks for; the rest is bulk."""
        if user is None:
            return cls.Lane.INTERACTIVE
        waited_for = cls.objects.filter(cls.UNFINISHED, requested_by=user, lane=cls.Lane.INTERACTIVE)
        return cls.Lane.BULK if waited_for.count() >= settings.INTERACTIVE_MOST else cls.Lane.INTERACTIVE

    @property
    def parameters(self) -> Params:
        return Params(**self.params)

    # Working on it

    @classmethod
    def free(cls) -> Q:
        """To plan: what is queued, or was being planned by a worker that is gone."""
        return super().free() & Q(step=cls.Step.PLAN)

    @classmethod
    def spent(cls) -> Q:
        """As for all work; a finish is tried with the chunks done, and waits as running."""
        unfinished = Q(state=cls.State.RUNNING, step=cls.Step.DETECT, attempts__gte=cls.max_attempts())
        return super().spent() | unfinished

    @classmethod
    def _with_relations(cls) -> models.QuerySet[Any]:
        return cls.objects.select_related("media", "model")

    @classmethod
    def claim_finish(cls, pk: int, worker: str) -> Self | None:
        """Takes the analysis for tracking, once all its chunks are done."""
        ready = cls._default_manager.filter(cls.ready_to_finish(), cls.has_a_try_left(), pk=pk)
        return cls._take(ready, worker, step=cls.Step.FINISH)

    @classmethod
    def ready_to_finish(cls) -> Q:
        """Which rows wait for their finish: all chunks done, and no worker at it."""
        from detection.models.chunk import Chunk

        chunks = Chunk.objects.filter(analysis=OuterRef("pk"))
        all_done = Exists(chunks) & ~Exists(chunks.exclude(state=cls.State.DONE))
        nobody = Q(step=cls.Step.DETECT) | Q(step=cls.Step.FINISH, lease_until__lt=Now())
        return Q(state=cls.State.RUNNING) & nobody & Q(all_done)

    def go_on_to_finish(self, worker: str) -> bool:
        """As ``claim_finish``, for whoever has just done all its chunks and holds this row; it is the claimed one then.

        It spares the question whether all chunks are done, and reading the row again.
        """
        lease = uuid4()
        ready = Analysis.objects.filter(pk=self.pk, state=self.State.RUNNING, step=self.Step.DETECT)
        if not self._mark_taken(ready, worker, lease, step=self.Step.FINISH):
            return False
        self.state, self.step, self.lease, self.worker = self.State.RUNNING, self.Step.FINISH, lease, worker
        self.attempts += 1
        return True

    def planned(self, spans: Sequence[Span]) -> list[Chunk]:
        """Stores the chunks, replacing what an earlier attempt may have planned, and opens them for workers."""
        from detection.models.chunk import Chunk

        chunks = Chunk.plan(self, spans)
        with transaction.atomic():
            opened = self.mine().update(
                step=self.Step.DETECT,
                attempts=0,
                lapses=0,
                lease=None,
                lease_until=None,
                frames_planned=sum(span.frames for span in spans),
            )
            if not opened:
                raise LeaseLost(f"analysis {self.pk} is no longer ours")
            if self.attempts + self.lapses > 1:
                self.chunks.all().delete()
            self.attempts = self.lapses = 0
            self.frames_planned = sum(span.frames for span in spans)
            return Chunk.objects.bulk_create(chunks)

    def finish(
        self,
        tracks: Sequence[Track],
        thumbnails: dict[int, str],
        finish_s: float,
        batch: UUID | None = None,
        only: Chunk | None = None,
    ) -> None:
        """Stores the sightings and makes this the media's current analysis, all in one transaction.

        It becomes the current one unless one that was asked for later is. What people said of the same objects in
        earlier runs is said of the new sightings again. ``thumbnails`` are the stored names by track number, ``batch``
        what LooseFile calls them; ``only`` is the chunk of one that was worked out in one go, stored along with it.
        Raises LeaseLost where another worker has it by now, or the media is gone.
        """
        from detection.models.sighting import Sighting
        from detection.models.verdict import carry_over, earlier_verdicts

        totals = self._totals(only)
        sightings = Sighting.from_tracks(self, tracks, thumbnails)
        # Looked up before the transaction, which holds SQLite's only lock, and again in it only where somebody judged
        # in the meantime. Where no result was there yet, nobody can have judged one.
        others = Analysis.objects.filter(media=self.media_id, is_current=True)
        said = earlier_verdicts(self, sightings) if others.exists() else None
        with transaction.atomic():
            # The media's row is locked first: of two analyses of it exactly one is current in the end, and a verdict
            # comes either before this, and is carried over, or after, and is refused.
            media = Media.objects.select_for_update().filter(pk=self.media_id)
            at = next(iter(media.values_list("at", flat=True)), None)
            if at is None:
                raise LeaseLost(f"the media of analysis {self.pk} is gone")
            current = next(iter(others.values_list("pk", "requested_at")), None)
            is_latest = current is None or current[1] <= self.requested_at
            if current is not None and is_latest:
                Analysis.objects.filter(pk=current[0]).update(is_current=False)
            self._end_as_done(finish_s=finish_s, is_current=is_latest, step=self.Step.FINISH, **totals)
            if only is not None:
                only.save(force_insert=True)
            if thumbnails and batch:
                LooseFile.kept(batch)
            for sighting in sightings:
                sighting.at = at + timedelta(seconds=sighting.start_s)
            Sighting.objects.bulk_create(sightings, batch_size=100)  # their paths are long
            if is_latest and current is not None:
                carry_over(said if said and said.is_up_to_date() else earlier_verdicts(self, sightings))

    def _totals(self, only: Chunk | None) -> dict[str, Any]:
        if only is not None:
            return {"frames_planned": only.frames} | {fact: getattr(only, fact) for fact in SUMMED}
        rows = self.chunks.order_by("number").values_list(*SUMMED)
        return {fact: sum(values) for fact, *values in zip(SUMMED, *rows, strict=True)}

    def _handed_back(self, error: str, detail: str, delay_s: float, counted: bool) -> dict[str, Any]:
        """As for all work; a finish that is handed back waits as one whose chunks are done."""
        changes = super()._handed_back(error, detail, delay_s, counted)
        if self.step == self.Step.FINISH:
            changes |= {"state": self.State.RUNNING, "step": self.Step.DETECT}
        return changes

    def fail_with_chunk(self, chunk: Chunk, kind: str, message: str, detail: str) -> None:
        """Ends it as failed because one of its chunks did, unless it is over already."""
        Analysis.objects.filter(pk=self.pk, state=self.State.RUNNING).update(
            state=self.State.FAILED,
            finished_at=Now(),
            worker=chunk.worker,
            **error_fields(kind, message, detail),
        )
        self._close_chunks([self.pk])

    @classmethod
    def _close_chunks(cls, pks: Sequence[int]) -> None:
        """Ends the chunks that are left of analyses that are over, so that nobody looks for them any more."""
        from detection.models.chunk import Chunk

        over = [cls.State.CANCELLED, cls.State.FAILED]
        left = Chunk.objects.filter(Chunk.UNFINISHED, analysis__in=pks, analysis__state__in=over)
        left.update(state=Chunk.State.CANCELLED, finished_at=Now(), **UNCLAIMED)

    # What a person may do

    def cancel(self) -> bool:
        """Stops it where it is; its worker notices at its next sign of life. Answers whether there was one to stop."""
        return bool(self._stop([self.pk]))

    def retry(self) -> bool:
        """Opens a failed or cancelled analysis again; chunks that are done stay done. Answers whether it did."""
        return bool(self._open_again([self.pk]))

    @classmethod
    def cancel_many(cls, rows: models.QuerySet[Any]) -> int:
        """As ``cancel``, in a few statements for thousands; answers how many there were to stop."""
        return sum(cls._stop(pks) for pks in _batches(_keys(rows)))

    @classmethod
    def retry_many(cls, rows: models.QuerySet[Any], send: Callable[[Analysis], bool]) -> int:
        """As ``retry``, in a few statements for thousands; answers how many were opened.

        The first of them are sent, by ``send``, which answers whether the queue took it; the sweep sends the rest. More
        than anybody waits for are bulk from now on: a night's failures must not hold up the pictures of this minute.
        """
        keys = _keys(rows)
        changes = {"lane": cls.Lane.BULK} if len(keys) > settings.INTERACTIVE_MOST else {}
        opened = 0
        unsent = SENT_AT_ONCE
        for pks in _batches(keys):
            again = cls._open_again(pks, **changes)
            opened += len(again)
            for analysis in cls.objects.filter(pk__in=again[:unsent]).order_by("pk"):
                # A queue that is away would make each further one wait for its time-out.
                unsent = unsent - 1 if send(analysis) else 0
                if not unsent:
                    break
        return opened

    @classmethod
    def _stop(cls, pks: Sequence[int]) -> int:
        rows = cls.objects.filter(pk__in=pks, state__in=[cls.State.QUEUED, cls.State.RUNNING])
        # In one transaction: opened again in between, an analysis would run with chunks that are closed.
        with transaction.atomic():
            going = list(rows.select_for_update().order_by("pk").values_list("pk", flat=True))
            stopped = cls.objects.filter(pk__in=going).update(state=cls.State.CANCELLED, finished_at=Now(), **UNCLAIMED)
            cls._close_chunks(going)
        return stopped

    @classmethod
    def _open_again(cls, pks: Sequence[int], **changes: Any) -> list[int]:
        from detection.models.chunk import Chunk

        closed = cls.objects.filter(pk__in=pks, state__in=[cls.State.FAILED, cls.State.CANCELLED])
        # From now on it belongs to what opened it, and the log says what it was before.
        belongs = {"correlation_id": correlation.current()} if correlation.current() else {}
        with transaction.atomic():
            before = dict(closed.select_for_update().order_by("pk").values_list("pk", "correlation_id"))
            again = list(before)
            rows = cls.objects.filter(pk__in=again)
            planned = Exists(Chunk.objects.filter(analysis=OuterRef("pk")))
            rows.filter(~planned).update(state=cls.State.QUEUED, step=cls.Step.PLAN, **UNTRIED, **changes, **belongs)
            rows.filter(planned).update(state=cls.State.RUNNING, step=cls.Step.DETECT, **UNTRIED, **changes, **belongs)
            undone = Chunk.objects.filter(analysis__in=again).exclude(state=Chunk.State.DONE)
            undone.update(state=Chunk.State.QUEUED, frames_read=0, **UNTRIED, **belongs)
        if again:
            was = ", ".join(f"{pk} (its reference was {reference or 'none'})" for pk, reference in before.items())
            log.info("opened again: analysis %s", was)
        return again

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


def _keys(rows: models.QuerySet[Any]) -> list[int]:
    return list(rows.order_by("pk").values_list("pk", flat=True))


def _batches(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(keys), BATCH):
        yield keys[start : start + BATCH]
