"""What the page of one media shows: which result, its sightings, its facts."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import Max
from django.http import Http404, HttpRequest

from detection.models import Analysis, Capture, Media, Model, Proxy, Sighting
from detection.models.forecast import forecasts
from detection.views.access import visible
from detection.views.tracks import bars, colour_of, player_data

LIST_SIZE = 100
LANE_PX = 12


def page_context(request: HttpRequest, media: Media) -> dict[str, Any]:
    rows = visible(request, Analysis).filter(media=media).select_related("model", "requested_by")
    analyses = list(rows.order_by("-requested_at", "-pk"))
    shown = _shown(request, analyses)
    latest = analyses[0] if analyses else None
    sightings = _sightings(request, shown)
    visible_captures = Capture.objects.visible_to(request.user).filter(media=media)
    context = {
        "media": media,
        "analyses": analyses,
        "shown": shown,
        "latest": latest,
        "forecasts": forecasts(analyses),
        "can_analyse": latest.is_over if latest else _can_look_at(media),
        "analysis_query": request.GET.get("analysis", ""),
        # A newer analysis than the one shown has something to say of its own: how far it is, or why it failed.
        "news": latest if latest and _has_news(latest, shown) and "analysis" not in request.GET else None,
        "current": next((analysis for analysis in analyses if analysis.is_current), None),
        "can_judge": bool(shown and shown.is_current) and request.user.has_perm("detection.add_verdict"),
        "facts": _facts(shown) if shown else None,
        # The first: a frozen camera brings the very same media again.
        "capture": visible_captures.order_by("planned_at").first() if media.camera_id else None,
        "proxy": None if media.browser_plays else Proxy.objects.filter(media=media).first(),
        "labels": sorted({*(shown.model.labels if shown else []), *(s.shown_label for s in sightings)}),
    }
    return context | _sighting_context(request, media, shown, sightings)


def _can_look_at(media: Media) -> bool:
    model = Model.objects.filter(is_active=True).first()
    return model is not None and (model.looks_at_pictures or media.kind == Media.Kind.CLIP)


def _has_news(latest: Analysis, shown: Analysis | None) -> bool:
    return latest is not shown and latest.state != Analysis.State.DONE


def _shown(request: HttpRequest, analyses: list[Analysis]) -> Analysis | None:
    """The one that was asked for, else the current result, else the latest."""
    if "analysis" in request.GET:
        for analysis in analyses:
            if str(analysis.pk) == request.GET["analysis"]:
                return analysis
        raise Http404("This media has no such analysis.")
    return next((a for a in analyses if a.is_current), analyses[0] if analyses else None)


def _sightings(request: HttpRequest, shown: Analysis | None) -> list[Sighting]:
    if shown is None or shown.state != Analysis.State.DONE:
        return []
    rows = visible(request, Sighting).filter(analysis=shown)
    return list(rows.select_related("verdict__user").order_by("start_s", "number"))


def _sighting_context(
    request: HttpRequest, media: Media, shown: Analysis | None, sightings: list[Sighting]
) -> dict[str, Any]:
    for sighting in sightings:
        sighting.media = media
    selected = next((s for s in sightings if str(s.pk) == request.GET.get("sighting")), None)
    pages = Paginator(sightings, LIST_SIZE)
    number = sightings.index(selected) // LIST_SIZE + 1 if selected else request.GET.get("page")
    placed = bars(sightings, media.duration_s) if media.kind == Media.Kind.CLIP else []
    lanes = max((bar.lane for bar in placed), default=-1) + 1
    # A box stays for half a sampling step before and after its track, so that a track of one point can be seen.
    slack_s = 0.5 / shown.parameters.fps if shown and shown.parameters.fps else 0.1
    return {
        "sightings": sightings,
        "page": pages.get_page(number),
        "selected": selected,
        "to_review": sum(1 for sighting in sightings if not sighting.review),
        "bars": placed,
        "lane_px": LANE_PX,
        "bars_height": lanes * LANE_PX,
        "ticks": _ticks(media.duration_s),
        "boxes": [(s, s.best_box, colour_of(s.shown_label)) for s in sightings]
        if media.kind == Media.Kind.IMAGE
        else [],
        "player": player_data(media, sightings, slack_s),
    }


def _ticks(duration_s: float) -> list[tuple[float, float]]:
    """Marks of the time line: seconds, and their place in per cent; at most ten, at round times."""
    if duration_s <= 0:
        return []
    step = next((s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600) if duration_s / s <= 10), 7200)
    return [(at, round(100 * at / duration_s, 3)) for at in range(0, int(duration_s) + 1, step)]


def _facts(shown: Analysis) -> dict[str, Any]:
    """Where the result comes from, beyond what its row says: who worked on its chunks, and how often."""
    chunks = shown.chunks.all()
    workers = {shown.worker, *chunks.values_list("worker", flat=True)} - {""}
    return {
        "workers": sorted(workers),
        "chunks": chunks.count(),
        "most_attempts": max(shown.attempts, chunks.aggregate(most=Max("attempts"))["most"] or 0),
    }
