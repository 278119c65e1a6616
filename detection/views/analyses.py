"""Watching an analysis, and what a person may do with it."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from detection.models import Analysis, Media
from detection.models.forecast import forecasts
from detection.views.access import require, visible_or_404
from detection.views.errors import wants_part
from detection.views.given import back
from detection.views.sending import send


@require_safe
def analysis_progress(request: HttpRequest, pk: int) -> HttpResponse:
    """The strip that says how far it is; asked for again and again while it runs.

    Once it is over the page reloads and is the result; with ?keep=1, where the page shows an earlier result already,
    it offers the new one instead of pulling away what someone is looking at.
    """
    analysis = visible_or_404(request, Analysis, pk, "media", "model")
    keep = request.GET.get("keep") == "1"
    context = {"analysis": analysis, "keep": keep, "forecasts": forecasts([analysis])}
    response = render(request, "detection/_progress.html", context)
    if analysis.is_over and wants_part(request) and not keep:
        response["HX-Refresh"] = "true"
    return response


@require_POST
def analysis_retry(request: HttpRequest, pk: int) -> HttpResponse:
    analysis = _to_run(request, pk)
    if analysis.retry():
        analysis.refresh_from_db()
        messages.success(request, send(analysis) or f"The analysis of {analysis.media} is tried again.")
    else:
        messages.warning(request, "There is nothing to retry: this analysis neither failed nor was cancelled.")
    return redirect(back(request, analysis.media.get_absolute_url()))


@require_POST
def analysis_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    analysis = _to_run(request, pk)
    if analysis.cancel():
        messages.success(request, f"The analysis of {analysis.media} is cancelled.")
    else:
        messages.warning(request, "There is nothing to cancel: this analysis was over before.")
    return redirect(back(request, analysis.media.get_absolute_url()))


@require_POST
def media_analyse(request: HttpRequest, pk: int) -> HttpResponse:
    """An analysis with the model that is active now: the first of this media, or a further one."""
    media = visible_or_404(request, Media, pk)
    require(request, "detection.run_analysis")
    with transaction.atomic():
        # Locked, so that of two clicks at once the second one finds what the first has asked for.
        if Media.objects.select_for_update().filter(pk=pk).first() is None:  # removed in this moment
            raise Http404
        is_under_way = Analysis.objects.filter(Analysis.UNFINISHED, media=media).exists()
        analysis = None if is_under_way else Analysis.request(media, user=cast(User, request.user))
    if analysis is None:
        messages.warning(request, "An analysis of this media is under way already. Wait for it, or cancel it first.")
    else:
        messages.success(request, send(analysis) or f"A new analysis with {analysis.model} is on its way.")
    return redirect(media)


def _to_run(request: HttpRequest, pk: int) -> Analysis:
    analysis = visible_or_404(request, Analysis, pk, "media")
    require(request, "detection.run_analysis")
    return analysis
