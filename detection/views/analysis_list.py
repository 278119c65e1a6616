"""All analyses: what waits and runs, what failed and why, and doing something about many of them at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.db.models import Count, Max, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST, require_safe

from detection.forms.analysis_filter import AnalysisFilter
from detection.models import Analysis, Camera, Chunk, Model, Sighting
from detection.models.failures import Failures, by_kind, is_latest, to_retry
from detection.models.forecast import Forecast, forecasts
from detection.views.access import require, visible
from detection.views.analysis_wording import kind_words
from detection.views.given import back, whole_number
from detection.views.limits import limited
from detection.views.listing import page_of
from detection.views.sending import WAITS
from detection.views.wording import counted
from workers import tasks

PAGE_SIZE = 50
CHOOSE = "Choose at least one analysis first."


@dataclass(frozen=True, slots=True)
class Row:
    """An analysis as the list shows it."""

    analysis: Analysis
    forecast: Forecast | None
    attempts: int
    sightings: int
    is_history: bool  # a later one of the same media has taken its place

    @property
    def can_cancel(self) -> bool:
        return not self.analysis.is_over

    @property
    def can_retry(self) -> bool:
        failed = self.analysis.state in (Analysis.State.FAILED, Analysis.State.CANCELLED)
        return failed and not self.is_history


@dataclass(frozen=True, slots=True)
class Group:
    """The failures of one kind, and the query of the list of them."""

    failures: Failures
    query: str


@dataclass(frozen=True, slots=True)
class Whole:
    """What could be done with all that fit the filter, as they are now: what comes or fails later is not meant."""

    query: str
    to_cancel: int
    newest: int | None
    to_retry: int
    until: datetime | None


@require_safe
@limited("list")
def analyses(request: HttpRequest) -> HttpResponse:
    rows = visible(request, Analysis)
    form = _filter(request, request.GET)
    failures = by_kind(form.narrow_media(rows))
    form.offer_kinds([(one.kind, kind_words(one.kind)) for one in failures])
    narrowed = form.narrow(rows)
    shown = narrowed.select_related("media__camera", "model").defer("error_detail").annotate(is_latest=is_latest())
    page = page_of(request, shown.order_by("-pk"), PAGE_SIZE)
    found = _rows(list(page.object_list))
    context = {
        "form": form,
        "page": page,
        "rows": found,
        "can_choose": any(row.can_cancel or row.can_retry for row in found),
        "groups": [Group(one, _query(form, state="failed", kind=one.kind)) for one in failures],
        "failed_count": sum(one.count for one in failures),
        "whole": _whole(form, narrowed),
        "can_run": request.user.has_perm("detection.run_analysis"),
    }
    return render(request, "detection/analyses.html", context)


@require_POST
def analyses_retry(request: HttpRequest) -> HttpResponse:
    """Those that were chosen, or all that fitted a filter and had failed by then."""
    require(request, "detection.run_analysis")
    rows, meant = _meant(request)
    if "filter" in request.POST:
        rows = to_retry(rows).filter(finished_at__lte=_until(request))
    waiting: list[Analysis] = []

    def send(analysis: Analysis) -> bool:
        is_sent = tasks.send_analysis(analysis)
        if not is_sent:
            waiting.append(analysis)
        return is_sent

    if meant:
        opened = Analysis.retry_many(rows, send)
        left = (
            "had been opened again before, or removed" if "filter" in request.POST else "neither failed nor cancelled"
        )
        _tell(request, opened, meant, "tried again", left)
        if waiting:
            messages.warning(request, WAITS)
    else:
        messages.warning(request, CHOOSE)
    return redirect(back(request, reverse("analyses")))


@require_POST
def analyses_cancel(request: HttpRequest) -> HttpResponse:
    """Those that were chosen, or all that fitted a filter and were there by then."""
    require(request, "detection.run_analysis")
    rows, meant = _meant(request)
    if "filter" in request.POST:
        rows = rows.filter(pk__lte=_number(request.POST.get("newest", "")))
    if meant:
        _tell(request, Analysis.cancel_many(rows.filter(Analysis.UNFINISHED)), meant, "cancelled", "over before")
    else:
        messages.warning(request, CHOOSE)
    return redirect(back(request, reverse("analyses")))


def _filter(request: HttpRequest, data: QueryDict) -> AnalysisFilter:
    return AnalysisFilter(data, cameras=visible(request, Camera), models=Model.objects.order_by("name"))


def _query(form: AnalysisFilter, **more: str) -> str:
    """The address's query for this filter, with another state and kind."""
    query = QueryDict(mutable=True)
    fields = (*form.fields,) if not more else ("name", "camera", "model")
    query.update({name: form.data[name] for name in fields if form.data.get(name) and name not in form.errors})
    query.update(more)
    return query.urlencode()


def _rows(found: list[Analysis]) -> list[Row]:
    """With what is said of each, in a fixed number of queries."""
    attempts = dict(_by_analysis(Chunk, found).annotate(Max("attempts")))
    sightings = dict(_by_analysis(Sighting, found).annotate(Count("pk")))
    ahead = forecasts(found)
    return [
        Row(
            analysis=analysis,
            forecast=ahead.get(analysis.pk),
            attempts=max(analysis.attempts, attempts.get(analysis.pk, 0)),
            sightings=sightings.get(analysis.pk, 0),
            is_history=not analysis.is_latest,
        )
        for analysis in found
    ]


def _by_analysis(rows: type[Chunk] | type[Sighting], found: list[Analysis]) -> QuerySet[Any, tuple[Any, ...]]:
    return rows._default_manager.filter(analysis__in=found).order_by().values_list("analysis")


def _whole(form: AnalysisFilter, narrowed: QuerySet[Any]) -> Whole:
    to_cancel = narrowed.filter(Analysis.UNFINISHED).aggregate(count=Count("pk"), newest=Max("pk"))
    again = to_retry(narrowed).aggregate(count=Count("pk"), until=Max("finished_at"))
    return Whole(_query(form), to_cancel["count"], to_cancel["newest"], again["count"], again["until"])


def _meant(request: HttpRequest) -> tuple[QuerySet[Any], int]:
    """The rows that the form speaks of, and how many there were on the page it was sent from."""
    rows = visible(request, Analysis)
    if "filter" not in request.POST:
        chosen = {_number(given) for given in request.POST.getlist("analysis")}
        return rows.filter(pk__in=chosen), len(chosen)
    form = _filter(request, QueryDict(request.POST["filter"]))
    if not form.is_valid():  # the rest of the filter would fit more than was seen
        raise BadRequest("; ".join(form.sentences()))
    return form.narrow(rows), _number(request.POST.get("count", ""))


def _number(given: str) -> int:
    number = whole_number(given)
    if number is None:
        raise BadRequest(f"not a number: {given[:30]}")
    return number


def _until(request: HttpRequest) -> datetime:
    try:
        until = parse_datetime(request.POST.get("until", ""))
    except ValueError:
        until = None
    if until is None or until.tzinfo is None:
        raise BadRequest("not a time")
    return until


def _tell(request: HttpRequest, done: int, meant: int, what: str, else_why: str) -> None:
    """How many were acted on, and why the others were not."""
    left = max(0, meant - done)
    said = f"{counted(done, 'analysis is', 'analyses are')} {what}." if done else f"Nothing is {what}."
    if left:
        said += f" {counted(left, 'is', 'are')} left as {'it was' if left == 1 else 'they were'}: {else_why}."
    (messages.success if done else messages.warning)(request, said)
