"""Who may do what: each helper returns what was asked for, or raises 403 or 404."""

from __future__ import annotations

from typing import TypeVar

from django.core.exceptions import PermissionDenied
from django.db.models import Model as DjangoModel
from django.db.models import QuerySet
from django.http import Http404, HttpRequest

from detection.models.visible import VisibleQuerySet

M = TypeVar("M", bound=DjangoModel)

MAY_NOT_LOOK = "Your account belongs to no group yet. Ask an administrator to add it to viewer, reviewer or operator."
MAY_NOT = {
    "detection.add_media": "Your account may not upload. Ask an administrator for the group operator.",
    "detection.delete_media": "Your account may not remove media. Ask an administrator for the group operator.",
    "detection.add_camera": "Your account may not add cameras. Ask an administrator for the group operator.",
    "detection.change_camera": "Your account may not change cameras. Ask an administrator for the group operator.",
    "detection.delete_camera": "Your account may not remove cameras. Ask an administrator for the group operator.",
    "detection.view_heartbeat": "Your account may not see the system. Ask an administrator for the group operator.",
    "detection.run_analysis": "Your account may not run analyses. Ask an administrator for the group operator.",
    "detection.add_verdict": "Your account may look but not judge. Ask an administrator for the group reviewer.",
}


def require(request: HttpRequest, permission: str) -> None:
    """Raises PermissionDenied with a sentence where the user lacks the permission."""
    if not request.user.has_perm(permission):
        raise PermissionDenied(MAY_NOT.get(permission, MAY_NOT_LOOK))


def visible(request: HttpRequest, model: type[M]) -> QuerySet[M]:
    """The rows that the user may see. Raises PermissionDenied where it is none of this kind at all."""
    require(request, f"detection.view_{model._meta.model_name}")
    rows: VisibleQuerySet[M] = model._default_manager.all()  # type: ignore[assignment]
    return rows.visible_to(request.user)


def visible_or_404(request: HttpRequest, model: type[M], pk: int, *related: str) -> M:
    """The row with its related ones, if the user may see it. What one may not see is not there: 404."""
    row = visible(request, model).select_related(*related).filter(pk=pk).first()
    if row is None:
        raise Http404(f"There is no {model._meta.verbose_name} {pk}.")
    return row
