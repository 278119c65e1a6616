"""Verdicts: plain form posts, which the page's script sends without leaving the page."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from detection.forms import VerdictForm
from detection.models import EarlierResult, Sighting
from detection.views.access import require, visible_or_404
from detection.views.errors import wants_part

PARTS = {"item": "detection/_item.html", "card": "detection/_sighting_card.html"}
OLD_RESULT = "This sighting is of an earlier result. Judge the media's newest one."
DONE = {"confirmed": "Confirmed.", "rejected": "Rejected.", "relabelled": "Relabelled."}


@require_POST
def verdict(request: HttpRequest, pk: int) -> HttpResponse:
    sighting = _to_judge(request, pk)
    form = VerdictForm(request.POST)
    if not form.is_valid():
        return _answer(request, sighting, 422, form.sentence())
    kind = form.cleaned_data["kind"]
    try:
        sighting.judge(kind, cast(User, request.user), label=form.cleaned_data["label"])
    except EarlierResult:
        return _answer(request, sighting, 409, OLD_RESULT)
    return _answer(request, sighting, 200, DONE[kind])


@require_POST
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    sighting = _to_judge(request, pk)
    try:
        undone = sighting.undo(cast(User, request.user))
    except EarlierResult:
        return _answer(request, sighting, 409, OLD_RESULT)
    return _answer(request, sighting, 200, "The verdict is undone." if undone else "There was no verdict to undo.")


def _to_judge(request: HttpRequest, pk: int) -> Sighting:
    sighting = visible_or_404(request, Sighting, pk, "media", "analysis")
    require(request, "detection.add_verdict")
    return sighting


def _answer(request: HttpRequest, sighting: Sighting, status: int, said: str) -> HttpResponse:
    """To the script: the sighting as it is now, or the sentence that says what is wrong. To a form: its page again."""
    if wants_part(request):
        if status != 200:
            return HttpResponse(said, status=status, content_type="text/plain; charset=utf-8")
        part = PARTS.get(request.POST.get("part", ""), PARTS["item"])
        row = Sighting.objects.select_related("media__camera", "analysis", "verdict__user").get(pk=sighting.pk)
        context = {"sighting": row, "media": row.media, "can_judge": True, "back": request.POST.get("next", "")}
        return render(request, part, context)
    (messages.success if status == 200 else messages.error)(request, said)
    return redirect(_back(request, sighting))


def _back(request: HttpRequest, sighting: Sighting) -> str:
    back = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        return back
    return f"{sighting.media.get_absolute_url()}?sighting={sighting.pk}#sighting-{sighting.pk}"
