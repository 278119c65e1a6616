"""How states and times are said to people: in words, never by colour alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.utils import timezone

from detection.models import Analysis, Media


@dataclass(frozen=True, slots=True)
class Badge:
    """A state: ``look`` chooses the colour and the sign, the words say it."""

    look: str
    words: str


def counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def badge(analysis: Analysis | None, sightings: int = 0) -> Badge:
    """What a media's analysis came to. Nothing found, and could not look, are different things."""
    if analysis is None:
        return Badge("none", "Not analysed")
    state = Analysis.State(analysis.state)
    if state == Analysis.State.DONE:
        return Badge("done", counted(sightings, "sighting")) if sightings else Badge("empty", "Nothing found")
    if state == Analysis.State.RUNNING:
        return Badge("running", STEP_WORDS[Analysis.Step(analysis.step)])
    words = {
        Analysis.State.QUEUED: "Waiting for a worker",
        Analysis.State.FAILED: "Failed",
        Analysis.State.CANCELLED: "Cancelled",
    }
    return Badge(state.value, words[state])


STEP_WORDS = {
    Analysis.Step.PLAN: "Reading the file",
    Analysis.Step.DETECT: "Looking",
    Analysis.Step.FINISH: "Following objects through the clip",
}


def clip_time(seconds: float) -> str:
    """0:04.2, 12:30.0, 1:02:03.0"""
    tenths = round(max(0.0, seconds) * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def time_zone(media: Media) -> ZoneInfo | None:
    """The camera's time zone; the site's where there is no camera, or none that is known by that name."""
    return media.camera.zone if media.camera else None


def wall_clock(moment: datetime, zone: ZoneInfo | None = None) -> str:
    """2026-03-01 12:00:03 UTC"""
    return timezone.localtime(moment, zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def uptime(seconds: int) -> str:
    """75 s, 75 min, 30 h, 12 days: the largest unit of which there are two."""
    for unit_s, word in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s} {word}"
    return f"{seconds} s"
