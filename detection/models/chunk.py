from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from detection.models.analysis import Analysis
from detection.models.work import Work
from detection.vision.types import DetectStats, Span


class Chunk(Work):
    """A stretch of a clip, the unit a worker claims and repeats; an image is one chunk."""

    analysis = models.ForeignKey(Analysis, models.CASCADE, related_name="chunks", editable=False)
    number = models.PositiveIntegerField(editable=False)
    start_s = models.FloatField(editable=False)
    end_s = models.FloatField(editable=False)
    frames = models.PositiveIntegerField(editable=False)
    frames_read = models.PositiveIntegerField(default=0, editable=False)
    frames_sampled = models.PositiveIntegerField(default=0, editable=False)
    frames_inferred = models.PositiveIntegerField(default=0, editable=False)
    decode_s = models.FloatField(default=0, editable=False)
    infer_s = models.FloatField(default=0, editable=False)
    detections = models.BinaryField(default=b"", editable=False)  # as vision.pack writes them

    class Meta:
        ordering = ["analysis", "number"]
        constraints = [models.UniqueConstraint(fields=["analysis", "number"], name="one_chunk_a_number")]
        indexes = [
            models.Index(
                fields=["state", "lease_until"], condition=Q(state__in=["queued", "running"]), name="chunk_open"
            ),
            models.Index(fields=["id"], condition=Work.UNFINISHED, name="chunk_unfinished"),
        ]

    def __str__(self) -> str:
        return f"{self.analysis}, chunk {self.number}"

    @classmethod
    def free(cls) -> Q:
        """As for all work, and only while its analysis is running: not after a cancel or a failure."""
        # Exists and not a join: with a join the UPDATE finds its rows by a subquery, which PostgreSQL does not look at
        # again after it has waited for another claim's lock. The chunk's own columns must stand in the WHERE itself.
        running = Analysis.objects.filter(pk=OuterRef("analysis_id"), state=Analysis.State.RUNNING)
        return super().free() & Q(Exists(running))

    @classmethod
    def _mark_taken(cls, rows: models.QuerySet[Any], worker: str, lease: UUID, **changes: Any) -> int:
        """As for all work; what an earlier attempt had read counts no more."""
        return super()._mark_taken(rows, worker, lease, frames_read=0, **changes)

    @classmethod
    def _with_relations(cls) -> models.QuerySet[Any]:
        return cls.objects.select_related("analysis__media", "analysis__model")

    @property
    def span(self) -> Span:
        return Span(self.number, self.start_s, self.end_s, self.frames)

    @classmethod
    def plan(cls, analysis: Analysis, spans: Sequence[Span]) -> list[Chunk]:
        """The chunk rows of an analysis, not yet saved."""
        return [
            cls(
                analysis=analysis,
                number=s.number,
                start_s=s.start_s,
                end_s=s.end_s,
                frames=s.frames,
                correlation_id=analysis.correlation_id,
            )
            for s in spans
        ]

    def done_at_once(self, detections: bytes, stats: DetectStats) -> None:
        """Lets the only chunk of an analysis, which is about to be stored, come into the world done."""
        self.state, self.attempts, self.worker = self.State.DONE, self.analysis.attempts, self.analysis.worker
        self.sent_at, self.started_at, self.finished_at = self.analysis.sent_at, self.analysis.started_at, Now()
        self.detections, self.decode_s, self.infer_s = detections, stats.decode_s, stats.infer_s
        self.frames_read, self.frames_sampled = stats.frames_read, stats.frames_sampled
        self.frames_inferred = stats.frames_inferred

    def finish(self, detections: bytes, stats: DetectStats) -> bool:
        """Stores what was found, replacing what an earlier attempt may have stored.

        Answers whether this was the last chunk of its analysis: whoever finishes the last one starts the finish. The
        question is asked after this row is committed, so that of two last chunks at least one sees the other.
        """
        self._end_as_done(
            detections=detections,
            frames_read=stats.frames_read,
            frames_sampled=stats.frames_sampled,
            frames_inferred=stats.frames_inferred,
            decode_s=stats.decode_s,
            infer_s=stats.infer_s,
        )
        return not Chunk.objects.filter(analysis=self.analysis_id).exclude(state=self.State.DONE).exists()

    def fail(self, kind: str, message: str, detail: str = "", *, only: Q | None = None) -> bool:
        """The chunk cannot be done; its analysis fails with it."""
        with transaction.atomic():
            # The analysis first, as whoever cancels or retries it does: each would else wait for what the other holds.
            list(Analysis.objects.select_for_update().filter(pk=self.analysis_id).values_list("pk"))
            failed = super().fail(kind, message, detail, only=only)
            if failed:
                self.analysis.fail_with_chunk(self, kind, message, detail)
        return failed
