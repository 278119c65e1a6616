"""When a camera is due: every so many seconds, by a cron expression, or by the sun; within its days and hours.

Pure: no database and no settings, and nobody's clock but `problems`' own, which looks a year ahead of today. All times
that go in and come out are aware; those that come out are UTC.

A time is planned in two steps. The *nominal* times follow from the kind, without those outside of the days and hours.
Then the jitter moves each a little later, never as far as the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import islice, pairwise
from typing import Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from detection import sun
from detection.hours import Hours

Kind = Literal["every", "cron", "sun"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
AHEAD = timedelta(days=370)  # beyond this it counts as never
AHEAD_OF_CRON = timedelta(days=8 * 366)  # 29 February, also over 2100
YEAR = timedelta(days=366)

LEAST_EVERY_S = 2
MOST_EVERY_S = 31 * 86_400
MOST_JITTER_S = 3600
MOST_CRON_LETTERS = 200
CRON_PARTS = ("minute", "hour", "day-of-month", "month", "day-of-week")
# 2**64 divided by the golden ratio: multiples of it, taken modulo 2**64, fall evenly over the whole range however many
# they are (Knuth, The Art of Computer Programming, volume 3, section 6.4: Fibonacci hashing).
GOLDEN = 0x9E37_79B9_7F4A_7C15


@dataclass(frozen=True, slots=True)
class Schedule:
    """When pictures are taken. Call `problems` before the rest where the values come from a person."""

    kind: Kind
    time_zone: str = "UTC"
    seed: int = 0  # the camera's key: spreads cameras of the same interval evenly over it, and makes the jitter
    every_s: int = 60
    cron: str = ""
    sunrise_offset_min: int | None = None  # None: not at sunrise; negative: before it
    sunset_offset_min: int | None = None
    latitude: float | None = None
    longitude: float | None = None
    days: frozenset[int] = frozenset(range(1, 8))  # ISO weekdays, 1 is Monday
    active_from: time | None = None  # by the camera's clock; both None: all day; from > until: over midnight
    active_until: time | None = None  # exclusive
    jitter_s: int = 0

    def problems(self, now: datetime | None = None) -> dict[str, str]:
        """A sentence for each field that is wrong, by its name; empty where the schedule can be run.

        What would never be due in the 366 days after `now` is wrong as well.
        """
        found = {name: sentence for name, sentence in self._wrong() if sentence}
        if found:
            return found
        start = now or datetime.now(UTC)
        first = self.next_after(start)
        if first is None or first > start + YEAR:
            return self._never()
        return {}

    def next_after(self, moment: datetime) -> datetime | None:
        """The first planned time that is later than the moment; None where there is none for a year or, by cron, 8."""
        return next(self._planned(moment, moment + (AHEAD_OF_CRON if self.kind == "cron" else AHEAD)), None)

    def between(self, after: datetime, until: datetime, limit: int = 20_000) -> list[datetime]:
        """The planned times with after < time <= until, in their order; of too many the first `limit`."""
        return list(islice(self._planned(after, until), limit))

    @property
    def hours(self) -> Hours:
        return Hours(ZoneInfo(self.time_zone), self.days, self.active_from, self.active_until)

    def _planned(self, after: datetime, until: datetime) -> Iterator[datetime]:
        if after.tzinfo is None or until.tzinfo is None:
            raise ValueError("A schedule needs to know the time zone of the moments that it is asked about.")
        after, until = after.astimezone(UTC), until.astimezone(UTC)
        if self.jitter_s <= 0:
            yield from self._nominal(after, until)
            return
        # A nominal time that is not later than `after` may have been moved behind it.
        back = timedelta(seconds=self._most_jitter_s) + INSTANT
        # The day beyond is for the gap behind the last one: were it cut off, the jitter would depend on `until`.
        nominal = self._nominal(after - back, until + timedelta(days=1))
        far = until + timedelta(days=2)
        for this, following in pairwise(_and_then(nominal, far)):
            planned = this + self._jitter(this, following - this)
            if planned > until:
                return
            if planned > after:
                yield planned

    @property
    def _most_jitter_s(self) -> int:
        """An interval's jitter stays within the interval, also before a pause."""
        return min(self.jitter_s, self.every_s) if self.kind == "every" else self.jitter_s

    def _jitter(self, nominal: datetime, gap: timedelta) -> timedelta:
        """By how much a nominal time is late: whole milliseconds, always the same for the same camera and time."""
        most_ms = min(self._most_jitter_s * 1000, gap // timedelta(milliseconds=1))
        text = f"{self.seed} {(nominal - EPOCH) // INSTANT}".encode()
        drawn = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
        return timedelta(milliseconds=drawn * most_ms >> 64)

    def _nominal(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The times without jitter, after < time <= until."""
        if self.kind == "every":
            return self._nominal_every(after, until)
        if self.kind == "cron":
            return self._nominal_cron(after, until)
        return self._nominal_sun(after, until)

    def _nominal_every(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Counted from the epoch in absolute time, so that a change of the clocks moves nothing."""
        step = timedelta(seconds=self.every_s)
        phase = EPOCH + timedelta(milliseconds=(self.seed * GOLDEN % 2**64) * self.every_s * 1000 >> 64)
        for start, end in self.hours.stretches(after + INSTANT, until + INSTANT):
            due = phase - (phase - start) // step * step  # the first of them at or after the start
            while due < end:
                yield due
                due += step

    def _nominal_cron(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """As Debian's cron: what names an hour that the clocks skip comes right after it, and never comes twice."""
        hours = self.hours
        upcoming = after
        for start, end in hours.stretches(after + INSTANT, until + INSTANT):
            if upcoming >= end:
                continue
            # It answers with what is later than its start, to the second. Where the clocks go back it starts again at
            # the first of two equal times, so its answers may lie before it.
            for tick in CronSim(self.cron, (start - timedelta(seconds=1)).astimezone(hours.zone)):
                due = tick.astimezone(UTC)
                if due >= start:
                    upcoming = due
                    if due >= end:
                        break
                    yield due

    def _nominal_sun(self, after: datetime, until: datetime) -> Iterator[datetime]:
        hours = self.hours
        place = sun.Place(self.latitude or 0.0, self.longitude or 0.0)
        for due in sun.events(place, self.sunrise_offset_min, self.sunset_offset_min, after, until):
            if hours.are_active(due):
                yield due

    def _never(self) -> dict[str, str]:
        if self.kind == "sun":
            return {"latitude": "The sun neither rises nor sets there on the chosen days and hours within a year."}
        if self.kind == "cron" and self.hours.are_always:
            return {"cron": "This cron expression names no time within the next year."}
        name = "cron" if self.kind == "cron" else "every_s"
        return {name: "No time of this schedule falls into its days and hours within a year: widen them."}

    def _wrong(self) -> Iterator[tuple[str, str]]:
        """Field names with sentences, or with nothing where they are right."""
        yield "time_zone", _wrong_zone(self.time_zone)
        yield from Hours(UTC, self.days, self.active_from, self.active_until).wrong()
        if not 0 <= self.jitter_s <= MOST_JITTER_S:
            yield "jitter_s", f"The spread (jitter) must be from 0 to {MOST_JITTER_S} seconds."
        if self.kind == "every":
            if not LEAST_EVERY_S <= self.every_s <= MOST_EVERY_S:
                yield "every_s", f"The interval must be from {LEAST_EVERY_S} to {MOST_EVERY_S} seconds (31 days)."
        elif self.kind == "cron":
            yield "cron", _wrong_cron(self.cron)
        elif self.kind == "sun":
            yield from sun.wrong(self.sunrise_offset_min, self.sunset_offset_min, self.latitude, self.longitude)
        else:
            yield "kind", "Choose a schedule of every so many seconds, a cron expression, or by the sun."


def _and_then(times: Iterator[datetime], last: datetime) -> Iterator[datetime]:
    yield from times
    yield last


def zone_of(name: str) -> ZoneInfo | None:
    """The time zone of this name; None where this machine knows none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # no such zone; no name, such as ../x; a folder of zones, such as Europe
        return None


def _wrong_zone(name: str) -> str:
    return "" if zone_of(name) else f"There is no time zone “{name[:64]}”: give one such as Europe/Berlin or UTC."


def _wrong_cron(expression: str) -> str:
    if len(expression.split()) != 5 or len(expression) > MOST_CRON_LETTERS:
        return (
            "A cron expression has five parts: minute, hour, day of the month, month, day of the week. "
            "“*/15 6-20 * * 1-5” is every 15 minutes from 6:00 to 20:45, Monday to Friday."
        )
    try:
        CronSim(expression, EPOCH)
    except (CronSimError, ValueError, AssertionError) as error:
        part = next((name for name in CRON_PARTS if str(error).endswith(name)), "")
        return (
            f"The {part.replace('-of-', ' of the ')} of this cron expression is wrong."
            if part
            else "This cron expression cannot be read."
        )
    return ""
