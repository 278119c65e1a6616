"""What became of a camera's planned times over a stretch: the strips on its page, and the share that was captured.

A fast camera has a quarter of a million captures a month, so the database counts them by quarters of an hour. All time
zones of today differ by whole quarters: from these counts follow the hours and days of any of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from django.db.models import BigIntegerField, Case, Count, Func, QuerySet, When

from detection.models.camera import Camera
from detection.models.capture import Capture

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
QUARTER = timedelta(minutes=15)
QUARTER_S = 900
MONTH_DAYS = 31
INSTANT = timedelta(microseconds=1)
STANDSTILL = timedelta(minutes=1)  # so long after its next time a camera without a record of it was forgotten


class Quarter(Func):
    """The number of quarters of an hour from the epoch to a time. Trunc would call Python for each row of SQLite."""

    output_field = BigIntegerField()

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        # A time is text there, and always UTC. The sign is doubled twice: for this template, and for the query's own.
        template = f"CAST(strftime('%%%%s', %(expressions)s) AS INTEGER) / {QUARTER_S}"
        return super().as_sql(compiler, connection, template=template, **context)

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        # `date_part` is a double, exact to the microsecond, and quicker than the numeric of `extract`.
        template = f"CAST(floor(date_part('epoch', %(expressions)s) / {QUARTER_S}) AS bigint)"
        return super().as_sql(compiler, connection, template=template, **context)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many planned times came to what. Unknown: not over yet, or nobody has accounted for it."""

    grabbed: int = 0
    failed: int = 0
    missed: int = 0
    unknown: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.grabbed + other.grabbed,
            self.failed + other.failed,
            self.missed + other.missed,
            self.unknown + other.unknown,
        )

    @property
    def over(self) -> int:
        """All of which it is known what they came to."""
        return self.grabbed + self.failed + self.missed

    @property
    def planned(self) -> int:
        return self.over + self.unknown

    @property
    def share(self) -> float | None:
        """The captured part; None where nothing was planned."""
        return self.grabbed / self.over if self.over else None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A part of the stretch: start <= planned time < end."""

    start: datetime
    end: datetime
    tally: Tally


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason, and how many planned times it accounts for."""

    why: str
    number: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a stretch of time came to, part by part, and the most frequent reasons of what went wrong."""

    buckets: tuple[Bucket, ...]
    total: Tally
    failed: Reason | None = None
    missed: Reason | None = None

    def coarser(self, number: int) -> list[Bucket]:
        """So many buckets in a row as one."""
        parts = [self.buckets[n : n + number] for n in range(0, len(self.buckets), number)]
        return [Bucket(part[0].start, part[-1].end, sum((b.tally for b in part), Tally())) for part in parts]


@dataclass(frozen=True, slots=True)
class Times:
    """A number of planned times with one outcome, evenly from the first to the last."""

    first: datetime
    last: datetime
    number: int
    state: str
    why: str = ""

    def spread(self, borders: Sequence[datetime]) -> Iterator[tuple[int, int]]:
        """The buckets between the borders it falls into, each with its number; what lies outside is left out."""
        position = max(0, bisect_right(borders, self.first) - 1)
        before = self._number_before(borders[position])
        while position < len(borders) - 1 and before < self.number:
            reached = self._number_before(borders[position + 1])
            if reached > before:
                yield position, reached - before
            position, before = position + 1, reached

    def _number_before(self, moment: datetime) -> int:
        if moment <= self.first:
            return 0
        if moment > self.last:
            return self.number
        # The one with the index i lies at first + i * (last - first) / (number - 1): so many i are before the moment.
        reach, whole = (moment - self.first) // INSTANT, (self.last - self.first) // INSTANT
        return -(-reach * (self.number - 1) // whole)


@dataclass(frozen=True, slots=True)
class Record:
    """What became of a camera's planned times in a stretch. What people asked for by hand is not in it."""

    times: list[Times]

    @classmethod
    def of(cls, camera: Camera, start: datetime, end: datetime, moment: datetime) -> Record:
        """Reads it in three queries at most, whose answers do not grow with the captures. ``moment`` is now."""
        planned = Capture.objects.filter(camera=camera, is_manual=False).order_by()
        return cls([*_read(planned, start, end), *_forgotten(camera, moment)])

    def over(self, borders: Sequence[datetime]) -> Coverage:
        """Counted between these borders: in order, within the stretch, at whole quarters of an hour."""
        counts: list[Counter[str]] = [Counter() for _ in borders[1:]]
        whys: dict[str, Counter[str]] = {Capture.State.FAILED: Counter(), Capture.State.MISSED: Counter()}
        for times in self.times:
            for position, number in times.spread(borders):
                counts[position][times.state] += number
                if times.state in whys:
                    whys[times.state][times.why] += number
        tallies = [_tally(count) for count in counts]
        buckets = map(Bucket, borders, borders[1:], tallies)
        return Coverage(tuple(buckets), sum(tallies, Tally()), *map(_most_frequent, whys.values()))


