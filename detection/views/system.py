"""How the system is, for operators: a page, and the same as JSON."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from detection import health
from detection.health.roles import ALL_QUEUES
from detection.health.told import as_json
from detection.models import Camera
from detection.views.access import require
from detection.views.errors import wants_json
from detection.views.flower import may_look
from detection.views.limits import limited


@require_safe
@never_cache
@limited("list")
def system(request: HttpRequest) -> HttpResponse:
    """As JSON by ``Accept`` or ``?format=json``, with 503 where it is failing, so that a script need not read it."""
    require(request, "detection.view_heartbeat")
    snapshot = health.take()
    verdict = health.judge(snapshot)
    if wants_json(request) or request.GET.get("format") == "json":
        return JsonResponse(as_json(snapshot, verdict), status=503 if verdict.state == health.State.FAILING else 200)
    return render(request, "detection/system.html", _context(request, snapshot, verdict))


def _context(request: HttpRequest, snapshot: health.Snapshot, verdict: health.Verdict) -> dict[str, Any]:
    records = snapshot.records
    labels = dict(Camera.State.choices)
    cameras = [(state, labels[state], count) for state, count in records.cameras.items()] if records else []
    return {
        "snapshot": snapshot,
        "verdict": verdict,
        "records": records,
        "silent": {process.name for process in _silent(snapshot)},
        "cameras": [camera for camera in cameras if camera[2]],
        "waiting": _waiting(snapshot),
        "memory_limit": settings.WORKER_MAX_MEMORY_BYTES,
        "reserve_bytes": settings.DISK_RESERVE_BYTES,
        "flower": reverse("flower") if may_look(request.user) else "",
    }


def _silent(snapshot: health.Snapshot) -> list[Any]:
    processes = snapshot.records.processes if snapshot.records else ()
    return [process for process in processes if process.age_s > snapshot.stale_after_s]


def _waiting(snapshot: health.Snapshot) -> list[tuple[str, int]] | None:
    """The queues in which messages wait; None where the broker did not tell."""
    if snapshot.waiting is None:
        return None
    return [(queue, count) for queue in ALL_QUEUES if (count := snapshot.waiting.get(queue, 0))]
