"""What might be seen of a system that is well."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from detection.health.probing import Outcome
from detection.health.records import Process, Records
from detection.health.roles import ANALYSING
from detection.health.snapshot import Snapshot
from detection.models.backlog import LaneBacklog

NAMES = ("database", "migrations", "broker", "storage", "disk", "queues", "records")


def a_process(name: str, *queues: str, **facts: Any) -> Process:
    kind = "beat" if name.startswith("beat") else "worker"
    process = Process(name, kind, "here", 17, "1.2", queues, 1, 300_000_000, 200_000_000, True, 60, 2.0)
    return replace(process, **facts)


ALL = (
    a_process("beat@here"),
    a_process("analyse@here", *ANALYSING),
    a_process("grab@here", "grab", "housekeeping"),
    a_process("probe@here", "grab", "probe", "notify"),
    a_process("proxy@here", "proxies"),
)
RECORDS = Records(
    processes=ALL,
    lanes=(LaneBacklog("interactive", "analysis", 3, 1, 75.0), LaneBacklog("bulk", "chunk", 0, 0, 0.0)),
    cameras={"ok": 2, "disabled": 1},
    model="cars",
    model_sha256="ab" * 32,
    failed_analyses=4,
    failed_notifications=1,
)


def a_snapshot(failed: dict[str, str] | None = None, **records: Any) -> Snapshot:
    """All well, but for the probes that failed and what else is given of the records."""
    failed = failed or {}
    probes = tuple(Outcome(name, name not in failed, failed.get(name, ""), 0.01) for name in NAMES)
    return Snapshot(
        at=datetime(2026, 3, 1, 12, 0, tzinfo=UTC),
        version="1.2",
        software={"Python": "3.12.7", "database": "PostgreSQL 15.6"},
        probes=probes,
        records=None if "records" in failed else replace(RECORDS, **records),
        waiting=None if "queues" in failed else {"analyse": 3},
        free_bytes={"media": 10**10, "data": 2 * 10**10},
        stale_after_s=15.0,
    )


def without(*names: str) -> tuple[Process, ...]:
    return tuple(process for process in ALL if process.name.partition("@")[0] not in names)
