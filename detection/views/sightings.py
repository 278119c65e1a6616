"""The list of sightings, and their thumbnails."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from detection.forms import SightingFilter
from detection.models import Camera, Sighting
from detection.views.access import visible, visible_or_404
from detection.views.listing import labels_in_use, page_of
from detection.views.serving import Served, serve

PAGE_SIZE = 48


@require_safe
def sightings(request: HttpRequest) -> HttpResponse:
    rows = visible(request, Sighting).filter(Sighting.current())
    form = SightingFilter(request.GET, cameras=visible(request, Camera))
    rows = form.narrow(rows).select_related("media__camera", "analysis", "verdict__user").defer("path")
    context = {
        "form": form,
        "page": page_of(request, rows.order_by("-at", "-pk"), PAGE_SIZE),
        "labels": labels_in_use(request),
        "can_judge": request.user.has_perm("detection.add_verdict"),
    }
    return render(request, "detection/sightings.html", context)


@require_safe
def sighting_thumbnail(request: HttpRequest, pk: int) -> HttpResponseBase:
    sighting = visible_or_404(request, Sighting, pk)
    if not sighting.thumbnail:
        raise Http404("This sighting has no thumbnail.")
    etag = f"thumbnail-{sighting.analysis_id}-{sighting.pk}"
    what = Served(sighting.thumbnail, "image/jpeg", etag, f"sighting-{pk}.jpg", max_age_s=600)
    return serve(request, what)
