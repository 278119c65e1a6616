"""Work that a worker claims: the row is the truth, a Celery message only a hint."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

NO_ERROR = {"error": "", "error_kind": "", "error_detail": ""}
UNTRIED = {"attempts": 0, "lease": None, "lease_until": None, "sent_at": None, "finished_at": None, **NO_ERROR}


def error_fields(kind: str, message: str, detail: str) -> dict[str, str]:
    """The columns of an error, within what they can hold: PostgreSQL refuses a NUL in a text."""
    return {
        "error_kind": kind,
        "error": message.replace("\0", "")[:1000],
        "error_detail": detail.replace("\0", ""),
    }


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

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    state = models.CharField(max_length=10, choices=State, default=State.QUEUED, editable=False)
    attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    worker = models.CharField(max_length=100, blank=True, editable=False)
    lease = models.UUIDField(null=True, editable=False, unique=True)
    lease_until = models.DateTimeField(null=True, editable=False)
    sent_at = models.DateTimeField(null=True, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    error_kind = models.CharField(max_length=40, blank=True, editable=False)
    error = models.CharField("what went wrong", max_length=1000, blank=True, editable=False)
    error_detail = models.TextField("technical detail", blank=True, editable=False)

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
    def claim(cls, pk: int, worker: str) -> Self | None:
        """Takes the row for this worker and counts the attempt, or answers None: then it is not to be had."""
        return cls._take(cls._default_manager.filter(cls.free(), pk=pk, attempts__lt=cls.max_attempts()), worker)

    @classmethod
    def _take(cls, rows: models.QuerySet[Any], worker: str, **changes: Any) -> Self | None:
        lease = uuid.uuid4()
        taken = rows.update(
            state=cls.State.RUNNING,
            attempts=F("attempts") + 1,
            worker=worker,
            lease=lease,
            lease_until=Now() + timedelta(seconds=settings.LEASE_S),
            started_at=Coalesce("started_at", Now()),
            **changes,
        )
        # Gone again where the row was removed in the moment between.
        return cls._default_manager.filter(lease=lease).first() if taken else None

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
        ended = self.mine().update(
            state=self.State.DONE, finished_at=Now(), lease=None, lease_until=None, **NO_ERROR, **facts
        )
        if not ended:
            raise LeaseLost(f"{self._meta.verbose_name} {self.pk} is no longer ours")

    def hand_back(self, error: str, detail: str = "", delay_s: float = 0) -> None:
        """Gives the work back unfinished, to be sent again after a while; the attempt stays counted."""
        self.mine().update(
            state=self.State.QUEUED,
            lease=None,
            lease_until=None,
            sent_at=Now() + timedelta(seconds=delay_s),
            **error_fields("", error, detail),
        )

    def fail(self, kind: str, message: str, detail: str = "", *, only: Q | None = None) -> bool:
        """Ends it as failed, with a sentence for the user; answers whether it was still this worker's to end.

        ``only`` is a further condition on the row as it is at that moment.
        """
        return bool(
            self.mine()
            .filter(only or Q())
            .update(
                state=self.State.FAILED,
                finished_at=Now(),
                lease=None,
                lease_until=None,
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
