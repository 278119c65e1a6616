"""What the lists share: a page of rows with what is said about each, in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from django.core.cache import caches
from django.core.paginator import Page, Paginator
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest

from detection.models import Analysis, Media, Sighting
from detection.models.failures import is_latest
from detection.models.forecast import Forecast, forecasts
from detection.views.access import visible

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """A media as the lists show it."""

    media: Media
    analysis: Analysis | None  # its latest
    sightings: int
    to_review: int
    forecast: Forecast | None  # of the analysis, while it is not over


class Counted(Paginator):
    """Pages of rows whose number is known already."""

    def __init__(self, rows: QuerySet, size: int, count: int) -> None:
        super().__init__(rows, size)
        self.count = count


def page_of(request: HttpRequest, rows: QuerySet, size: int, count: int | None = None) -> Page:
    """The page of ?page=, or the nearest there is."""
    paginator = Paginator(rows, size) if count is None else Counted(rows, size, count)
    return paginator.get_page(request.GET.get("page"))


LABELS_KEPT_S = 60


def remembered(request: HttpRequest, name: str, ask: Callable[[], T], seconds: int) -> T:
    """What a question of this person's about very many rows was answered lately; by this process, which is quickest."""
    found: T | None = caches["own"].get_or_set(f"list-{name}-{request.user.pk}", ask, seconds)
    return ask() if found is None else found


def entries(request: HttpRequest, rows: list[Media]) -> list[Entry]:
    """Each media with its latest analysis and its current sightings: two queries for all, and some where any runs."""
    analyses = {a.media_id: a for a in visible(request, Analysis).filter(is_latest(), media__in=rows)}
    counts = review_counts(visible(request, Sighting).filter(Sighting.current(), media__in=rows))
    ahead = forecasts(analyses.values())
    found = []
    for media in rows:
        analysis = analyses.get(media.pk)
        forecast = ahead.get(analysis.pk) if analysis else None
        found.append(Entry(media, analysis, *counts.get(media.pk, (0, 0)), forecast))
    return found


def review_counts(sightings: QuerySet[Sighting]) -> dict[int, tuple[int, int]]:
    """By media: how many of these sightings it has, and how many of them nobody has judged."""
    rows = sightings.values("media").annotate(all=Count("pk"), todo=Count("pk", filter=Q(verdict=None)))
    return {row["media"]: (row["all"], row["todo"]) for row in rows.order_by()}


def labels_in_use(request: HttpRequest) -> list[str]:
    """The labels that current sightings carry, or carried a minute ago, for the filter to offer."""
    rows = visible(request, Sighting).filter(Sighting.current()).order_by("shown_label")
    labels = rows.values_list("shown_label", flat=True).distinct()[:200]
    return remembered(request, "labels", lambda: list(labels), LABELS_KEPT_S)


def any_open(found: list[Entry]) -> bool:
    return any(entry.analysis is not None and not entry.analysis.is_over for entry in found)
