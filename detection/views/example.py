"""The example that the first start brings: gone with one click."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from detection.models import Media
from detection.views.access import require, visible


@require_POST
def example_remove(request: HttpRequest) -> HttpResponse:
    require(request, "detection.delete_media")
    examples = list(visible(request, Media).filter(is_example=True))
    for media in examples:
        media.remove()
    said = "The example is removed." if examples else "The example was removed before."
    messages.success(request, said)
    return redirect("home")
