"""How long things are kept, as said to people."""

from __future__ import annotations

from django.conf import settings
from django.utils import timezone

from detection.models import Camera, Media
from detection.models.retention import Fate, days_for, days_words, fate_of, size_words

KEPT = "Kept: it is never removed by itself."


def fate_words(media: Media) -> str:
    """When it goes by itself, or who keeps it; nothing where no rule would ever remove it."""
    fate = fate_of(media)
    if fate.is_marked:
        return KEPT
    if fate.keeping is not None:
        who = fate.keeping.user.get_username() if fate.keeping.user else "somebody"
        return f"Kept: {who} asked for it with the verdict on “{fate.keeping.label}”."
    parts = [_by_age(fate), _by_bytes(fate)]
    said = ", or ".join(part for part in parts if part)
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def _by_age(fate: Fate) -> str:
    if fate.until is None:
        return ""
    rule = f"by the {'camera’s rule' if fate.is_cameras else 'rule'} of {days_words(fate.days)}"
    if fate.until <= timezone.now():
        return f"to be removed {rule} from now on"
    return f"removed after {timezone.localtime(fate.until):%Y-%m-%d %H:%M %Z} {rule}"


def _by_bytes(fate: Fate) -> str:
    limits = [f"{size_words(fate.bytes_of_camera)} of this camera’s pictures"] if fate.bytes_of_camera else []
    limits += [f"{size_words(fate.bytes_of_all)} in all"] if fate.bytes_of_all else []
    if not limits:
        return ""
    sooner = "sooner" if fate.until else "removed"
    return f"{sooner} where there are more than {' or '.join(limits)} and it is among the oldest"


def camera_retention_words(camera: Camera) -> str:
    """30 days, at most 5 GB; then the oldest are removed"""
    days = days_for(camera)
    parts = [days_words(days)] if days else []
    parts += [f"at most {size_words(camera.retain_bytes)}"] if camera.retain_bytes else []
    parts += [f"within {size_words(settings.RETAIN_BYTES)} for all media"] if settings.RETAIN_BYTES else []
    return ", ".join(parts) or "until somebody removes them"
