"""What waits for workers and what they are at, lane by lane: from the rows, which are the truth, not from the broker.

Asked for at every scrape and by every look at the system's health, so it goes along the indexes of what is unfinished:
it costs as much as there is to do, however much was done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Min, Q, QuerySet
from django.db.models.functions import Greatest

from detection.models.analysis import Analysis
from detection.models.capture import Capture
from detection.models.chunk import Chunk
from detection.models.clock import now
from detection.models.event import Notification
from detection.models.proxy import Proxy
from detection.models.trial import Trial
from detection.models.work import Work

CAMERAS, PROXIES, NOTIFICATIONS = "cameras", "proxies", "notifications"
ANALYSIS_LANES: tuple[str, ...] = tuple(Analysis.Lane.values)
LANES = (*ANALYSIS_LANES, CAMERAS, PROXIES, NOTIFICATIONS)
QUEUED_AT = F("queued_at")


@dataclass(frozen=True, slots=True)
class LaneBacklog:
    """The unfinished work of one kind in one lane."""

    lane: str  # of LANES
    kind: str  # "analysis", "chunk", "capture", "trial", "proxy", "notification"
    waiting: int  # no worker is at it, and one may take it now
    running: int
    oldest_age_s: float  # since when the oldest of those that wait does; 0 where none waits


def backlog() -> list[LaneBacklog]:
    """Each kind of work in each of its lanes, always all of them and in this order; in six queries."""
    moment = now()
    return [
        *_in_lanes("analysis", Analysis, "lane", moment),
        *_in_lanes("chunk", Chunk, "analysis__lane", moment),
        _of_captures(moment),
        _of(CAMERAS, "trial", _unfinished(Trial), moment),
        _of(PROXIES, "proxy", _unfinished(Proxy), moment),
        _of(NOTIFICATIONS, "notification", _due(moment), moment, since=Greatest("queued_at", "due_at")),
    ]


def _unfinished(rows: type[Work]) -> QuerySet[Any]:
    return rows._default_manager.filter(Work.UNFINISHED).order_by()


def _due(moment: datetime) -> QuerySet[Any]:
    """Without those that wait for their time, which nobody may take."""
    return _unfinished(Notification).filter(due_at__lte=moment)


def _in_lanes(kind: str, rows: type[Work], column: str, moment: datetime) -> Iterator[LaneBacklog]:
    found = {row[column]: row for row in _unfinished(rows).values(column).annotate(**_counts(moment, QUEUED_AT))}
    for lane in ANALYSIS_LANES:
        yield _row(lane, kind, found.get(lane, {}), moment)


def _of(lane: str, kind: str, rows: QuerySet[Any], moment: datetime, since: Any = QUEUED_AT) -> LaneBacklog:
    return _row(lane, kind, rows.aggregate(**_counts(moment, since)), moment)


def _counts(moment: datetime, since: Any) -> dict[str, Any]:
    queued = Q(state=Work.State.QUEUED)
    lost = Q(state=Work.State.RUNNING, lease_until__lt=moment)  # its worker is gone, and another may take it
    return {
        "waiting": Count("pk", filter=queued | lost),
        "running": Count("pk", filter=~(queued | lost)),
        "oldest_queued": Min(since, filter=queued),
        "oldest_lost": Min("lease_until", filter=lost),
    }


def _of_captures(moment: datetime) -> LaneBacklog:
    """Of those that are past their time nobody takes any more; the sweep ends them."""
    rows = Capture.objects.filter(state=Capture.State.PLANNED, until__gt=moment).order_by()
    at_work = Q(lease_until__gte=moment)
    waiting = Q(lease_until=None) | Q(lease_until__lt=moment)
    found = rows.aggregate(
        waiting=Count("pk", filter=waiting),
        running=Count("pk", filter=at_work),
        oldest_queued=Min("planned_at", filter=waiting),
    )
    return _row(CAMERAS, "capture", found, moment)


def _row(lane: str, kind: str, found: dict[str, Any], moment: datetime) -> LaneBacklog:
    since = [at for at in (found.get("oldest_queued"), found.get("oldest_lost")) if at is not None]
    age_s = max(0.0, (moment - min(since)).total_seconds()) if since else 0.0
    return LaneBacklog(lane, kind, found.get("waiting", 0), found.get("running", 0), age_s)
