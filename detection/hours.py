"""The days and hours in which a camera is active, by the clock on its wall."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

EVERY_DAY = frozenset(range(1, 8))
MIDNIGHT = time(0)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Hours:
    """Weekdays and a stretch of the day. One that goes over midnight belongs to the day on which it began."""

    zone: tzinfo
    days: frozenset[int] = EVERY_DAY  # ISO weekdays, 1 is Monday
    start: time | None = None  # both None: all day
    end: time | None = None  # exclusive

    @property
    def are_always(self) -> bool:
        return self.days == EVERY_DAY and self.start is None

    def are_active(self, moment: datetime) -> bool:
        return self.are_always or self._active_at(moment.astimezone(self.zone).replace(tzinfo=None))

    def stretches(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The active stretches of start <= moment < end (UTC), in order; one may end where the next begins.

        Each step goes to the next wall-clock time at which activity may change, or to the next change of the clocks:
        between two such moments the wall clock runs evenly. So a week of inactivity is a few steps, and the hour that
        comes twice is active twice.
        """
        if self.are_always:
            if start < end:
                yield start, end
            return
        while start < end:
            wall = start.astimezone(self.zone).replace(tzinfo=None)
            stop = min(self._before_the_clocks_change(start, start + (self._next_border(wall) - wall)), end)
            if self._active_at(wall):
                yield start, stop
            start = stop

    def wrong(self) -> Iterator[tuple[str, str]]:
        """Names of a schedule's fields with sentences about them."""
        if not self.days or not self.days <= EVERY_DAY:
            yield "days", "Choose at least one day of the week."
        if (self.start is None) != (self.end is None):
            name = "active_from" if self.start is None else "active_until"
            yield name, "Give both ends of the active hours, or neither for all day."
        elif self.start is not None and self.start == self.end:
            yield "active_until", "The active hours would be empty: leave both ends empty for all day."

    def _active_at(self, wall: datetime) -> bool:
        clock, day = wall.time(), wall.isoweekday()
        if self.start is None or self.end is None:
            return day in self.days
        if self.start < self.end:
            return self.start <= clock < self.end and day in self.days
        yesterday = (day + 5) % 7 + 1
        return (clock >= self.start and day in self.days) or (clock < self.end and yesterday in self.days)

    def _next_border(self, wall: datetime) -> datetime:
        """The next time on the wall clock at which a day, or the active hours, begin or end."""
        borders = [datetime.combine(wall.date(), clock) for clock in (self.start, self.end) if clock is not None]
        midnight = datetime.combine(wall.date() + DAY, MIDNIGHT)
        return min((border for border in borders if border > wall), default=midnight)

    def _before_the_clocks_change(self, start: datetime, end: datetime) -> datetime:
        """The end, or the moment before it at which the zone's offset from UTC changes; start and end are one day."""
        first, last = int(start.timestamp()), -int(-end.timestamp() // 1)
        before = self._offset(first)
        if self._offset(last) == before:
            return end
        while last - first > 1:
            middle = (first + last) // 2
            if self._offset(middle) == before:
                first = middle
            else:
                last = middle
        return min(datetime.fromtimestamp(last, UTC), end)

    def _offset(self, timestamp: int) -> timedelta | None:
        return datetime.fromtimestamp(timestamp, self.zone).utcoffset()
