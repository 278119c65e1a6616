"""How the system is, as JSON: for the page's address and for the command alike."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from detection.health.snapshot import Snapshot
from detection.health.verdict import Verdict


def as_json(snapshot: Snapshot, verdict: Verdict) -> dict[str, Any]:
    """What was seen and how it was judged, in the words of the values."""
    probes = [
        {"name": probe.name, "is_ok": probe.is_ok, "says": probe.says, "took_s": round(probe.took_s, 3)}
        for probe in snapshot.probes
    ]
    return {
        "state": verdict.state,
        "reasons": [asdict(reason) for reason in verdict.reasons],
        "at": snapshot.at.isoformat(),
        "version": snapshot.version,
        "software": snapshot.software,
        "probes": probes,
        "records": asdict(snapshot.records) if snapshot.records else None,
        "waiting": snapshot.waiting,
        "free_bytes": snapshot.free_bytes,
    }
