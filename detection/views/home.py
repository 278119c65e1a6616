"""The first page: what came in, is running, waits for review, or could not be done; and how the cameras are."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from detection.models import Analysis, Camera, CameraEvent, Media, Sighting
from detection.models.clock import now
from detection.models.failures import to_do
from detection.models.forecast import forecasts
from detection.views.access import visible
from detection.views.cameras import worst_first
from detection.views.cards import draw, for_cards
from detection.views.limits import limited
from detection.views.listing import entries

SHOWN = 6
LATEST = 10
EVENTS = 5


@require_safe
@limited("list")
def home(request: HttpRequest) -> HttpResponse:
    media = visible(request, Media)
    analyses = visible(request, Analysis)
    to_review = visible(request, Sighting).filter(Sighting.current(), verdict=None)
    running = analyses.filter(Analysis.UNFINISHED)
    shown = list(running.select_related("media", "model").order_by("requested_at")[:SHOWN])
    failed = to_do(analyses)
    review_count = to_review.count()
    context: dict[str, Any] = {
        "media_count": media.count(),
        "running": shown,
        "forecasts": forecasts(shown),
        "running_count": running.count(),
        "failed": failed.select_related("media").order_by("-pk")[:3],
        "failed_count": failed.count(),
        "review_count": review_count,
        "has_more_to_review": review_count > SHOWN,
        "to_review": draw(request, for_cards(to_review).order_by("-at", "-pk")[:SHOWN], can_judge=False),
        "latest": entries(request, list(media.order_by("-created_at", "-pk")[:LATEST])),
        "has_example": media.filter(is_example=True).exists(),
    }
    return render(request, "detection/home.html", context | _cameras(request))


def _cameras(request: HttpRequest) -> dict[str, Any]:
    """How the cameras are doing; nothing where there are none, or for an account that may not see them."""
    cameras = Camera.objects.visible_to(request.user)
    count = cameras.count()
    if not count:
        return {"camera_count": 0}
    in_trouble = cameras.filter(state__in=Camera.IN_TROUBLE)
    events = CameraEvent.objects.visible_to(request.user).select_related("camera")
    return {
        "now": now(),
        "camera_count": count,
        "trouble_count": in_trouble.count(),
        "in_trouble": worst_first(in_trouble.defer("address"))[:SHOWN],
        "events": events.order_by("-at", "-pk")[:EVENTS],
    }
