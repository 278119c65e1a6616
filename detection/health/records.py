"""What the rows say of how the system is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count

from detection.models import Analysis, Camera, Heartbeat, Model, Notification, Work
from detection.models.backlog import LaneBacklog, backlog
from detection.models.clock import now
from detection.models.failures import to_do


@dataclass(frozen=True, slots=True)
class Process:
    """A process that works, by its last sign of life."""

    name: str
    kind: str  # "worker" or "beat"
    host: str
    pid: int
    version: str
    queues: tuple[str, ...]
    slots: int
    memory_bytes: int  # with the processes below it
    largest_bytes: int
    has_broker: bool
    up_s: int  # at that sign
    age_s: float  # of that sign


@dataclass(frozen=True, slots=True)
class Records:
    """How things stood at a moment of the database's clock."""

    processes: tuple[Process, ...]
    lanes: tuple[LaneBacklog, ...]
    cameras: dict[str, int]  # by state
    model: str  # the active one's name; empty where there is none
    model_sha256: str
    failed_analyses: int  # that somebody has something to do about
    failed_notifications: int  # of the last day


def read_records() -> Records:
    moment = now()
    counted = dict(Camera.objects.order_by().values_list("state").annotate(Count("pk")))
    model = Model.objects.filter(is_active=True).only("name", "sha256").first()
    failed = Notification.objects.filter(state=Work.State.FAILED)
    return Records(
        processes=tuple(_process(row, moment) for row in Heartbeat.objects.order_by("kind", "name")),
        lanes=tuple(backlog()),
        cameras={state: counted.get(state, 0) for state in Camera.State.values},
        model=model.name if model else "",
        model_sha256=model.sha256 if model else "",
        failed_analyses=to_do(Analysis.objects.all()).count(),
        failed_notifications=failed.filter(finished_at__gte=moment - timedelta(days=1)).count(),
    )


def _process(row: Heartbeat, moment: datetime) -> Process:
    return Process(
        name=row.name,
        kind=row.kind,
        host=row.host,
        pid=row.pid,
        version=row.version,
        queues=tuple(row.queues),
        slots=row.slots,
        memory_bytes=row.memory_bytes,
        largest_bytes=row.largest_bytes,
        has_broker=row.has_broker,
        up_s=row.up_s,
        age_s=max(0.0, (moment - row.at).total_seconds()),
    )
