"""What every page needs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from detection import disk
from detection.health.notice import health_notice
from detection.models import Model


def site(request: HttpRequest) -> dict[str, Any]:
    """The version, and what every page says: that only motion is detected, the disk is nearly full, no worker runs."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"site_version": settings.CODE_VERSION}
    return {
        "site_version": settings.CODE_VERSION,
        "model_notice": SimpleLazyObject(_model_notice),
        "disk_notice": SimpleLazyObject(lambda: user.has_perm("detection.add_media") and disk.is_nearly_full()),
        "health_notice": SimpleLazyObject(health_notice),
    }


def _model_notice() -> str:
    """``motion``, ``none``, or nothing to say."""
    model = Model.objects.filter(is_active=True).first()
    if model is None:
        return "none"
    return "motion" if model.is_motion else ""
