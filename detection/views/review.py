"""Verdicts: plain form posts, which the page's script sends without leaving the page."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.views.decorators.http import require_POST

from detection.forms import VerdictForm
from detection.metrics.instruments import VERDICTS
from detection.models import EarlierResult, Sighting, Verdict
from detection.views.access import require, visible_or_404
from detection.views.cards import draw, for_cards
from detection.views.errors import wants_part
from detection.views.given import back
from detection.views.limits import limited
from detection.views.retention_wording import fate_words

REMOVED = "This sighting was removed with its media in the meantime."
OLD_RESULT = "This sighting is of an earlier result. Judge the media's newest one."
KEEPS = " Its media is kept while this verdict stands."
DONE = {"confirmed": "Confirmed.", "rejected": "Rejected.", "relabelled": "Relabelled."}


@require_POST
@limited("verdict")
def verdict(request: HttpRequest, pk: int) -> HttpResponse:
    sighting = _to_judge(request, pk)
    form = VerdictForm(request.POST)
    if not form.is_valid():
        return _answer(request, sighting, 422, form.sentence())
    given = form.cleaned_data
    try:
        sighting.judge(given["kind"], cast(User, request.user), given["label"], keeps_media=given["keep"])
    except EarlierResult:
        return _answer(request, sighting, 409, OLD_RESULT)
    except Sighting.DoesNotExist:
        raise Http404(REMOVED) from None
    VERDICTS.add(given["kind"])
    return _answer(request, sighting, 200, DONE[given["kind"]] + (KEEPS if given["keep"] else ""))


@require_POST
@limited("verdict")
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    sighting = _to_judge(request, pk)
    try:
        undone = sighting.undo(cast(User, request.user))
    except EarlierResult:
        return _answer(request, sighting, 409, OLD_RESULT)
    except Sighting.DoesNotExist:
        raise Http404(REMOVED) from None
    if undone:
        VERDICTS.add(Verdict.Kind.WITHDRAWN.value)
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
        if request.POST.get("part") == "card":
            rows = for_cards(Sighting.objects.filter(pk=sighting.pk))
            return HttpResponse(draw(request, rows, can_judge=True, back=request.POST.get("next", "")))
        row = Sighting.objects.select_related("media__camera", "analysis", "verdict__user").get(pk=sighting.pk)
        context = {"sighting": row, "media": row.media, "can_judge": True, "back": request.POST.get("next", "")}
        answer = render_to_string("detection/_item.html", context, request)
        # Its page says what becomes of the media.
        return HttpResponse(answer + render_to_string("detection/_fate.html", {"fate": fate_words(row.media)}))
    (messages.success if status == 200 else messages.error)(request, said)
    its_place = f"{sighting.media.get_absolute_url()}?sighting={sighting.pk}#sighting-{sighting.pk}"
    return redirect(back(request, its_place))
