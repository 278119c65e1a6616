"""How a camera's state, schedule and times are said to people."""

from __future__ import annotations

from datetime import datetime, time

from detection.models import Camera, Capture
from detection.models.coverage import Coverage, Reason, Tally
from detection.views.wording import Badge, counted

State = Camera.State
CAMERA_BADGES = {
    State.NEW: Badge("new", "Waits for a picture"),
    State.OK: Badge("ok", "Ok"),
    State.FAILING: Badge("failing", "Failing"),
    State.OFFLINE: Badge("offline", "Offline"),
    State.FROZEN: Badge("frozen", "Frozen"),
    State.DISABLED: Badge("paused", "Paused"),
}
CAPTURE_BADGES = {
    Capture.State.PLANNED: Badge("new", "Under way"),
    Capture.State.GRABBED: Badge("ok", "Grabbed"),
    Capture.State.FAILED: Badge("offline", "Failed"),
    Capture.State.MISSED: Badge("missed", "Missed"),
}
ICONS = {
    "new": "clock", "ok": "check", "failing": "warn", "offline": "cross", "frozen": "snow", "paused": "pause",
    "missed": "skip", "back": "check",
}  # fmt: skip
DAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"))


def age(moment: datetime, now: datetime) -> str:
    """12 s ago"""
    return f"{span(moment, now)} ago"


def span(moment: datetime, now: datetime) -> str:
    """12 s, 3 min, 5 h, 2 days: from a moment until now, rounded down"""
    seconds = max(0, int((now - moment).total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 2 * 86_400:
        return f"{seconds // 3600} h"
    return f"{seconds // 86_400} days"


def trouble_words(camera: Camera) -> str:
    """Why it is in trouble, in a sentence; nothing where it is not."""
    if camera.state == State.FROZEN:
        return camera.same_words
    return camera.why if camera.is_in_trouble else ""


def lasting(seconds: int) -> str:
    """10 seconds, minute, 15 minutes, hour, as behind “every”."""
    for unit_s, word in UNITS:
        if seconds >= unit_s and seconds % unit_s == 0:
            return word if seconds == unit_s else counted(seconds // unit_s, word)
    return "second" if seconds == 1 else counted(seconds, "second")


def schedule_words(camera: Camera) -> str:
    """Every 10 seconds, Mondays to Fridays, from 06:00 until 20:00, each up to 5 seconds later"""
    parts = [_when(camera), _days(camera.days), _hours(camera.active_from, camera.active_until)]
    if camera.jitter_s:
        parts.append(f"each up to {counted(camera.jitter_s, 'second')} later")
    said = ", ".join(part for part in parts if part)
    return said[:1].upper() + said[1:]


def _when(camera: Camera) -> str:
    if camera.schedule == Camera.Plan.EVERY:
        return f"every {lasting(camera.every_s)}"
    if camera.schedule == Camera.Plan.CRON:
        return f"by the cron expression “{camera.cron}”"
    ends = (("sunrise", camera.sunrise_offset_min), ("sunset", camera.sunset_offset_min))
    said = " and ".join(_by_the_sun(word, offset) for word, offset in ends if offset is not None)
    return f"{said} at {_degrees(camera.latitude, 'N', 'S')}, {_degrees(camera.longitude, 'E', 'W')}"


def _by_the_sun(word: str, offset_min: int) -> str:
    if not offset_min:
        return f"at {word}"
    return f"{counted(abs(offset_min), 'minute')} {'after' if offset_min > 0 else 'before'} {word}"


def _degrees(value: float | None, above: str, below: str) -> str:
    return f"{abs(value or 0):.2f}° {above if (value or 0) >= 0 else below}"


def _days(days: str) -> str:
    numbers = sorted({int(day) for day in days})
    if len(numbers) == 7 or not numbers:
        return ""
    is_row = numbers[-1] - numbers[0] == len(numbers) - 1
    if is_row and len(numbers) > 2:
        return f"{DAYS[numbers[0] - 1]} to {DAYS[numbers[-1] - 1]}"
    *most, last = [DAYS[number - 1] for number in numbers]
    return f"{', '.join(most)} and {last}" if most else last


def _hours(start: time | None, end: time | None) -> str:
    return f"from {start:%H:%M} until {end:%H:%M}" if start and end else ""


def share_words(coverage: Coverage) -> str:
    """99.2 % of 1,440 captured; 11 missed, 9 of them: No worker was free for it in time."""
    total = coverage.total
    if total.share is None:
        return tally_words(total)
    said = [f"{percentage(total)} of {total.over:,} captured"]
    said += [_went_wrong(total.failed, "failed", coverage.failed), _went_wrong(total.missed, "missed", coverage.missed)]
    said.append(f"{total.unknown:,} not known" if total.unknown else "")
    return "; ".join(part for part in said if part) + "."


def _went_wrong(number: int, word: str, most: Reason | None) -> str:
    if not number or most is None or not most.why:
        return f"{number:,} {word}" if number else ""
    part = f", {most.number:,} of them" if most.number < number else ""
    return f"{number:,} {word}{part}: {most.why.rstrip('.')}"


def percentage(tally: Tally) -> str:
    """Rounded down: 100 % are all of them."""
    tenths = 1000 * tally.grabbed // tally.over if tally.over else 0
    return f"{tenths // 10} %" if tenths % 10 == 0 else f"{tenths / 10:.1f} %"


def tally_words(tally: Tally) -> str:
    """58 captured, 1 failed, 1 missed"""
    words = ((tally.failed, "failed"), (tally.missed, "missed"), (tally.unknown, "not known"))
    said = [f"{tally.grabbed:,} captured"] if tally.over else []
    said += [f"{number:,} {word}" for number, word in words if number]
    return ", ".join(said) or "nothing planned"
