"""Sunrises and sunsets at a place, with an offset."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import NamedTuple

from astral import Observer
from astral.sun import sunrise, sunset

DAY = timedelta(days=1)
MOST_OFFSET_MIN = 12 * 60


class Place(NamedTuple):
    latitude: float  # degrees, north is positive
    longitude: float  # degrees, east is positive


def events(
    place: Place, rise_offset_min: int | None, set_offset_min: int | None, after: datetime, until: datetime
) -> Iterator[datetime]:
    """Sunrises and sunsets moved by their offsets (None: none of that kind), after < time <= until, in order, UTC."""
    kinds = [
        (name, timedelta(minutes=offset))
        for name, offset in (("rise", rise_offset_min), ("set", set_offset_min))
        if offset is not None
    ]
    waiting: set[datetime] = set()  # two that fall on the same moment are one
    day, last = after.date() - 2 * DAY, until.date() + 2 * DAY
    while day <= last:
        waiting.update(at + offset for name, offset in kinds if (at := _event(name, place, day)))
        # What the days to come bring is later than this: a solar day and an offset are off by half a day each at most.
        settled = datetime(day.year, day.month, day.day, tzinfo=UTC) - DAY
        for due in sorted(due for due in waiting if due <= settled or day == last):
            waiting.discard(due)
            if after < due <= until:
                yield due
        day += DAY


def wrong(
    rise_offset_min: int | None, set_offset_min: int | None, latitude: float | None, longitude: float | None
) -> Iterator[tuple[str, str]]:
    """Names of a schedule's fields with sentences about them."""
    if rise_offset_min is None and set_offset_min is None:
        yield "sunrise_offset_min", "Give the minutes from sunrise, from sunset, or both; 0 is the very moment."
    for name, offset in (("sunrise_offset_min", rise_offset_min), ("sunset_offset_min", set_offset_min)):
        if offset is not None and abs(offset) > MOST_OFFSET_MIN:
            event = name.partition("_")[0]
            yield name, f"The offset from {event} must be from -{MOST_OFFSET_MIN} to {MOST_OFFSET_MIN} minutes."
    for name, degrees, most in (("latitude", latitude, 90), ("longitude", longitude, 180)):
        if degrees is None or not -most <= degrees <= most:
            yield name, f"The sun needs a place: the {name} is a number of degrees from -{most} to {most}."


def _event(name: str, place: Place, day: date) -> datetime | None:
    """The sunrise or sunset of a solar day, to the second; None where the sun stays up or down."""
    if at := _as_astral_says(name, place, day):
        return at
    # Astral leaves out one sunrise a year, where they pass midnight UTC: it finds both of two that fall on the same UTC
    # day to be the first (seen with 3.2 from 40° to 135° east). Polar days and nights are longer than a day.
    before, behind = _as_astral_says(name, place, day - DAY), _as_astral_says(name, place, day + DAY)
    return before + (behind - before) / 2 if before and behind else None


def _as_astral_says(name: str, place: Place, day: date) -> datetime | None:
    solar_time = timezone(timedelta(minutes=round(place.longitude * 4)))
    find = sunrise if name == "rise" else sunset
    try:
        return find(Observer(place.latitude, place.longitude), day, solar_time).astimezone(UTC).replace(microsecond=0)
    except ValueError:
        return None
