"""The cameras: the grid of their latest pictures, the page of one, and what a person does with one."""

from __future__ import annotations

from typing import Any, cast
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.db.models.functions import Lower
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from detection.fields import WrongKey
from detection.forms.camera_filter import CameraFilter
from detection.models import Camera, CameraEvent, Capture, Media
from detection.models.clock import now
from detection.models.coverage import is_forgotten
from detection.views.access import require, visible, visible_or_404
from detection.views.camera_wording import schedule_words
from detection.views.errors import wants_part
from detection.views.limits import limited
from detection.views.listing import entries, page_of
from detection.views.retention_wording import camera_retention_words
from detection.views.strips import strips_of
from workers import tasks

PAGE_SIZE = 48
CAPTURES = 10
EVENTS = 10
MEDIA = 8
WORST_FIRST = (Camera.State.OFFLINE, Camera.State.FROZEN, Camera.State.FAILING)

NO_KEY = "It cannot be decrypted: CAMERA_KEYS lacks the key it was entered under."
NO_ADDRESS = "This camera has no address yet. Edit it first."
ASKED_BEFORE = "A picture of this camera was asked for already. Wait until it has come, or has failed."
QUEUE_AWAY = (
    "A picture is asked for, but the queue cannot be reached just now. It is taken if the queue is back within a "
    "minute; else ask again."
)


@require_safe
@limited("list")
def cameras(request: HttpRequest) -> HttpResponse:
    rows = visible(request, Camera)
    form = CameraFilter(request.GET)
    shown = form.narrow(rows)
    page = page_of(request, worst_first(shown.select_related("last_media").defer("address")), PAGE_SIZE)
    context = {
        "form": form,
        "page": page,
        "now": now(),
        "trouble_count": shown.filter(state__in=Camera.IN_TROUBLE).count(),
    }
    return render(request, "detection/cameras.html", context)


def worst_first(rows: QuerySet[Camera]) -> QuerySet[Camera]:
    """Those in trouble, the gravest before the others; then all by name."""
    ranks = [When(state=state, then=Value(rank)) for rank, state in enumerate(WORST_FIRST)]
    rank = Case(*ranks, default=Value(len(ranks)), output_field=IntegerField())
    return rows.order_by(rank, Lower("name"), "pk")


@require_safe
@limited("list")
def camera_page(request: HttpRequest, pk: int) -> HttpResponse:
    """The page of one; asked for as a part, again and again, only what changes by the second."""
    camera = visible_or_404(request, Camera, pk, "last_media")
    moment = now()
    context: dict[str, Any] = {
        "camera": camera,
        "now": moment,
        "captures": _recent(request, camera),
        "schedule": schedule_words(camera),
        "retention": camera_retention_words(camera),
        "place": _place(camera),
        "zone": _own_zone(camera),
        "is_forgotten": is_forgotten(camera, moment),
    }
    if wants_part(request):
        return render(request, "detection/_camera_live.html", context)
    media = visible(request, Media).filter(camera=camera)
    context |= {
        "strips": strips_of(camera, moment, timezone.get_current_timezone()),
        "events": visible(request, CameraEvent).filter(camera=camera)[:EVENTS],
        "entries": entries(request, list(media.select_related("camera").order_by("-at", "-pk")[:MEDIA])),
    }
    return render(request, "detection/camera.html", context)


def _recent(request: HttpRequest, camera: Camera) -> QuerySet[Capture]:
    rows = visible(request, Capture).filter(camera=camera).select_related("media", "requested_by")
    return rows.order_by("-planned_at")[:CAPTURES]


def _place(camera: Camera) -> str:
    try:
        return camera.place
    except WrongKey:
        return NO_KEY


def _own_zone(camera: Camera) -> ZoneInfo | None:
    """The camera's time zone, where it is not the site's."""
    return None if camera.time_zone == timezone.get_current_timezone_name() else camera.zone


@require_POST
def camera_capture(request: HttpRequest, pk: int) -> HttpResponse:
    """A picture now, whatever the schedule says; of a paused camera too."""
    camera = _to_change(request, pk)
    if not camera.address:
        messages.warning(request, NO_ADDRESS)
        return redirect(camera)
    try:
        capture = Capture.ask_once(camera, cast(User, request.user))
    except Camera.DoesNotExist:
        raise Http404("This camera was removed in the meantime.") from None
    if capture is None:
        messages.warning(request, ASKED_BEFORE)
    elif tasks.send_capture(capture):
        messages.success(request, "A picture is asked for. It appears here within seconds.")
    else:
        messages.warning(request, QUEUE_AWAY)
    return redirect(camera)


@require_POST
def camera_pause(request: HttpRequest, pk: int) -> HttpResponse:
    camera = _to_change(request, pk)
    if camera.pause():
        messages.success(request, f"{camera} is paused: no pictures are taken until it is resumed.")
    else:
        messages.warning(request, f"{camera} was paused before.")
    return redirect(camera)


@require_POST
def camera_resume(request: HttpRequest, pk: int) -> HttpResponse:
    camera = _to_change(request, pk)
    if not camera.address:
        messages.warning(request, NO_ADDRESS)
    elif camera.resume():
        messages.success(request, f"{camera} takes pictures again, by its schedule.")
    else:
        messages.warning(request, f"{camera} was not paused.")
    return redirect(camera)


def _to_change(request: HttpRequest, pk: int) -> Camera:
    camera = visible_or_404(request, Camera, pk)
    require(request, "detection.change_camera")
    return camera
