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

from detection import correlation
from detection.models import Analysis, Capture, Chunk, Notification, Proxy, Trial, Work
from workers.lanes import AGAIN, queue_for

log = logging.getLogger(__name__)

RESEND_AFTER = timedelta(seconds=10)
UNSENT = Q(sent_at=None) | Q(sent_at__lt=Now() - RESEND_AFTER)
WINDOW = 50  # with this many messages in a queue, its workers have enough to do

QUEUES: tuple[tuple[str, type[Work], str], ...] = (
    ("notify", Notification, "notify"),
    ("try_source", Trial, "grab"),
    ("analyse_chunk", Chunk, "chunks"),
    ("analyse", Analysis, "analyse"),
    ("make_proxy", Proxy, "proxies"),
)
LANE_OF: dict[type[Work], str] = {Analysis: "lane", Chunk: "analysis__lane"}


@dataclass(frozen=True, slots=True)
class Due:
    """A row whose task is to be sent."""

    task: str
    rows: type[Work]
    pk: int
    queue: str
    correlation_id: str = ""


def due_work() -> Iterator[Due]:
    """The rows to send again, the oldest first, marked as sent; gives up on those that used up their attempts.

    A queued row may well have its message waiting in the queue. So queued rows are sent again only while their queue is
    short: with the queue lost, all of them come back, and with a long queue, none is doubled.
    """
    give_up()
    analyses = Analysis.objects.filter(Work.UNFINISHED).filter(UNSENT)
    ready = analyses.filter(Analysis.ready_to_finish(), Analysis.has_a_try_left())
    yield from _due("finish", Analysis, ready, "finish")
    for task, rows, queue in QUEUES:
        yield from _due(task, rows, _unclaimed(rows), queue)


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
    free = rows._default_manager.filter(Work.UNFINISHED, rows.free(), rows.has_a_try_left())
    return free.filter(UNSENT)


def _due(task: str, rows: type[Work], found: QuerySet[Any], queue: str) -> Iterator[Due]:
    column = LANE_OF.get(rows)
    lanes = [(lane.value, Q(**{column: lane.value})) for lane in Analysis.Lane] if column else [("", Q())]
    if not found.exists():  # most sweeps find nothing
        return
    for lane, of_lane in lanes:
        in_lane = found.filter(of_lane)
        # Asked only where it matters: that is a connection of its own.
        if in_lane.filter(lease_until=None).exists() and queue_length(queue_for(lane, queue)) >= WINDOW:
            in_lane = in_lane.filter(lease_until__isnull=False)
        oldest = in_lane.order_by("pk").values_list("pk", "lease_until", "correlation_id")
        for pk, lease_until, correlation_id in oldest[: 2 * WINDOW]:
            if _takes_turn(rows, pk):
                # What lost its worker has waited its turn already, and a queue may be hours long.
                waited = bool(lease_until and column)
                yield Due(task, rows, pk, AGAIN if waited else queue_for(lane, queue), correlation_id)


def _takes_turn(rows: type[Work] | type[Capture], pk: int) -> bool:
    """Marks a row as sent, unless another sweep has done so since it was found."""
    return bool(rows._default_manager.filter(UNSENT, pk=pk).update(sent_at=Now()))


def give_up() -> int:
    """Fails the rows that used up what they had, so that what kills workers cannot do so for ever."""
    lost = 0
    for _, rows, _ in QUEUES:
        spent = Work.UNFINISHED & rows.spent()
        for row in rows._default_manager.filter(spent):
            times = row.lapses + 1
            why = f"Its worker was gone without a word {times} times; it is not tried again by itself."
            if row.lease_until is None:  # MAX_ATTEMPTS was lowered since
                why = f"It was begun {row.attempts} times; it is not tried again by itself. {row.error}".strip()
            # A worker that was only slow may have renewed its lease since the row was read.
            if row.fail("worker_lost", why, only=spent):
                with correlation.of_row(row.correlation_id):
                    log.error("%s %s is given up: %s", rows._meta.verbose_name, row.pk, why)
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
