"""How the share of captured pictures is drawn, at one fixed moment and by the clock of a zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from detection.models import Camera, Capture
from detection.models.coverage import Tally
from detection.views.strips import Row, Strip, strips_of
from tests.cast import a_camera, a_capture

pytestmark = pytest.mark.django_db
BERLIN = ZoneInfo("Europe/Berlin")
MOMENT = datetime(2026, 3, 1, 12, 20, tzinfo=UTC)  # 13:20 in Berlin
QUARTER = datetime(2026, 3, 1, 10, 15, tzinfo=UTC)


@pytest.fixture
def camera() -> Camera:
    return a_camera(next_at=MOMENT + timedelta(hours=1))


def drawn(camera: Camera) -> tuple[Strip, Strip]:
    day, month = strips_of(camera, MOMENT, BERLIN)
    return day, month


def ticks(strip: Strip) -> list[tuple[float, str]]:
    return [(round(place, 2), words) for place, words in strip.ticks]


@pytest.mark.parametrize(
    ("counts", "segments"),
    [
        ({"grabbed": 3}, [("grabbed", 0, 40)]),
        (
            {"grabbed": 4, "failed": 1, "missed": 2, "planned": 1},
            [("failed", 0, 5), ("missed", 5, 10), ("unknown", 15, 5), ("grabbed", 20, 20)],
        ),
        ({"grabbed": 999, "missed": 1}, [("missed", 0, 3), ("grabbed", 3, 37)]),  # by number it were 0.04
        ({"failed": 1, "missed": 999}, [("failed", 0, 3), ("missed", 3, 37)]),  # and not 39.96
    ],
)
def test_a_bar_is_parted_by_number_and_what_went_wrong_is_never_too_small_to_be_seen(
    camera: Camera, counts: dict[str, int], segments: list[tuple[str, float, float]]
) -> None:
    states = [state for state, number in counts.items() for _ in range(number)]
    Capture.objects.bulk_create(
        Capture(camera=camera, state=state, planned_at=QUARTER + n * timedelta(milliseconds=800))
        for n, state in enumerate(states)
    )
    for strip in drawn(camera):
        [bar] = strip.bars
        assert [(part.look, part.y, part.height) for part in bar.segments] == segments


def test_a_bar_lies_where_its_time_does_and_says_what_came_of_it(camera: Camera) -> None:
    a_capture(camera, at=QUARTER)
    a_capture(camera, "missed", QUARTER + timedelta(minutes=1))
    [in_day], [in_month] = (strip.bars for strip in drawn(camera))
    assert (in_day.left, in_day.width) == pytest.approx((100 * 21.25 / 24, 100 / 96))  # it begins at 14:00
    assert in_day.words == "1 Mar, 11:15 – 11:30: 1 captured, 1 missed"
    assert (in_month.left, in_month.width) == pytest.approx((100 * 30.25 / 31, 100 / 124))
    assert in_month.words == "1 Mar, 06:00 – 12:00: 1 captured, 1 missed"


def test_the_day_has_a_tick_every_three_hours_and_the_month_every_five_days(camera: Camera) -> None:
    day, month = drawn(camera)
    assert (day.title, month.title) == ("Last 24 hours (CET)", "Last 31 days")
    hours = ("15:00", "18:00", "21:00", "00:00", "03:00", "06:00", "09:00", "12:00")
    assert ticks(day) == [(round(100 * (1 + 3 * n) / 24, 2), words) for n, words in enumerate(hours)]
    days = ("30 Jan", "4 Feb", "9 Feb", "14 Feb", "19 Feb", "24 Feb", "1 Mar")
    assert ticks(month) == [(round(100 * 5 * n / 31, 2), words) for n, words in enumerate(days)]


def test_the_tables_have_hours_and_days_the_latest_first_and_none_in_which_nothing_was_planned(camera: Camera) -> None:
    for minutes in (0, 1, 15):
        a_capture(camera, "missed" if minutes else "grabbed", QUARTER + timedelta(minutes=minutes))
    a_capture(camera, at=datetime(2026, 2, 28, 13, 0, tzinfo=UTC))  # as the day begins
    a_capture(camera, "failed", datetime(2026, 2, 27, 23, 30, tzinfo=UTC))  # the 28th has begun in Berlin
    day, month = drawn(camera)
    assert (day.key, day.column, month.key, month.column) == ("day", "Hour", "month", "Day")
    today = Row("11:00 – 12:00", Tally(1, 0, 2), "33.3 %")
    assert day.rows == (today, Row("14:00 – 15:00", Tally(1), "100 %"))
    assert month.rows == (Row("1 Mar", today.tally, "33.3 %"), Row("28 Feb", Tally(1, 1), "50 %"))
    assert day.words == "50 % of 4 captured; 2 missed: No worker was free for it in time."
    assert month.words == (
        "40 % of 5 captured; 1 failed: The camera timed out: no picture within 8 s; "
        "2 missed: No worker was free for it in time."
    )
