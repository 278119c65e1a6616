"""When cameras are due."""

from __future__ import annotations

import random
import time as clock
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from detection import sun
from detection.hours import Hours
from detection.schedule import Schedule

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
# In Berlin the clocks skip 2:00 to 3:00 on the first of these days and repeat it on the second; in New York likewise.
BERLIN_SKIPS, BERLIN_REPEATS = date(2026, 3, 29), date(2026, 10, 25)
NEW_YORK_SKIPS, NEW_YORK_REPEATS = date(2026, 3, 8), date(2026, 11, 1)
CHANGES = [
    (BERLIN, BERLIN_SKIPS, BERLIN_REPEATS),
    (NEW_YORK, NEW_YORK_SKIPS, NEW_YORK_REPEATS),
]


def on(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The day for `between`, which leaves its beginning out and has its end."""
    before = timedelta(microseconds=1)
    start, end = (datetime.combine(when, time(), zone) for when in (day, day + timedelta(days=1)))
    return start.astimezone(UTC) - before, end.astimezone(UTC) - before


def walls(schedule: Schedule, day: date) -> list[str]:
    """What the clock on the wall shows at the planned times of a day, with the offset from UTC in hours."""
    zone = ZoneInfo(schedule.time_zone)
    due = [moment.astimezone(zone) for moment in schedule.between(*on(day, zone))]
    return [f"{moment:%H:%M}{(moment.utcoffset() or timedelta()) // timedelta(hours=1):+d}" for moment in due]


def minutes_of(moments: list[datetime]) -> list[str]:
    return [f"{moment:%a %H:%M}" for moment in moments]


# Every so many seconds


def test_a_camera_is_due_every_so_many_seconds() -> None:
    due = Schedule("every", every_s=10).between(NOON, NOON + timedelta(minutes=1))
    assert due == [NOON + timedelta(seconds=10 * n) for n in range(1, 7)]


def test_next_is_strictly_later() -> None:
    schedule = Schedule("every", every_s=10)
    assert schedule.next_after(NOON) == NOON + timedelta(seconds=10)
    assert schedule.next_after(NOON - timedelta(microseconds=1)) == NOON


def test_between_leaves_out_its_beginning_and_has_its_end() -> None:
    schedule = Schedule("every", every_s=10)
    assert schedule.between(NOON, NOON + timedelta(seconds=10)) == [NOON + timedelta(seconds=10)]
    assert schedule.between(NOON, NOON) == []


def test_between_gives_the_first_of_too_many() -> None:
    due = Schedule("every", every_s=2).between(NOON, NOON + timedelta(days=3000), limit=5)
    assert due == [NOON + timedelta(seconds=2 * n) for n in range(1, 6)]


def test_times_are_utc_whatever_zone_the_question_is_in() -> None:
    schedule = Schedule("every", "Asia/Kathmandu", every_s=3600, active_from=time(9), active_until=time(10))
    asked = schedule.next_after(NOON.astimezone(BERLIN))
    assert asked is not None
    assert asked.tzinfo is UTC
    assert asked == schedule.next_after(NOON)


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Schedule("every").next_after(datetime(2026, 3, 2, 12))  # noqa: DTZ001


@pytest.mark.parametrize("first", [0, 1, 7, 1000, 987_654_321])
@pytest.mark.parametrize("count", [2, 10, 97, 500])
def test_cameras_of_one_interval_are_spread_evenly_over_it(first: int, count: int) -> None:
    after = NOON - timedelta(microseconds=1)
    due = sorted(
        Schedule("every", every_s=60, seed=first + n).between(after, after + timedelta(seconds=60))[0]
        for n in range(count)
    )
    gaps = [(b - a).total_seconds() for a, b in zip(due, [*due[1:], due[0] + timedelta(seconds=60)], strict=True)]
    assert max(gaps) < 2.7 * 60 / count
    assert min(gaps) > 0.35 * 60 / count


def test_the_phase_is_in_whole_milliseconds() -> None:
    due = [Schedule("every", every_s=60, seed=n).next_after(NOON) for n in range(50)]
    assert {moment.microsecond % 1000 for moment in due if moment} == {0}
    assert len(set(due)) == 50


@pytest.mark.parametrize(("zone", "skips", "repeats"), CHANGES)
def test_a_change_of_the_clocks_does_not_disturb_an_interval(zone: ZoneInfo, skips: date, repeats: date) -> None:
    for day, hours in ((skips, 23), (repeats, 25)):
        due = Schedule("every", zone.key, every_s=600, seed=5).between(*on(day, zone))
        assert len(due) == hours * 6
        assert {b - a for a, b in pairwise(due)} == {timedelta(minutes=10)}


# Days and hours


def test_a_camera_rests_outside_of_its_hours() -> None:
    schedule = Schedule("every", "Europe/Berlin", every_s=3600, active_from=time(6), active_until=time(9))
    assert walls(schedule, date(2026, 3, 2)) == ["06:00+1", "07:00+1", "08:00+1"]


def test_until_midnight_is_until_the_end_of_the_day() -> None:
    schedule = Schedule("every", "Europe/Berlin", every_s=3600, active_from=time(22), active_until=time(0))
    assert walls(schedule, date(2026, 3, 2)) == ["22:00+1", "23:00+1"]


def test_a_camera_rests_on_other_days() -> None:
    schedule = Schedule("every", every_s=43_200, days=frozenset({2, 5}))
    due = schedule.between(NOON, NOON + timedelta(days=7))
    assert minutes_of(due) == ["Tue 00:00", "Tue 12:00", "Fri 00:00", "Fri 12:00"]


def test_a_night_belongs_to_the_day_on_which_it_began() -> None:
    schedule = Schedule("every", every_s=3600 * 2, days=frozenset({5}), active_from=time(22), active_until=time(3))
    assert minutes_of(schedule.between(NOON, NOON + timedelta(days=7))) == ["Fri 22:00", "Sat 00:00", "Sat 02:00"]


def test_a_sunday_night_ends_on_monday() -> None:
    schedule = Schedule("cron", cron="0 * * * *", days=frozenset({7}), active_from=time(23), active_until=time(2))
    assert minutes_of(schedule.between(NOON, NOON + timedelta(days=8))) == ["Sun 23:00", "Mon 00:00", "Mon 01:00"]


@pytest.mark.parametrize(("zone", "skips", "repeats"), CHANGES)
def test_hours_that_are_skipped_are_not_made_up_and_repeated_ones_count_twice(
    zone: ZoneInfo, skips: date, repeats: date
) -> None:
    hour = 2 if zone is BERLIN else 1  # the one that comes twice
    skipped = Schedule("every", zone.key, every_s=1800, active_from=time(2), active_until=time(3))
    repeated = replace(skipped, active_from=time(hour), active_until=time(hour + 1))
    summer, winter = (2, 1) if zone is BERLIN else (-4, -5)
    assert walls(skipped, skips) == []
    assert walls(repeated, repeats) == [
        f"0{hour}:{minute}{offset:+d}" for offset in (summer, winter) for minute in ("00", "30")
    ]


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        (BERLIN, BERLIN_SKIPS, ["03:00+2", "03:30+2"]),
        (NEW_YORK, NEW_YORK_SKIPS, ["03:00-4", "03:30-4"]),
    ],
)
def test_hours_that_begin_in_the_skipped_hour_begin_after_it(zone: ZoneInfo, day: date, expected: list[str]) -> None:
    schedule = Schedule("every", zone.key, every_s=1800, active_from=time(2, 30), active_until=time(4))
    assert walls(schedule, day) == expected


@pytest.mark.parametrize(
    ("zone", "day", "hour", "expected"),
    [
        (BERLIN, BERLIN_REPEATS, 2, ["01:30+2", "01:45+2", "02:00+2", "02:15+2", "02:00+1", "02:15+1"]),
        (NEW_YORK, NEW_YORK_REPEATS, 1, ["00:30-4", "00:45-4", "01:00-4", "01:15-4", "01:00-5", "01:15-5"]),
    ],
)
def test_hours_that_end_in_the_repeated_hour_begin_again_when_it_does(
    zone: ZoneInfo, day: date, hour: int, expected: list[str]
) -> None:
    schedule = Schedule("every", zone.key, every_s=900, active_from=time(hour - 1, 30), active_until=time(hour, 30))
    assert walls(schedule, day) == expected


def test_hours_follow_the_clock_on_the_wall_through_the_year() -> None:
    schedule = Schedule("every", "Europe/Berlin", every_s=3600, active_from=time(8), active_until=time(9))
    assert walls(schedule, date(2026, 1, 15)) == ["08:00+1"]
    assert walls(schedule, date(2026, 7, 15)) == ["08:00+2"]


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "UTC", "Asia/Kathmandu"]
)
def test_stretches_are_exactly_the_active_moments(zone: str) -> None:
    """Against the plain question, moment by moment, over a year with all its changes of the clocks."""
    chance = random.Random(zone)
    step = timedelta(minutes=10)
    for _ in range(6):
        ends = chance.choice(
            [(time(7, 20), time(19)), (time(22), time(2, 30)), (time(0, 30), time(0, 10)), (None, None)]
        )
        hours = Hours(ZoneInfo(zone), frozenset(chance.sample(range(1, 8), chance.randint(1, 6))), *ends)
        start = datetime(2026, 1, 1, 0, 5, tzinfo=UTC) + timedelta(days=chance.randint(0, 300))
        end = start + timedelta(days=120)
        expected = {start + n * step for n in range((end - start) // step) if hours.are_active(start + n * step)}
        found: set[datetime] = set()
        for first, last in hours.stretches(start, end):
            moment = start + -((start - first) // step) * step
            while moment < last:
                assert moment not in found
                found.add(moment)
                moment += step
        assert found == expected


def test_a_camera_that_is_active_an_hour_a_week_is_planned_at_once() -> None:
    schedule = Schedule(
        "every", "Europe/Berlin", every_s=2, days=frozenset({7}), active_from=time(3), active_until=time(4)
    )
    began = clock.perf_counter()
    for _ in range(100):
        due = schedule.next_after(NOON)
    assert clock.perf_counter() - began < 1  # it takes about 0.01 s; step by step it would be a minute
    assert due == datetime(2026, 3, 8, 2, tzinfo=UTC)


# Cron


def test_a_cron_expression_is_read_by_the_cameras_clock() -> None:
    schedule = Schedule("cron", "America/New_York", cron="15 6 * * 1-5")
    assert walls(schedule, date(2026, 3, 2)) == ["06:15-5"]
    assert walls(schedule, date(2026, 3, 1)) == []


def test_cron_is_strictly_later_to_the_microsecond() -> None:
    schedule = Schedule("cron", cron="0 * * * *")
    assert schedule.next_after(NOON) == NOON + timedelta(hours=1)
    assert schedule.next_after(NOON - timedelta(microseconds=1)) == NOON
    assert schedule.next_after(NOON + timedelta(microseconds=1)) == NOON + timedelta(hours=1)


@pytest.mark.parametrize(("zone", "skips", "repeats"), CHANGES)
def test_what_names_a_skipped_time_comes_right_after_it_and_what_names_a_repeated_one_comes_once(
    zone: ZoneInfo, skips: date, repeats: date
) -> None:
    at = Schedule("cron", zone.key, cron="30 2 * * *")
    once = Schedule("cron", zone.key, cron="30 1,2 * * *")
    summer, winter = (2, 1) if zone is BERLIN else (-4, -5)
    assert walls(at, skips) == [f"03:00{summer:+d}"]
    if zone is BERLIN:
        assert walls(once, repeats) == [f"01:30{summer:+d}", f"02:30{summer:+d}"]
    else:
        assert walls(once, repeats) == [f"01:30{summer:+d}", f"02:30{winter:+d}"]


@pytest.mark.parametrize(("zone", "skips", "repeats"), CHANGES)
def test_what_runs_every_so_often_goes_on_through_a_change_of_the_clocks(
    zone: ZoneInfo, skips: date, repeats: date
) -> None:
    often = Schedule("cron", zone.key, cron="*/30 * * * *")
    for day, hours in ((skips, 23), (repeats, 25)):
        due = often.between(*on(day, zone))
        assert len(due) == hours * 2
        assert {b - a for a, b in pairwise(due)} == {timedelta(minutes=30)}


@pytest.mark.parametrize(
    "cron", ["30 2 * * *", "15,45 2 * * *", "*/10 * * * *", "0 1-4 * * *", "59 1 * * *", "0 3 * * *"]
)
@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])
def test_wherever_one_starts_on_a_day_of_change_the_times_are_the_same(cron: str, zone: ZoneInfo) -> None:
    """A sweep may ask in the middle of the repeated hour, of which the wall clock does not say which it is."""
    schedule = Schedule("cron", zone.key, cron=cron)
    for day in (BERLIN_SKIPS, BERLIN_REPEATS, NEW_YORK_SKIPS, NEW_YORK_REPEATS):
        start, end = on(day, zone)
        end += timedelta(days=1)
        whole = schedule.between(start, end)
        moment = start
        while moment < start + timedelta(hours=8):
            assert schedule.between(moment, end) == [due for due in whole if due > moment]
            moment += timedelta(minutes=7, seconds=31)


def test_a_cron_expression_keeps_to_the_hours() -> None:
    schedule = Schedule(
        "cron", "Europe/Berlin", cron="*/20 * * * *", active_from=time(23, 30), active_until=time(0, 30)
    )
    assert walls(schedule, date(2026, 3, 2)) == ["00:00+1", "00:20+1", "23:40+1"]


def test_a_cron_expression_that_falls_into_its_hours_once_in_a_while_is_found() -> None:
    schedule = Schedule(
        "cron", "Europe/Berlin", cron="30 12 1 * *", days=frozenset({1}), active_from=time(12), active_until=time(13)
    )
    assert schedule.next_after(NOON) == datetime(2026, 6, 1, 10, 30, tzinfo=UTC)


# The sun


@pytest.mark.parametrize(
    ("place", "zone", "day", "rise", "set_"),
    [  # as almanacs give them for sea level
        (sun.Place(52.52, 13.405), "Europe/Berlin", date(2026, 6, 21), "04:43", "21:33"),
        (sun.Place(40.7128, -74.006), "America/New_York", date(2026, 12, 21), "07:17", "16:32"),
        (sun.Place(-33.8688, 151.2093), "Australia/Sydney", date(2026, 12, 21), "05:41", "20:05"),
        (sun.Place(21.3069, -157.8583), "Pacific/Honolulu", date(2026, 3, 20), "06:34", "18:42"),
    ],
)
def test_the_sun_rises_and_sets_where_the_camera_is(
    place: sun.Place, zone: str, day: date, rise: str, set_: str
) -> None:
    schedule = Schedule(
        "sun", zone, sunrise_offset_min=0, sunset_offset_min=0, latitude=place.latitude, longitude=place.longitude
    )
    due = [moment.astimezone(ZoneInfo(zone)) for moment in schedule.between(*on(day, ZoneInfo(zone)))]
    expected = [datetime.combine(day, time.fromisoformat(text), ZoneInfo(zone)) for text in (rise, set_)]
    assert len(due) == 2
    assert all(abs(a - b) <= timedelta(minutes=2) for a, b in zip(due, expected, strict=True)), due


def test_offsets_move_away_from_the_sun() -> None:
    plain = Schedule("sun", sunrise_offset_min=0, sunset_offset_min=0, latitude=50.0, longitude=0.0)
    moved = replace(plain, sunrise_offset_min=-45, sunset_offset_min=30)
    rise, set_ = plain.between(*on(date(2026, 3, 2), ZoneInfo("UTC")))
    assert moved.between(*on(date(2026, 3, 2), ZoneInfo("UTC"))) == [
        rise - timedelta(minutes=45),
        set_ + timedelta(minutes=30),
    ]


def test_offsets_that_change_the_order_still_come_in_order() -> None:
    crossed = Schedule("sun", sunrise_offset_min=720, sunset_offset_min=-720, latitude=52.0, longitude=170.0)
    due = crossed.between(NOON, NOON + timedelta(days=366))
    assert due == sorted(due)
    assert len(due) in (731, 732, 733)
    assert due[50:60] == crossed.between(due[49], due[59])


@pytest.mark.parametrize("longitude", range(-180, 181, 15))
@pytest.mark.parametrize("latitude", [-52, 0, 24, 60])
def test_there_is_a_sunrise_and_a_sunset_every_day(latitude: int, longitude: int) -> None:
    """Astral alone leaves out one sunrise a year from 40° to 135° east, where they pass midnight UTC."""
    for offsets in ({"sunrise_offset_min": 0}, {"sunset_offset_min": 0}):
        schedule = Schedule("sun", latitude=float(latitude), longitude=float(longitude), **offsets)
        due = schedule.between(NOON, NOON + timedelta(days=365))
        apart = {round((b - a) / timedelta(hours=1), 1) for a, b in pairwise(due)}
        assert apart <= {23.9, 24.0, 24.1}


def test_on_polar_days_and_nights_there_is_nothing() -> None:
    tromso = Schedule("sun", "Europe/Oslo", sunrise_offset_min=0, sunset_offset_min=0, latitude=69.65, longitude=18.96)
    assert walls(tromso, date(2026, 6, 21)) == []
    assert walls(tromso, date(2026, 12, 21)) == []
    after_midwinter = tromso.next_after(datetime(2026, 12, 21, tzinfo=UTC))
    assert after_midwinter is not None
    assert date(2027, 1, 12) <= after_midwinter.date() <= date(2027, 1, 18)
    assert tromso.problems(NOON) == {}


def test_the_sun_keeps_to_the_days() -> None:
    schedule = Schedule(
        "sun", "Pacific/Auckland", sunset_offset_min=0, latitude=-36.85, longitude=174.76, days=frozenset({6})
    )
    due = schedule.between(NOON, NOON + timedelta(days=28))
    assert [moment.astimezone(ZoneInfo("Pacific/Auckland")).isoweekday() for moment in due] == [6] * 4


# Jitter


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule("every", every_s=60, seed=4, jitter_s=20),
        Schedule("every", every_s=2, seed=4, jitter_s=3600),
        Schedule(
            "every",
            "Europe/Berlin",
            every_s=7,
            seed=4,
            jitter_s=90,
            active_from=time(13, 30),
            active_until=time(13, 40),
        ),
        Schedule("cron", "Europe/Berlin", cron="* * * * *", seed=4, jitter_s=300),
        Schedule("cron", cron="0,1,30 * * * *", seed=4, jitter_s=3600),
        Schedule("sun", sunrise_offset_min=0, sunset_offset_min=-700, latitude=52.0, longitude=13.0, jitter_s=3600),
    ],
)
def test_jitter_makes_late_by_less_than_the_gap(schedule: Schedule) -> None:
    end = NOON + (timedelta(days=20) if schedule.kind == "sun" else timedelta(hours=3))
    nominal = replace(schedule, jitter_s=0).between(NOON, end, limit=500)
    due = schedule.between(NOON, end + timedelta(hours=1), limit=600)
    due = [moment for moment in due if moment >= nominal[0]][: len(nominal)]
    assert len(due) == len(nominal) > 8
    assert all(a <= b for a, b in zip(nominal, due, strict=True))
    assert all(b < a for a, b in zip(nominal[1:], due, strict=False))
    assert all(b - a < timedelta(seconds=schedule.jitter_s) for a, b in zip(nominal, due, strict=True))
    assert len({b - a for a, b in zip(nominal, due, strict=True)}) > len(due) / 4


@pytest.mark.parametrize("seed", range(40))
def test_however_one_asks_the_planned_times_are_the_same(seed: int) -> None:
    """One after the other, in pieces, or all at once; with every kind of hours and jitter."""
    chance = random.Random(seed)
    kind = chance.choice(["every", "cron", "sun"])
    hours = chance.choice([(None, None), (time(8), time(20)), (time(20), time(3, 15)), (time(2, 15), time(2, 45))])
    schedule = Schedule(
        kind=kind,
        time_zone=chance.choice(["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"]),
        seed=chance.randint(0, 10_000),
        every_s=chance.choice([2, 45, 300, 1201]),
        cron=chance.choice(["*/7 * * * *", "20 2,14 * * *", "0-20 * * * 1-5"]),
        sunrise_offset_min=chance.randint(-720, 720),
        sunset_offset_min=chance.choice([None, 0, 700]),
        latitude=chance.uniform(-60, 60),
        longitude=chance.uniform(-180, 180),
        days=frozenset(chance.sample(range(1, 8), chance.randint(3, 7))),
        active_from=hours[0] if kind != "sun" else None,
        active_until=hours[1] if kind != "sun" else None,
        jitter_s=chance.choice([0, 1, 30, 3600]),
    )
    start = datetime(2026, chance.choice([3, 6, 10]), chance.randint(20, 28), 5, 0, 7, tzinfo=UTC)
    end = start + timedelta(days=30)
    whole = schedule.between(start, end, limit=300)
    assert whole
    assert all(a < b for a, b in pairwise(whole))
    moment = start
    for expected in whole:
        found = schedule.next_after(moment)
        assert found == expected
        moment = found
    for _ in range(100):  # also between a nominal time and what the jitter makes of it
        moment = start + (whole[-1] - start) * chance.random()
        assert schedule.next_after(moment) == next(due for due in whole if due > moment)
    third, last = whole[len(whole) // 3], whole[-1]
    assert schedule.between(start, third) + schedule.between(third, last) == whole


def test_cameras_of_the_same_cron_expression_are_not_late_together() -> None:
    due = {Schedule("cron", cron="0 * * * *", seed=seed, jitter_s=60).next_after(NOON) for seed in range(100)}
    assert len(due) > 90


# What is wrong


def test_a_plain_schedule_has_no_problems() -> None:
    assert Schedule("every").problems() == {}
    assert Schedule("cron", "Europe/Berlin", cron="*/15 6-20 * * MON-FRI").problems() == {}
    assert Schedule("sun", sunset_offset_min=0, latitude=0.0, longitude=0.0).problems() == {}


WRONG = [
    (Schedule("weekly"), "kind"),
    (Schedule("every", every_s=1), "every_s"),
    (Schedule("every", every_s=-60), "every_s"),
    (Schedule("every", every_s=10**9), "every_s"),
    *(
        (Schedule("every", zone), "time_zone")
        for zone in ("", "Europe/Berlín", "Europe", "../etc/passwd", "/etc/passwd", "x" * 5000, "a\0b")
    ),
    (Schedule("every", days=frozenset()), "days"),
    (Schedule("every", days=frozenset({0, 1})), "days"),
    (Schedule("every", active_from=time(8)), "active_until"),
    (Schedule("every", active_until=time(8)), "active_from"),
    (Schedule("every", active_from=time(8), active_until=time(8)), "active_until"),
    (Schedule("every", jitter_s=-1), "jitter_s"),
    (Schedule("every", jitter_s=3601), "jitter_s"),
    *(
        (Schedule("cron", cron=cron), "cron")
        for cron in (
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* * 30 2 *",
            "@daily",
            "*/0 * * * *",
            "a b c d e",
            f"{'9' * 5000} * * * *",
            "5-1 * * * *",
            "* * * * MON#6",
            ",".join("1" * 200) + " * * * *",
            "L * * * *",
            "* * L/W * *",
            "* * * * ٣",
        )
    ),
    (Schedule("sun", latitude=0.0, longitude=0.0), "sunrise_offset_min"),
    (Schedule("sun", sunrise_offset_min=721, latitude=0.0, longitude=0.0), "sunrise_offset_min"),
    (Schedule("sun", sunset_offset_min=-721, latitude=0.0, longitude=0.0), "sunset_offset_min"),
    (Schedule("sun", sunset_offset_min=0, longitude=0.0), "latitude"),
    (Schedule("sun", sunset_offset_min=0, latitude=90.5, longitude=0.0), "latitude"),
    (Schedule("sun", sunset_offset_min=0, latitude=float("nan"), longitude=0.0), "latitude"),
    (Schedule("sun", sunset_offset_min=0, latitude=0.0, longitude=float("inf")), "longitude"),
]


@pytest.mark.parametrize(("schedule", "field"), WRONG)
def test_a_wrong_value_is_named_with_a_sentence(schedule: Schedule, field: str) -> None:
    found = schedule.problems(NOON)
    assert list(found) == [field]
    assert found[field].endswith(".")
    assert len(found[field]) < 250


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        (Schedule("cron", cron="0 0 29 2 *"), "cron"),
        (Schedule("cron", cron="0 5 * * *", active_from=time(6), active_until=time(7)), "cron"),
        (Schedule("every", every_s=86_400, active_from=time(6), active_until=time(7)), "every_s"),
        (
            Schedule(
                "sun", sunrise_offset_min=0, latitude=52.0, longitude=13.0, active_from=time(14), active_until=time(15)
            ),
            "latitude",
        ),
        (
            Schedule(
                "cron",
                "Europe/Berlin",
                cron="*/5 2 29 3 *",
                days=frozenset({7}),
                active_from=time(2),
                active_until=time(2, 30),
            ),
            "cron",
        ),
    ],
)
def test_what_would_never_be_due_within_a_year_is_a_problem(schedule: Schedule, field: str) -> None:
    assert list(schedule.problems(NOON)) == [field]
    upcoming = schedule.next_after(NOON)
    assert upcoming is None or upcoming > NOON + timedelta(days=366)
    assert schedule.between(NOON, NOON + timedelta(days=300)) == []


def test_a_leap_day_is_not_the_last_one() -> None:
    leap_day = datetime(2096, 2, 29, tzinfo=UTC)
    assert Schedule("cron", cron="0 0 29 2 *").next_after(leap_day) == datetime(2104, 2, 29, tzinfo=UTC)


def test_several_wrong_values_are_told_at_once() -> None:
    assert set(Schedule("every", "Nowhere", every_s=0, jitter_s=-1).problems()) == {"time_zone", "every_s", "jitter_s"}
