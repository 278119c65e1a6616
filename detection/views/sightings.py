"""The list of sightings, and their thumbnails."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from detection.forms import SightingFilter
from detection.models import Camera, Sighting
from detection.views.access import visible, visible_or_404
from detection.views.cards import draw, for_cards
from detection.views.limits import limited
from detection.views.listing import labels_in_use, page_of, remembered
from detection.views.serving import Served, serve

PAGE_SIZE = 48
COUNT_KEPT_S = 5


@require_safe
@limited("list")
def sightings(request: HttpRequest) -> HttpResponse:
    rows = visible(request, Sighting).filter(Sighting.current())
    form = SightingFilter(request.GET, cameras=visible(request, Camera))
    rows = form.narrow(rows)
    # Of all there are, the number may be some seconds old: it comes and goes with the cameras anyway.
    count = None if form.is_narrowed else remembered(request, "sightings", rows.count, COUNT_KEPT_S)
    page = page_of(request, for_cards(rows).order_by("-at", "-pk"), PAGE_SIZE, count)
    can_judge = request.user.has_perm("detection.add_verdict")
    context = {
        "form": form,
        "page": page,
        "cards": draw(request, page, can_judge=can_judge, back=request.get_full_path()),
        "filter": _filter(request, form, labels_in_use(request)),
        "can_judge": can_judge,
    }
    return render(request, "detection/sightings.html", context)


def _filter(request: HttpRequest, form: SightingFilter, labels: list[str]) -> str:
    """The form above the list; an empty one, which most see, takes a fifth of the page to draw and is remembered."""

    def draw_it() -> str:
        return render_to_string("detection/_filter.html", {"form": form, "labels": labels, "request": request})

    is_plain = form.is_valid() and not form.is_narrowed
    return remembered(request, "filter", draw_it, COUNT_KEPT_S) if is_plain else draw_it()


@require_safe
def sighting_thumbnail(request: HttpRequest, pk: int) -> HttpResponseBase:
    sighting = visible_or_404(request, Sighting, pk)
    if not sighting.thumbnail:
        raise Http404("This sighting has no thumbnail.")
    etag = f"thumbnail-{sighting.analysis_id}-{sighting.pk}"
    what = Served(sighting.thumbnail, "image/jpeg", etag, f"sighting-{pk}.jpg", max_age_s=600)
    return serve(request, what)
