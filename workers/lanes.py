"""Two lanes: what somebody waits for goes before bulk, and bulk is never starved.

Bulk has queues of its own. A worker that takes a message from them first looks whether something is there that somebody
waits for, and does that instead: on every broker alike, and however the broker chooses between queues. But bulk ages:
once it has waited for BULK_AGES_S, every fourth turn of each worker process is its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from detection.models import Analysis, Chunk, Work

BULK = "bulk-"  # before the name of each step's queue
AGAIN = "again"  # the queue of what was begun and then lost or handed back, of both lanes: it has waited once
IN_A_ROW = 3  # turns of those who wait, then one of bulk that has aged


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of work on an analysis: the name of its task, and the row's key."""

    task: str
    pk: int
    correlation_id: str = ""


class Turns:
    """Whose turn it is in this process."""

    def __init__(self) -> None:
        self.in_a_row = 0

    def took(self, lane: str) -> None:
        self.in_a_row = 0 if lane == Analysis.Lane.BULK else self.in_a_row + 1

    def instead_of_bulk(self, rows: type[Work], pk: int) -> Unit | None:
        """What goes before this row of a bulk analysis now, or None where it is its turn."""
        if self.in_a_row >= IN_A_ROW and has_aged(rows, pk):
            return None
        return waited_for()


def queue_for(lane: str, queue: str) -> str:
    """Where messages of this lane go that else would go to this queue."""
    return BULK + queue if lane == Analysis.Lane.BULK else queue


def has_aged(rows: type[Work], pk: int) -> bool:
    """Whether an analysis, or that of a chunk, was asked for so long ago that it gets turns of its own."""
    analysis = Q(pk=pk) if rows is Analysis else Q(chunks=pk)
    long_ago = Now() - timedelta(seconds=settings.BULK_AGES_S)
    return Analysis.objects.filter(analysis, requested_at__lt=long_ago).exists()


def waited_for() -> Unit | None:
    """What somebody waits for and no worker has: what is nearest to its end first, of the same the oldest."""
    analyses = Analysis.objects.filter(Work.UNFINISHED, lane=Analysis.Lane.INTERACTIVE)
    if not analyses.exists():  # all three would look among these, and mostly there are none
        return None
    chunks = Chunk.objects.filter(Work.UNFINISHED, analysis__lane=Analysis.Lane.INTERACTIVE)
    found: tuple[tuple[str, type[Work], QuerySet[Any]], ...] = (
        ("finish", Analysis, analyses.filter(Analysis.ready_to_finish())),
        ("analyse_chunk", Chunk, chunks.filter(Chunk.free())),
        ("analyse", Analysis, analyses.filter(Analysis.free())),
    )
    for task, kind, rows in found:
        # What was handed back to be tried again later waits until then.
        due = rows.filter(kind.has_a_try_left(), Q(sent_at=None) | Q(sent_at__lte=Now()))
        if (first := due.order_by("pk").values_list("pk", "correlation_id").first()) is not None:
            return Unit(task, *first)
    return None