def _read(planned: QuerySet[Capture], start: datetime, end: datetime) -> Iterator[Times]:
    """The rows by quarter, state and reason; those that stand for several planned times each for itself."""
    rows = planned.filter(planned_at__gte=start, planned_at__lt=end)
    coalesced = Case(When(times__gt=1, then="pk"))
    groups = rows.values_list(Quarter("planned_at"), "state", "why", coalesced).annotate(number=Count("pk"))
    several = []
    for quarter, state, why, pk, number in groups:
        if pk is None:
            at = EPOCH + quarter * QUARTER
            yield Times(at, at, number, state, why)
        else:
            several.append(pk)
    # Of what began before the stretch, only the very last row can reach into it.
    columns = ("planned_at", "last_at", "times", "state", "why")
    before = planned.filter(planned_at__lt=start).order_by("-planned_at").values_list(*columns)[:1]
    for first, last, number, state, why in [*before, *planned.filter(pk__in=several).values_list(*columns)]:
        if number > 1:
            yield Times(first, max(first, last or first), number, state, why)


def is_forgotten(camera: Camera, moment: datetime) -> bool:
    """Whether its time has come and nobody planned a capture: no sweep runs."""
    return camera.next_at is not None and camera.next_at <= moment - STANDSTILL


def _forgotten(camera: Camera, moment: datetime) -> Iterator[Times]:
    """Planned times without any record, because nobody sweeps: that must not look as if nothing had been planned."""
    if camera.next_at is None or not is_forgotten(camera, moment):
        return
    for at in camera.rule.between(camera.accounted_until or camera.next_at - INSTANT, moment):
        yield Times(at, at, 1, Capture.State.PLANNED)


def _tally(count: Counter[str]) -> Tally:
    state = Capture.State
    return Tally(count[state.GRABBED], count[state.FAILED], count[state.MISSED], count[state.PLANNED])


def _most_frequent(whys: Counter[str]) -> Reason | None:
    if not whys:
        return None
    why, number = max(whys.items(), key=lambda item: (item[1], item[0]))
    return Reason(why, number)


def day_borders(moment: datetime, zone: tzinfo) -> list[datetime]:
    """The quarters of the last 24 hours by the clock; the hour that is under way is the last."""
    local = moment.astimezone(zone)
    past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    start = moment.astimezone(UTC) - past - 23 * HOUR
    return [start + n * QUARTER for n in range(24 * 4 + 1)]


def month_borders(moment: datetime, zone: tzinfo) -> list[datetime]:
    """Quarters of the last 31 days, by the clock: where the clocks change, one is an hour longer or shorter."""
    first = moment.astimezone(zone).date() - (MONTH_DAYS - 1) * DAY
    clocks = [
        datetime.combine(first + day * DAY, time(hour), zone) for day in range(MONTH_DAYS) for hour in (0, 6, 12, 18)
    ]
    return [clock.astimezone(UTC) for clock in [*clocks, datetime.combine(first + MONTH_DAYS * DAY, time(0), zone)]]
