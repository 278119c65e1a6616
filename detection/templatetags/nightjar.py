"""Words for the templates; what they say is in views/wording.py."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from django import template
from django.contrib.staticfiles import finders
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from detection.models import Analysis, Camera, CameraEvent, Capture, Media
from detection.views import camera_wording, wording
from detection.views.tracks import colour_of

register = template.Library()

SIGNS = {
    "queued": "◷", "running": "◔", "done": "●", "empty": "○", "failed": "✕", "cancelled": "⊘", "none": "–",
    "confirmed": "✓", "rejected": "✕", "relabelled": "✎", "unreviewed": "?",
}  # fmt: skip
REVIEW_WORDS = {
    "confirmed": "Confirmed",
    "rejected": "Rejected",
    "relabelled": "Relabelled",
    "unreviewed": "Not reviewed",
}


@register.simple_tag
def state_badge(analysis: Analysis | None, sightings: int = 0) -> SafeString:
    badge = wording.badge(analysis, sightings)
    return _badge(badge.look, badge.words)


@register.simple_tag
def review_badge(review: str) -> SafeString:
    look = review or "unreviewed"
    return _badge(look, REVIEW_WORDS[look])


def _badge(look: str, words: str) -> SafeString:
    return format_html(
        '<span class="badge is-{}"><span class="sign" aria-hidden="true">{}</span> {}</span>', look, SIGNS[look], words
    )


@register.filter
def clip_time(seconds: float) -> str:
    return wording.clip_time(seconds)


@register.filter
def percent(share: float) -> str:
    return f"{share * 100:.0f} %"


@register.filter
def counted(number: int, word: str) -> str:
    """``3|counted:"frame"`` is "3 frames"; "box,boxes" gives both forms."""
    one, _, many = word.partition(",")
    return wording.counted(number or 0, one, many)


@register.simple_tag
def wall_clock(moment: datetime, media: Media | None = None) -> SafeString:
    zone = wording.time_zone(media) if media else None
    return format_html('<time datetime="{}">{}</time>', moment.isoformat(), wording.wall_clock(moment, zone))


@register.simple_tag
@cache
def icon(name: str) -> SafeString:
    """One of our own drawings, inline, so that it takes the colour of the text."""
    path = finders.find(f"nightjar/icons/{name}.svg")
    return mark_safe(Path(str(path)).read_text(encoding="utf-8").strip())  # noqa: S308 - a file of this repository


@register.filter
def megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:.3g} megapixels"


@register.filter
def hours(seconds: float) -> str:
    return wording.counted(round(seconds / 60), "minute") if seconds < 7200 else f"{seconds / 3600:.3g} hours"


@register.filter
def colour(label: str) -> str:
    """The class that carries a label's colour."""
    return f"c{colour_of(label)}"


@register.filter
def unlocalised(number: float) -> str:
    """A number as HTML and SVG attributes want it: a point, no grouping."""
    return f"{number:.3f}".rstrip("0").rstrip(".")


@register.filter
def times(number: int, factor: int) -> int:
    return number * factor


@register.filter
def ruler_time(seconds: int) -> str:
    return wording.clip_time(seconds).removesuffix(".0")


@register.simple_tag
def wall_clock_text(moment: datetime) -> str:
    """As ``wall_clock``, where no element may stand."""
    return wording.wall_clock(moment)


@register.simple_tag
def box_attributes(box: list[float]) -> SafeString:
    x1, y1, x2, y2 = box
    return format_html('x="{}" y="{}" width="{}" height="{}"', *map(unlocalised, (x1, y1, x2 - x1, y2 - y1)))


@register.simple_tag
def text_attributes(box: list[float]) -> SafeString:
    """The label above the box, or inside where there is no room above."""
    x1, y1, _, _ = box
    return format_html('x="{}" y="{}" dy="{}"', unlocalised(x1), unlocalised(y1), "-0.3em" if y1 > 30 else "1em")


@register.simple_tag
def camera_badge(camera: Camera) -> SafeString:
    return _drawn_badge(camera_wording.CAMERA_BADGES[Camera.State(camera.state)])


@register.simple_tag
def capture_badge(capture: Capture) -> SafeString:
    return _drawn_badge(camera_wording.CAPTURE_BADGES[Capture.State(capture.state)])


@register.simple_tag
def event_badge(event: CameraEvent) -> SafeString:
    return _drawn_badge(wording.Badge(event.kind, event.get_kind_display().capitalize()))


def _drawn_badge(badge: wording.Badge) -> SafeString:
    drawing = icon(camera_wording.ICONS[badge.look])
    return format_html('<span class="badge is-{}">{} {}</span>', badge.look, drawing, badge.words)


@register.filter
def age(moment: datetime, now: datetime) -> str:
    return camera_wording.age(moment, now)


@register.filter
def span(moment: datetime, now: datetime) -> str:
    return camera_wording.span(moment, now)


@register.filter
def trouble(camera: Camera) -> str:
    return camera_wording.trouble_words(camera)


@register.filter
def lasting(seconds: float) -> str:
    return camera_wording.lasting(round(seconds))


@register.filter
def uptime(seconds: float) -> str:
    return wording.uptime(round(seconds))


@register.simple_tag
def wall_clock_in(moment: datetime, zone: ZoneInfo) -> str:
    return wording.wall_clock(moment, zone)


@register.filter
def iso_time(text: str) -> str:
    """The time of an attempt, which its row keeps as text."""
    return wording.wall_clock(datetime.fromisoformat(text))
