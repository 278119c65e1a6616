"""Trying a camera before it is saved: one picture, or the reason why there is none."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from detection.fields import WrongKey
from detection.forms import CameraForm
from detection.forms.panel import Panel
from detection.forms.source import NOT_SHOWN
from detection.models import Camera, Trial
from detection.models.trial import KEPT
from detection.sources import Source
from detection.views.access import MAY_NOT, require, visible_or_404
from detection.views.errors import wants_part
from detection.views.given import whole_number
from detection.views.limits import limited
from workers import tasks

AT_ONCE = 5  # unfinished trials of one user
TOO_MANY = f"{AT_ONCE} tries of yours are under way already. Wait until one of them is over."
UNREADABLE = (
    "The stored address cannot be decrypted: its key is not in CAMERA_KEYS any more. Enter the address again, or put "
    "the key back."
)
PARAMETERS = ("address", "username", "password")


@sensitive_post_parameters(*PARAMETERS)
@never_cache
@require_POST
@limited("trial")
def trial_new(request: HttpRequest) -> HttpResponse:
    """Asks for a picture from what is entered. A part of the page for htmx, else the whole form with it."""
    camera = _camera(request)
    page = {"camera": camera, "title": title_of(camera)}
    user = _person(request)
    form = CameraForm(request.POST, instance=camera, user=user, only_source=True)
    if not form.is_valid():
        problems = [sentence for _, sentence in form.sentences() if sentence != NOT_SHOWN]
        return _answer(request, form, page, Panel(problems=problems), 422)
    if "look" in request.POST and form.tried is not None:
        return _answer(request, form, page, Panel(form.tried), 200)
    try:
        trial = _ask(form.source_to_try(), user)
    except WrongKey:
        return _answer(request, form, page, Panel(problems=[UNREADABLE]), 422)
    if trial is None:
        return _answer(request, form, page, Panel(form.tried, problems=[TOO_MANY]), 429)
    tasks.send_trial(trial)
    trial.refresh_from_db()
    return _answer(request, form, page, Panel(trial), 200)


@never_cache
@require_safe
def trial(request: HttpRequest, pk: int) -> HttpResponse:
    """How it is going; asked for again and again. Nothing new to say is no content, so that nothing is said twice."""
    panel = Panel(_own_or_404(request, pk))
    if request.GET.get("seen") == panel.stage:
        return HttpResponse(status=204)
    return render(request, "detection/_trial.html", {"panel": panel})


@never_cache
@require_safe
def trial_picture(request: HttpRequest, pk: int) -> HttpResponse:
    trial = _own_or_404(request, pk)
    if not trial.picture:
        raise Http404("This trial has no picture, or not yet.")
    headers = {"X-Content-Type-Options": "nosniff", "Content-Disposition": 'inline; filename="trial.jpg"'}
    return HttpResponse(bytes(trial.picture), content_type="image/jpeg", headers=headers)


def _ask(source: Source, user: User) -> Trial | None:
    """Makes the trial, unless this user has enough of them under way."""
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # two requests at once must not both find one place left
        under_way = Trial.objects.filter(
            requested_by=user,
            state__in=(Trial.State.QUEUED, Trial.State.RUNNING),
            requested_at__gt=Now() - KEPT,
        )
        return Trial.ask(source, user) if under_way.count() < AT_ONCE else None


def _answer(request: HttpRequest, form: CameraForm, page: dict[str, Any], panel: Panel, status: int) -> HttpResponse:
    if wants_part(request):
        return render(request, "detection/_trial.html", {"panel": panel}, status=status)
    return render(request, "detection/camera_form.html", {"form": form, "panel": panel, **page}, status=status)


def title_of(camera: Camera | None) -> str:
    return f"Change {camera.name}" if camera else "Add a camera"


def _camera(request: HttpRequest) -> Camera | None:
    """The camera that is edited, whose stored address counts where none is entered; none for a new one."""
    given = request.GET.get("camera", "")
    if not given:
        require(request, "detection.add_camera")
        return None
    number = whole_number(given)
    if number is None:
        raise Http404("There is no such camera.")
    camera = visible_or_404(request, Camera, number)
    require(request, "detection.change_camera")
    return camera


def _person(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied(MAY_NOT["detection.add_camera"])
    return request.user


def _own_or_404(request: HttpRequest, pk: int) -> Trial:
    """The trial of this very user. What another one tries is not there for them."""
    if not request.user.has_perm("detection.change_camera"):
        require(request, "detection.add_camera")
    trial = Trial.of(_person(request), pk)
    if trial is None:
        raise Http404(f"There is no trial {pk}.")
    return trial
