"""The first page: what came in, what is running, what waits for review, what could not be done."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from detection.models import Analysis, Media, Sighting
from detection.views.access import visible
from detection.views.listing import entries

SHOWN = 6
LATEST = 10


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    media = visible(request, Media)
    analyses = visible(request, Analysis)
    to_review = visible(request, Sighting).filter(Sighting.current(), verdict=None)
    running = analyses.filter(state__in=[Analysis.State.QUEUED, Analysis.State.RUNNING])
    failed = analyses.filter(state=Analysis.State.FAILED)
    context: dict[str, Any] = {
        "media_count": media.count(),
        "running": running.select_related("media", "model").order_by("requested_at")[:SHOWN],
        "running_count": running.count(),
        "failed": failed.select_related("media")[:3],
        "failed_count": failed.count(),
        "review_count": to_review.count(),
        "to_review": to_review.select_related("media__camera", "verdict").order_by("-at", "-pk")[:SHOWN],
        "latest": entries(request, list(media.order_by("-created_at", "-pk")[:LATEST])),
        "has_example": media.filter(is_example=True).exists(),
    }
    return render(request, "detection/home.html", context)
