"""The share of planned pictures that came, by the clock: nothing is lost in it and nothing counted twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from detection.models import Camera
from detection.models.coverage import Bucket, Coverage, Reason, Record, Tally, Times, day_borders, month_borders
from tests.cast import NOON, a_camera, a_capture

pytestmark = pytest.mark.django_db
BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def camera() -> Camera:
    """One whose next picture is due in an hour: nobody has forgotten it."""
    return a_camera(next_at=NOON + timedelta(hours=1))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def last_day(camera: Camera, moment: datetime = NOON) -> Coverage:
    borders = day_borders(moment, UTC)
    return Record.of(camera, borders[0], borders[-1], moment).over(borders)


def filled(coverage: Coverage) -> dict[str, Tally]:
    return {f"{bucket.start:%H:%M}": bucket.tally for bucket in coverage.buckets if bucket.tally.planned}


def test_each_capture_is_counted_in_its_quarter_of_an_hour(camera: Camera) -> None:
    at = NOON.replace(hour=10)
    a_capture(camera, at=at)
    a_capture(camera, at=at + timedelta(minutes=14, seconds=59, milliseconds=999))
    a_capture(camera, "failed", at + 15 * MINUTE)
    a_capture(camera, "missed", at + 16 * MINUTE)
    a_capture(camera, "planned", at + 30 * MINUTE)
    assert filled(last_day(camera)) == {"10:00": Tally(2), "10:15": Tally(0, 1, 1), "10:30": Tally(unknown=1)}


def test_the_share_is_of_all_that_is_over_and_names_the_most_frequent_reasons(camera: Camera) -> None:
    for n in range(6):
        a_capture(camera, at=NOON - n * MINUTE)
    a_capture(camera, "failed", NOON - 10 * MINUTE, why="Refused.")
    for n in range(2):
        a_capture(camera, "failed", NOON - (11 + n) * MINUTE, why="Timed out.")
    a_capture(camera, "missed", NOON - 20 * MINUTE, why="Rare.")
    a_capture(camera, "missed", NOON - 40 * MINUTE, times=11, last_at=NOON - 30 * MINUTE, why="Stood still.")
    a_capture(camera, "planned", NOON + MINUTE)
    coverage = last_day(camera)
    assert coverage.total == Tally(6, 3, 12, 1)
    assert coverage.total.share == 6 / 21
    assert (coverage.failed, coverage.missed) == (Reason("Timed out.", 2), Reason("Stood still.", 11))


def test_what_people_asked_for_by_hand_and_what_other_cameras_did_does_not_count(camera: Camera) -> None:
    a_capture(camera, at=NOON, is_manual=True)
    a_capture(a_camera(), at=NOON)
    coverage = last_day(camera)
    assert coverage.total == Tally()
    assert coverage.total.share is None


def test_missed_times_in_one_record_are_spread_over_the_quarters_they_lay_in(camera: Camera) -> None:
    at = NOON.replace(hour=9, minute=5)
    a_capture(camera, "missed", at, times=31, last_at=at + 30 * MINUTE)
    assert filled(last_day(camera)) == {"09:00": Tally(missed=10), "09:15": Tally(missed=15), "09:30": Tally(missed=6)}


def test_a_record_that_reaches_into_the_stretch_counts_with_what_lies_in_it(camera: Camera) -> None:
    start = day_borders(NOON, UTC)[0]
    a_capture(camera, "missed", start - 30 * MINUTE, times=61, last_at=start + 30 * MINUTE)
    a_capture(camera, at=start - 10 * MINUTE, is_manual=True)  # in between, by hand
    assert last_day(camera).total == Tally(missed=31)


def test_what_lies_before_or_behind_the_stretch_does_not_count(camera: Camera) -> None:
    borders = day_borders(NOON, UTC)
    a_capture(camera, at=borders[0] - timedelta(microseconds=1))
    a_capture(camera, at=borders[-1])
    assert last_day(camera).total == Tally()
    a_capture(camera, at=borders[0])
    assert last_day(camera).buckets[0].tally == Tally(1)


def test_planned_times_that_nobody_swept_are_not_known_instead_of_not_there() -> None:
    camera = a_camera(every_s=60, next_at=NOON - 10 * MINUTE, accounted_until=NOON - 11 * MINUTE)
    assert last_day(camera).total == Tally(unknown=11)
    Camera.objects.update(next_at=NOON - timedelta(seconds=30))  # the sweep may still come
    camera.refresh_from_db()
    assert last_day(camera).total == Tally()


@pytest.mark.parametrize("number", [2, 3, 7, 100, 999])
@pytest.mark.parametrize("length_s", [0, 1, 899, 900, 86_399, 200_000])
def test_spreading_loses_none_and_doubles_none(number: int, length_s: int) -> None:
    first = NOON.replace(minute=7)
    times = Times(first, first + timedelta(seconds=length_s), number, "missed")
    borders = [NOON + n * timedelta(minutes=15) for n in range(400)]
    spread = dict(times.spread(borders))
    wanted: dict[int, int] = {}
    for n in range(number):
        at = first + timedelta(seconds=length_s) * n / (number - 1)
        wanted[(at - NOON) // timedelta(minutes=15)] = wanted.get((at - NOON) // timedelta(minutes=15), 0) + 1
    if length_s == 0:
        wanted = {0: number}
    assert spread == wanted


def test_the_last_day_ends_with_the_hour_that_is_under_way() -> None:
    borders = day_borders(datetime(2026, 3, 1, 12, 34, 56, 7, UTC), UTC)
    assert len(borders) == 97
    assert borders[0] == datetime(2026, 2, 28, 13, tzinfo=UTC)
    assert borders[-1] == datetime(2026, 3, 1, 13, tzinfo=UTC)
    kolkata = day_borders(datetime(2026, 3, 1, 12, 34, tzinfo=UTC), ZoneInfo("Asia/Kolkata"))
    assert kolkata[-1] == datetime(2026, 3, 1, 13, 30, tzinfo=UTC)  # 19:00 there


@pytest.mark.parametrize(
    ("zone", "today", "first", "last", "change", "hours"),
    [  # the midnights there, and the quarter of a day in which the clocks go forward or back
        (BERLIN, "2026-04-10", "2026-03-10T23", "2026-04-10T22", "2026-03-28T23", 5),
        (BERLIN, "2026-11-10", "2026-10-10T22", "2026-11-10T23", "2026-10-24T22", 7),
        (NEW_YORK, "2026-04-05", "2026-03-06T05", "2026-04-06T04", "2026-03-08T05", 5),
        (NEW_YORK, "2026-11-10", "2026-10-11T04", "2026-11-11T05", "2026-11-01T04", 7),
    ],
)
def test_the_days_of_the_month_are_those_of_the_clock_on_the_wall(
    zone: ZoneInfo, today: str, first: str, last: str, change: str, hours: int
) -> None:
    borders = month_borders(utc(f"{today}T12"), zone)
    assert len(borders) == 31 * 4 + 1
    assert (borders[0], borders[-1]) == (utc(first), utc(last))
    other = {earlier: later - earlier for earlier, later in pairwise(borders) if later - earlier != timedelta(hours=6)}
    assert other == {utc(change): timedelta(hours=hours)}


def test_a_month_counts_by_the_clock_on_the_wall(camera: Camera) -> None:
    borders = month_borders(NOON, BERLIN)
    a_capture(camera, at=datetime(2026, 2, 27, 22, 59, 59, tzinfo=UTC))
    a_capture(camera, at=datetime(2026, 2, 27, 23, 0, tzinfo=UTC))
    coverage = Record.of(camera, borders[0], borders[-1], NOON).over(borders)
    days = {bucket.start.astimezone(BERLIN).date().isoformat(): bucket.tally for bucket in coverage.coarser(4)}
    assert days["2026-02-27"] == Tally(1)
    assert days["2026-02-28"] == Tally(1)
    assert coverage.total == Tally(2)


def test_buckets_can_be_joined() -> None:
    parts = tuple(Bucket(NOON + n * MINUTE, NOON + (n + 1) * MINUTE, Tally(n, 1)) for n in range(4))
    [one, other] = Coverage(parts, Tally()).coarser(2)
    assert one == Bucket(NOON, NOON + 2 * MINUTE, Tally(1, 2))
    assert other.tally == Tally(5, 2)


def test_a_record_takes_three_queries_however_much_there_is(camera: Camera, django_assert_max_num_queries: Any) -> None:
    for n in range(40):
        a_capture(camera, "missed" if n % 2 else "grabbed", NOON - 5 * n * MINUTE, times=1 + n % 2, last_at=NOON)
    with django_assert_max_num_queries(3):
        last_day(camera)
