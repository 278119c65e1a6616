"""The failed analyses that somebody has something to do about, by what went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet

from detection.models.analysis import Analysis

NO_KIND = "-"  # what stands for it in an address


@dataclass(frozen=True, slots=True)
class Failures:
    """Those of one kind. ``until`` is when the latest of them failed: what fails later is not among them."""

    kind: str
    count: int
    until: datetime
    error: str  # the sentence of one of them
    is_same: bool  # whether it is the sentence of all


def is_latest() -> Q:
    """That no later analysis of its media was asked for. What failed before that is history, whatever came after."""
    later = Q(requested_at__gt=OuterRef("requested_at"))
    later |= Q(requested_at=OuterRef("requested_at"), pk__gt=OuterRef("pk"))
    return Q(~Exists(Analysis.objects.filter(later, media=OuterRef("media"))))


def to_do(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Those of the rows that failed, and that nothing has come after."""
    return rows.filter(is_latest(), state=Analysis.State.FAILED)


def to_retry(rows: QuerySet[Any]) -> QuerySet[Any]:
    """As ``to_do``, with those that were cancelled."""
    return rows.filter(is_latest(), state__in=[Analysis.State.FAILED, Analysis.State.CANCELLED])


def of_kind(rows: QuerySet[Any], kind: str) -> QuerySet[Any]:
    """Those of the rows with this kind of error, as an address or ``Failures`` says it."""
    return rows.filter(error_kind="" if kind == NO_KIND else kind)


def by_kind(rows: QuerySet[Any]) -> list[Failures]:
    """The failures among these rows, the most frequent kind first."""
    sums = {
        "count": Count("pk"),
        "until": Max("finished_at"),
        "error_": Max("error"),
        "errors": Count("error", distinct=True),
    }
    groups = to_do(rows).order_by().values(kind=F("error_kind")).annotate(**sums)
    return [
        Failures(group["kind"] or NO_KIND, group["count"], group["until"], group["error_"], group["errors"] == 1)
        for group in groups.order_by("-count", "kind")
    ]
