"""Watching the rows from outside while everything dies: how long killed work lies, and when all is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connection
from django.db.models.functions import Now

from detection.models import Analysis, Chunk, Work
from tests.chaos.records import unfinished
from workers.crash import process_name

POLL_S = 0.2
KINDS: tuple[type[Work], ...] = (Chunk, Analysis)


@dataclass(frozen=True, slots=True)
class Held:
    """What a worker process was working on when it was killed."""

    rows: type[Work]
    pk: int
    analysis_pk: int
    lease: Any
    tries: int
    was_planning: bool = False
    how: str = ""
    killed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Wait:
    """How long it was until somebody had it again, and what else was amiss meanwhile, which may have held it up."""

    how: str
    what: str
    waited_s: float
    meanwhile: tuple[str, ...]


def holding(pids: Iterable[int]) -> list[Held]:
    """The rows that these processes of this machine have a lease on."""
    workers = [process_name(pid) for pid in pids]
    # A cancelled analysis' chunks are nobody's any more.
    chunks = Chunk.objects.filter(analysis__state=Work.State.RUNNING)
    found = []
    for rows in (chunks, Analysis.objects.all()):
        mine = rows.filter(Work.UNFINISHED, worker__in=workers, lease__isnull=False)
        found += [
            Held(
                type(row),
                row.pk,
                row.analysis_id if isinstance(row, Chunk) else row.pk,
                row.lease,
                tries_of(row),
                is_planning(row),
            )
            for row in mine
        ]
    return found


def at_work(pids: Iterable[int], without: set[str]) -> set[tuple[type[Work], int, Any]]:
    """The rows that these processes work on right now, and their leases; without those of media with these hashes.

    A lease that was not renewed lately is of work that has ended, and could not say so.
    """
    lately = Now() + timedelta(seconds=settings.LEASE_S - 2.5 * settings.RENEW_S)
    found: set[tuple[type[Work], int, Any]] = set()
    for held in holding(pids):
        of = {"media__sha256__in": without} if held.rows is Analysis else {"analysis__media__sha256__in": without}
        rows = held.rows._default_manager.filter(pk=held.pk, lease=held.lease, lease_until__gt=lately)
        found |= {(held.rows, row.pk, row.lease) for row in rows.exclude(**of)}
    return found


def tries_of(row: Work) -> int:
    return row.attempts + row.lapses


def is_planning(row: Work) -> bool:
    return isinstance(row, Analysis) and row.step == Analysis.Step.PLAN


def running_workers(at_most: int) -> list[int]:
    """The processes that work on something, but for those at whose work a further kill might end it as failed."""
    pids: list[int] = []
    for rows in KINDS:
        running = rows._default_manager.filter(Work.UNFINISHED, lease__isnull=False, attempts__lte=at_most)
        pids += [int(worker.rpartition(":")[2]) for worker in running.values_list("worker", flat=True)]
    return pids


class Watch:
    """A thread that looks at the rows all the time."""

    def __init__(self) -> None:
        self.waits: list[Wait] = []
        self.left: dict[str, int] = {"nothing known yet": 1}
        self.looked_at = 0.0
        self._open: list[Held] = []
        self._amiss: list[tuple[str, float, float]] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(timeout=30)

    def killed(self, held: Iterable[Held], how: str) -> None:
        """These rows' process has just been killed."""
        now = time.monotonic()
        with self._lock:
            self._open += [replace(one, how=how, killed_at=now) for one in held]

    def cancelled(self, analysis_pk: int) -> None:
        """Somebody cancelled it, and may try it again: that is no work that waits for another worker."""
        with self._lock:
            self._open = [held for held in self._open if held.analysis_pk != analysis_pk]

    def amiss(self, what: str, began: float, ended: float | None = None) -> None:
        """Something else was amiss from then until then."""
        with self._lock:
            self._amiss.append((what, began, time.monotonic() if ended is None else ended))

    def quiet(self) -> bool:
        """Whether nothing is unfinished."""
        return not self.left

    def _run(self) -> None:
        while not self._over.wait(POLL_S):
            try:
                self._look()
            except DatabaseFault:
                connection.close()
        connection.close()

    def _look(self) -> None:
        with self._lock:
            waiting = list(self._open)
        over = [held for held in waiting if self._is_over(held)]
        left = unfinished()
        with self._lock:
            self._open = [held for held in self._open if held not in over]
        self.left, self.looked_at = left, time.monotonic()

    def _is_over(self, held: Held) -> bool:
        row = held.rows._default_manager.filter(pk=held.pk).first()
        if row is None:
            return True  # planned anew or removed: that work is no more
        # Who has planned it has let go of it again, and counts its tries anew: soon there is nothing else to see of it.
        is_planned = held.was_planning and not is_planning(row)
        taken = row.lease not in (None, held.lease) or tries_of(row) > held.tries or is_planned
        ended_before = row.is_over and not taken
        if not taken and not ended_before:
            return False
        if taken:
            self._note(held)
        return True

    def _note(self, held: Held) -> None:
        now = time.monotonic()
        with self._lock:
            others = {what for what, began, ended in self._amiss if began < now and ended > held.killed_at}
            meanwhile = tuple(sorted(others - {held.how}))
        what = f"{held.rows._meta.verbose_name} {held.pk}"
        self.waits.append(Wait(held.how, what, now - held.killed_at, meanwhile))


def longest(waits: Iterable[Wait], *, undisturbed: bool) -> Wait | None:
    """The longest wait; of those only during which nothing else was amiss, where so asked."""
    fitting = [wait for wait in waits if not (undisturbed and wait.meanwhile)]
    return max(fitting, key=lambda wait: wait.waited_s, default=None)
