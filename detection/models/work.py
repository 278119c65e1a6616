"""Work that a worker claims: the row is the truth, a Celery message only a hint."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from detection import correlation
from detection.scrub import scrub

NO_ERROR = {"error": "", "error_kind": "", "error_detail": ""}
UNCLAIMED = {"lease": None, "lease_until": None}
UNTRIED = {
    "attempts": 0, "lapses": 0, **UNCLAIMED, "queued_at": Now(), "sent_at": None, "finished_at": None, **NO_ERROR
}  # fmt: skip


def error_fields(kind: str, message: str, detail: str) -> dict[str, str]:
    """The columns of an error, within what they can hold: PostgreSQL refuses a NUL in a text.

    People read them, and libraries put whole addresses into their exceptions.
    """
    return {
        "error_kind": kind,
        "error": scrub(message.replace("\0", ""))[:1000],
        "error_detail": scrub(detail.replace("\0", "")),
    }


def _one_where(**condition: Any) -> Case:
    return Case(When(**condition, then=Value(1)), default=Value(0))


class LeaseLost(Exception):
    """The work is no longer this worker's: it was cancelled, removed, or its lease ran out and another has it."""


class Work(models.Model):
    """A row that exactly one worker at a time may work on.

    A claim is one conditional UPDATE; its row count is the lock. It takes a lease that the worker renews while it
    works, so that the work of a killed worker is free again within seconds. Times are the database's, so that a worker
    whose clock is wrong does no harm.
    """

    # What the sweep looks for every second: it stays quick however many rows are done, because SQLite, too, takes a
    # partial index of this condition.
    UNFINISHED = Q(finished_at__isnull=True)
    time_limit: ClassVar[str] = "TASK_TIME_LIMIT_S"  # the setting

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    state = models.CharField(max_length=10, choices=State, default=State.QUEUED, editable=False)
    attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    lapses = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="How often its worker was gone without a word, as when a machine stops."
    )
    worker = models.CharField(max_length=100, blank=True, editable=False)
    lease = models.UUIDField(null=True, editable=False, unique=True)
    lease_until = models.DateTimeField(null=True, editable=False)
    queued_at = models.DateTimeField(
        default=timezone.now, editable=False, help_text="Since when it waits, or waited, for a worker."
    )
    sent_at = models.DateTimeField(null=True, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    error_kind = models.CharField(max_length=40, blank=True, editable=False)
    error = models.CharField("what went wrong", max_length=1000, blank=True, editable=False)
    error_detail = models.TextField("technical detail", blank=True, editable=False)
    correlation_id = correlation.field()

    class Meta:
        abstract = True

    @classmethod
    def free(cls) -> Q:
        """Which rows a worker may claim: those queued, and those whose worker let its lease run out."""
        return Q(state=cls.State.QUEUED) | Q(state=cls.State.RUNNING, lease_until__lt=Now())

    @classmethod
    def max_attempts(cls) -> int:
        """How often it is begun before it fails for good."""
        return settings.MAX_ATTEMPTS

    @classmethod
    def max_lapses(cls) -> int:
        """How often its lease may run out before it fails for good.

        More often than it may be begun: most leases run out because a machine stopped, which is no fault of the work's.
        What the work itself does to its process is told by ``crashed``, and counts as an attempt.
        """
        return settings.MAX_LAPSES

    @classmethod
    def has_a_try_left(cls) -> Q:
        """Which of the free rows may be begun once more."""
        return Q(lease_until=None, attempts__lt=cls.max_attempts()) | Q(
            lease_until__isnull=False, lapses__lt=cls.max_lapses()
        )

    @classmethod
    def claim(cls, pk: int, worker: str) -> Self | None:
        """Takes the row for this worker and counts the attempt, or answers None: then it is not to be had."""
        return cls._take(cls._default_manager.filter(cls.free(), cls.has_a_try_left(), pk=pk), worker)

    @classmethod
    def _take(cls, rows: models.QuerySet[Any], worker: str, **changes: Any) -> Self | None:
        lease = uuid.uuid4()
        taken = cls._mark_taken(rows, worker, lease, **changes)
        # Gone again where the row was removed in the moment between.
        return cls._with_relations().filter(lease=lease).first() if taken else None

    @classmethod
    def _with_relations(cls) -> models.QuerySet[Any]:
        """The rows with what a worker will ask of them."""
        return cls._default_manager.all()

    @classmethod
    def _mark_taken(cls, rows: models.QuerySet[Any], worker: str, lease: uuid.UUID, **changes: Any) -> int:
        return rows.update(
            state=cls.State.RUNNING,
            # After a lease that ran out this is the same attempt, taken up by another.
            attempts=F("attempts") + _one_where(lease_until=None),
            lapses=F("lapses") + _one_where(lease_until__isnull=False),
            worker=worker,
            lease=lease,
            lease_until=Now() + timedelta(seconds=settings.LEASE_S),
            started_at=Coalesce("started_at", Now()),
            **changes,
        )

    def mine(self) -> models.QuerySet[Self]:
        """This row, as long as this worker's claim on it holds."""
        return type(self)._default_manager.filter(pk=self.pk, lease=self.lease, state=self.State.RUNNING)

    def renew(self, **progress: Any) -> None:
        """Prolongs the lease and notes progress. Raises LeaseLost where the row is no longer this worker's."""
        until = Now() + timedelta(seconds=settings.LEASE_S)
        if not self.mine().update(lease_until=until, **progress):
            raise LeaseLost(f"{self._meta.verbose_name} {self.pk} is no longer ours")

    def _end_as_done(self, **facts: Any) -> None:
        """Ends it as done, with these facts. Raises LeaseLost where another worker has it by now."""
        ended = self.mine().update(state=self.State.DONE, finished_at=Now(), **UNCLAIMED, **NO_ERROR, **facts)
        if not ended:
            raise LeaseLost(f"{self._meta.verbose_name} {self.pk} is no longer ours")

    def hand_back(self, error: str, detail: str = "", delay_s: float = 0, *, counted: bool = True) -> bool:
        """Gives the work back unfinished, to be sent again after a while; answers whether it was this worker's to give.

        The attempt stays counted unless the work had no part in its end, as where its worker stops.
        """
        return bool(self.mine().update(**self._handed_back(error, detail, delay_s, counted)))

    def _handed_back(self, error: str, detail: str, delay_s: float, counted: bool) -> dict[str, Any]:
        return {
            "state": self.State.QUEUED,
            "attempts": F("attempts") if counted else F("attempts") - 1,
            **UNCLAIMED,
            "queued_at": Now(),
            "sent_at": Now() + timedelta(seconds=delay_s) if delay_s else None,  # the next sweep sends it
            **error_fields("", error, detail),
        }

    @classmethod
    def claimed_by(cls, worker: str) -> list[Self]:
        """What a worker process has claimed and not ended.

        Not what an earlier one of the same name left, as after a restart: that is free, and no doing of this one's.
        """
        held = Q(state=cls.State.RUNNING, lease_until__gte=Now())
        return list(cls._default_manager.filter(cls.UNFINISHED & held, worker=worker))

    @classmethod
    def crashed(cls, worker: str, why: str, *, counted: bool = True) -> list[Self]:
        """The worker process of this name ended over what it had claimed: free again at once, or failed; answers it."""
        lost = cls.claimed_by(worker)
        for row in lost:
            if row.has_attempts_left or not counted:
                row.hand_back(why, counted=counted)
            else:
                row.fail("worker_lost", f"{why} That happened {row.attempts} times; it is not tried again by itself.")
        return lost

    @classmethod
    def spent(cls) -> Q:
        """Which rows may not be begun any more, and nobody is at: they are to be failed."""
        return Q(state=cls.State.RUNNING, lease_until__lt=Now(), lapses__gte=cls.max_lapses()) | Q(
            state=cls.State.QUEUED, attempts__gte=cls.max_attempts()
        )

    def fail(self, kind: str, message: str, detail: str = "", *, only: Q | None = None) -> bool:
        """Ends it as failed, with a sentence for the user; answers whether it was still this worker's to end.

        ``only`` says instead, of the row as it is at that moment, whether it is to be ended, whosever it is.
        """
        rows = self.mine() if only is None else type(self)._default_manager.filter(only, pk=self.pk)
        return bool(
            rows.update(
                state=self.State.FAILED,
                finished_at=Now(),
                **UNCLAIMED,
                **error_fields(kind, message, detail),
            )
        )

    @classmethod
    def mark_sent(cls, pks: list[int]) -> None:
        cls._default_manager.filter(pk__in=pks).update(sent_at=Now())

    @classmethod
    def mark_unsent(cls, pk: int) -> None:
        """The broker did not take it after all: pages say so, and the next sweep tries again."""
        cls._default_manager.filter(pk=pk).update(sent_at=None)

    @property
    def is_over(self) -> bool:
        return self.state in (self.State.DONE, self.State.FAILED, self.State.CANCELLED)

    @property
    def has_attempts_left(self) -> bool:
        return self.attempts < self.max_attempts()
