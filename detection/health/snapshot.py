"""How the system is at a moment, as a value: the page, the JSON, the command and the metrics are made from the same."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime

import celery
import django
from django.conf import settings

from detection.health.probes import SYSTEM
from detection.health.probing import Outcome, look_at
from detection.health.records import Records

SOFTWARE = {"Python": platform.python_version(), "Django": django.get_version(), "Celery": celery.__version__}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was seen; nothing here is a judgement."""

    at: datetime
    version: str
    software: dict[str, str]  # what it runs with, each with its version
    probes: tuple[Outcome, ...]
    records: Records | None  # None where they could not be read: not the same as nothing there
    waiting: dict[str, int] | None  # messages in the broker by queue; None where it did not tell
    free_bytes: dict[str, int]  # of the disks of this machine
    stale_after_s: float  # a process is silent when its last sign is older


def stale_after_s() -> float:
    """Two signs may be late, as where the machine has much to do; with the third missing it is silent."""
    return settings.HEARTBEAT_S * 3


def take() -> Snapshot:
    """Looks at everything, in HEALTH_PROBE_S at most."""
    outcomes = look_at(SYSTEM)
    seen = {name: outcome.found for name, outcome in outcomes.items() if outcome.found is not None}
    return Snapshot(
        at=datetime.now(UTC),
        version=settings.CODE_VERSION,
        software=SOFTWARE | ({"database": seen["database"]} if "database" in seen else {}),
        probes=tuple(outcomes.values()),
        records=seen.get("records"),
        waiting=seen.get("queues"),
        free_bytes=seen.get("disk", {}),
        stale_after_s=stale_after_s(),
    )
