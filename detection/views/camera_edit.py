"""Entering a camera, changing it, and removing it."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from detection.forms import CameraForm
from detection.forms.panel import Panel
from detection.models import Camera, Media
from detection.views import wording
from detection.views.access import require, visible_or_404
from detection.views.trials import PARAMETERS, title_of


@sensitive_post_parameters(*PARAMETERS)
@never_cache
@require_http_methods(["GET", "POST"])
def camera_new(request: HttpRequest) -> HttpResponse:
    require(request, "detection.add_camera")
    return _form(request, None)


@sensitive_post_parameters(*PARAMETERS)
@never_cache
@require_http_methods(["GET", "POST"])
def camera_edit(request: HttpRequest, pk: int) -> HttpResponse:
    camera = visible_or_404(request, Camera, pk)
    require(request, "detection.change_camera")
    return _form(request, camera)


def _form(request: HttpRequest, camera: Camera | None) -> HttpResponse:
    user = request.user if isinstance(request.user, User) else None
    title = title_of(camera)  # before the form puts what is typed onto the row
    form = CameraForm(request.POST if request.method == "POST" else None, instance=camera, user=user)
    saved = _saved(form) if request.method == "POST" and form.is_valid() else None
    if saved is not None:
        messages.success(request, _said(saved, is_new=camera is None))
        return redirect(saved)
    context = {"form": form, "camera": camera, "panel": Panel(form.tried), "title": title}
    return render(request, "detection/camera_form.html", context, status=422 if form.is_bound else 200)


def _saved(form: CameraForm) -> Camera | None:
    """The camera, or None where somebody else took its name in the same moment. 404 where somebody removed it."""
    try:
        return form.save()
    except Camera.DoesNotExist:
        raise Http404("This camera was removed in the meantime.") from None
    except IntegrityError:
        form.add_error("name", form.Meta.error_messages["name"]["unique"])
        return None


def _said(camera: Camera, *, is_new: bool) -> str:
    what = "is added" if is_new else "is changed"
    if not camera.is_enabled:
        return f"{camera} {what}. It is paused: no pictures are taken until it is resumed."
    if camera.next_at is None:
        return f"{camera} {what}. No picture is planned within the next year."
    return f"{camera} {what}. Its next picture is planned for {wording.wall_clock(camera.next_at)}."


@require_http_methods(["GET", "POST"])
def camera_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Asks first: what is removed cannot be brought back. Its pictures stay."""
    camera = visible_or_404(request, Camera, pk)
    require(request, "detection.delete_camera")
    if request.method == "GET":
        context = {
            "camera": camera,
            "captures": camera.captures.count(),
            "media": Media.objects.filter(camera=camera).count(),
        }
        return render(request, "detection/camera_remove.html", context)
    name = camera.name
    camera.remove()
    messages.success(request, f"{name} is removed. Its pictures stay, with their sightings and verdicts.")
    return redirect("cameras")
