"""How the share of captured pictures is drawn: a strip of bars, one for each part of the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

from detection.models import Camera
from detection.models.coverage import Bucket, Coverage, Record, Tally, day_borders, month_borders
from detection.views.camera_wording import percentage, share_words, tally_words

HEIGHT_PX = 40
LEAST_PX = 3  # one missed picture of a thousand is to be seen
TICK_HOURS = 3
TICK_DAYS = 5


@dataclass(frozen=True, slots=True)
class Segment:
    look: str  # grabbed, failed, missed or unknown
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bucket as it is drawn: place and width in per cent of the strip, and its segments from the bottom up."""

    left: float
    width: float
    words: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table that says the same as the strip."""

    name: str
    tally: Tally
    percentage: str


@dataclass(frozen=True, slots=True)
class Strip:
    key: str
    title: str
    words: str
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[Row, ...]
    column: str  # what the lines of the table are


def strips_of(camera: Camera, moment: datetime, zone: tzinfo) -> list[Strip]:
    """The last day and the last month, by the clock of this zone, from one reading."""
    day, month = day_borders(moment, zone), month_borders(moment, zone)
    record = Record.of(camera, min(day[0], month[0]), max(day[-1], month[-1]), moment)
    return [
        _strip("day", f"Last 24 hours ({moment.astimezone(zone):%Z})", "Hour", record.over(day), zone),
        _strip("month", "Last 31 days", "Day", record.over(month), zone),
    ]


def _strip(key: str, title: str, column: str, coverage: Coverage, zone: tzinfo) -> Strip:
    start, end = coverage.buckets[0].start, coverage.buckets[-1].end
    bars = tuple(_bar(bucket, start, end, zone) for bucket in coverage.buckets if bucket.tally.planned)
    coarse = coverage.coarser(4)  # hours of the day, days of the month
    rows = tuple(
        Row(
            _from_to(bucket, zone) if key == "day" else _day(bucket.start, zone), bucket.tally, percentage(bucket.tally)
        )
        for bucket in reversed(coarse)
        if bucket.tally.planned
    )
    ticks = tuple(
        (_place(bucket.start, start, end), _clock(bucket.start, zone) if key == "day" else _day(bucket.start, zone))
        for number, bucket in enumerate(coarse)
        if _has_tick(key, number, bucket.start.astimezone(zone))
    )
    return Strip(key, title, share_words(coverage), bars, ticks, rows, column)


def _has_tick(key: str, number: int, local: datetime) -> bool:
    return local.hour % TICK_HOURS == 0 if key == "day" else number % TICK_DAYS == 0


def _place(moment: datetime, start: datetime, end: datetime) -> float:
    return 100 * ((moment - start) / (end - start))


def _bar(bucket: Bucket, start: datetime, end: datetime, zone: tzinfo) -> Bar:
    left = _place(bucket.start, start, end)
    words = f"{_day(bucket.start, zone)}, {_from_to(bucket, zone)}: {tally_words(bucket.tally)}"
    return Bar(left, _place(bucket.end, start, end) - left, words, tuple(_segments(bucket.tally)))


def _segments(tally: Tally) -> list[Segment]:
    """Heights by number; what went wrong stands above, and is never too small to be seen."""
    numbers = {"failed": tally.failed, "missed": tally.missed, "unknown": tally.unknown}
    segments, y = [], 0.0
    for look, number in numbers.items():
        if number:
            height = max(float(LEAST_PX), HEIGHT_PX * number / tally.planned)
            segments.append(Segment(look, y, min(height, HEIGHT_PX - y)))
            y = min(y + height, HEIGHT_PX)
    if tally.grabbed and y < HEIGHT_PX:
        segments.append(Segment("grabbed", y, HEIGHT_PX - y))
    return segments


def _from_to(bucket: Bucket, zone: tzinfo) -> str:
    return f"{_clock(bucket.start, zone)} – {_clock(bucket.end, zone)}"


def _clock(moment: datetime, zone: tzinfo) -> str:
    return f"{moment.astimezone(zone):%H:%M}"


def _day(moment: datetime, zone: tzinfo) -> str:
    local = moment.astimezone(zone)
    return f"{local.day} {local:%b}"
