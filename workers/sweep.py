"""What the sweep finds: work that no worker has and no message will bring."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery import current_app
from django.conf import settings
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from detection.models import Analysis, Capture, Chunk, Notification, Proxy, Trial, Work

log = logging.getLogger(__name__)

RESEND_AFTER = timedelta(seconds=10)
UNSENT = Q(sent_at=None) | Q(sent_at__lt=Now() - RESEND_AFTER)
WINDOW = 50  # with this many messages in a queue, its workers have enough to do

QUEUES: tuple[tuple[str, type[Work], str], ...] = (
    ("notify", Notification, "notify"),
    ("try", Trial, "grab"),
    ("chunk", Chunk, "chunks"),
    ("analyse", Analysis, "analyse"),
    ("proxy", Proxy, "bulk"),
)


@dataclass(frozen=True, slots=True)
class Due:
    """A row whose task is to be sent."""

    task: str
    rows: type[Work]
    pk: int


def due_work() -> Iterator[Due]:
    """The rows to send again, the oldest first, marked as sent; gives up on those that used up their attempts.

    A queued row may well have its message waiting in the queue. So queued rows are sent again only while their queue is
    short: with the queue lost, all of them come back, and with a long queue, none is doubled.
    """
    give_up()
    analyses = Analysis.objects.filter(Work.UNFINISHED).filter(UNSENT)
    yield from _due("finish", Analysis, analyses.filter(Analysis.ready_to_finish()))
    for task, rows, queue in QUEUES:
        found = _unclaimed(rows)
        # Asked only where it matters: that is a connection of its own, and most sweeps find nothing.
        if found.filter(state=Work.State.QUEUED).exists() and queue_length(queue) >= WINDOW:
            found = found.filter(state=Work.State.RUNNING)
        yield from _due(task, rows, found)


def unclaimed_captures() -> list[Capture]:
    """The captures whose message was lost, while they are still worth grabbing; marked as sent."""
    waited = Capture.objects.filter(Capture.free(), attempts__lt=settings.GRAB_ATTEMPTS)
    lost = waited.filter(UNSENT).select_related("camera")
    captures = list(lost.order_by("until")[: 2 * WINDOW])
    untried = {capture.camera.queue for capture in captures if not capture.attempts}
    long = {queue for queue in untried if queue_length(queue) >= WINDOW}  # there they may just wait their turn
    captures = [capture for capture in captures if capture.attempts or capture.camera.queue not in long]
    return [capture for capture in captures if _takes_turn(Capture, capture.pk)]


def _unclaimed(rows: type[Work]) -> QuerySet[Any]:
    free = rows._default_manager.filter(Work.UNFINISHED, rows.free(), attempts__lt=rows.max_attempts())
    return free.filter(UNSENT)


def _due(task: str, rows: type[Work], found: QuerySet[Any]) -> Iterator[Due]:
    for pk in found.order_by("pk").values_list("pk", flat=True)[: 2 * WINDOW]:
        if _takes_turn(rows, pk):
            yield Due(task, rows, pk)


def _takes_turn(rows: type[Work] | type[Capture], pk: int) -> bool:
    """Marks a row as sent, unless another sweep has done so since it was found."""
    return bool(rows._default_manager.filter(UNSENT, pk=pk).update(sent_at=Now()))


def give_up() -> int:
    """Fails the rows whose worker was lost with the last attempt, so that what kills workers cannot do so for ever."""
    lost = 0
    for _, rows, _ in QUEUES:
        exhausted = Work.UNFINISHED & Q(
            state=Work.State.RUNNING, lease_until__lt=Now(), attempts__gte=rows.max_attempts()
        )
        for row in rows._default_manager.filter(exhausted):
            why = f"Its worker process was lost {row.attempts} times over it; it is not tried again by itself."
            # A worker that was only slow may have renewed its lease since the row was read.
            if row.fail("worker_lost", why, only=exhausted):
                log.error("%s %s lost its worker %s times; given up", rows._meta.verbose_name, row.pk, row.attempts)
                lost += 1
    return lost


def queue_length(queue: str) -> int:
    """How many messages wait in a queue; 0 where it does not exist yet."""
    with current_app.connection_for_write() as connection:
        try:
            with connection.channel() as channel:
                return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0
        except OperationalError:
            log.warning("the broker did not tell the length of queue %s", queue)
            return WINDOW
