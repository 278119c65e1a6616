"""What people read of times, places and speeds."""

from __future__ import annotations

import pytest

from detection.models import Analysis
from detection.models.forecast import Backlog, Forecast
from detection.models.speed import Speed
from detection.views.analysis_wording import (
    about,
    backlog_words,
    kind_words,
    no_room_words,
    ordinal,
    progress_words,
    rate_words,
    room_words,
    speed_words,
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.01, "1 s"),
        (3.4, "3 s"),
        (12, "10 s"),
        (52, "50 s"),
        (87, "85 s"),
        (88, "2 minutes"),
        (170, "3 minutes"),
        (5399, "90 minutes"),
        (5400, "1.5 hours"),
        (7200, "2 hours"),
        (100_000, "27.8 hours"),
        (3 * 86_400, "3 days"),
    ],
)
def test_an_estimate_is_said_no_more_exactly_than_it_is(seconds: float, words: str) -> None:
    assert about(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        *[(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (21, "21st")],
        *[(112, "112th"), (1022, "1,022nd")],
    ],
)
def test_places_are_counted(number: int, words: str) -> None:
    assert ordinal(number) == words


def test_rates() -> None:
    assert (rate_words(118.4), rate_words(1234), rate_words(3.44), rate_words(9.97)) == (
        "118 a second", "1,234 a second", "3.4 a second", "10 a second",
    )  # fmt: skip


def test_a_kind_without_words_is_shown_as_it_is() -> None:
    assert kind_words("unreadable") == "damaged files"
    assert kind_words("solar_flare") == "solar_flare"


RUNNING = {"state": "running", "step": "detect"}
SENT = {"sent_at": object()}


@pytest.mark.parametrize(
    ("row", "forecast", "words"),
    [
        (RUNNING, Forecast(1240, 7200, rate=118), "1,240 of 7,200 frames, 118 a second, about 50 s left."),
        (RUNNING, Forecast(1240, 7200), "1,240 of 7,200 frames."),
        (RUNNING | {"step": "finish"}, Forecast(7200, 7200, rate=118), "7,200 of 7,200 frames."),
        (RUNNING, Forecast(0, 1), ""),  # a picture
        (RUNNING | {"step": "plan"}, Forecast(0, 0), ""),
        (RUNNING, Forecast(0, 7200, place=3, begins_s=125), "It is 3rd in the queue, about 2 minutes until it begins."),
        (SENT, Forecast(0, 0, place=2), "It is 2nd in the queue; how long that takes was not measured here yet."),
        (SENT, Forecast(0, 0, place=1), "It is next in the queue and starts as soon as a worker is free."),
        ({}, Forecast(0, 0, place=1), "It is accepted and waits for the queue."),
        ({}, Forecast(0, 0, place=2, begins_s=3), "It is 2nd in the queue, about 3 s until it begins."),
        ({"state": "failed"}, Forecast(0, 0, place=1), ""),
        ({}, None, ""),
    ],
)
def test_how_far_an_analysis_is(row: dict[str, object], forecast: Forecast | None, words: str) -> None:
    assert progress_words(Analysis(**row), forecast) == words


@pytest.mark.parametrize(
    ("speed", "words"),
    [
        (Speed(clip_s=0.15, image_s=0.12), "Here a minute of clip takes about 9 s, 100 pictures about 10 s."),
        (
            Speed(clip_s=10),
            "Here a minute of clip takes about 10 minutes. How long pictures take was not measured yet.",
        ),
        (Speed(image_s=0.5), "Here 100 pictures take about 50 s. How long clips take was not measured yet."),
        (
            Speed(image_s=0.5, is_image_nominal=True),
            "Here 100 pictures take about 50 s (as measured when the model was added). "
            "How long clips take was not measured yet.",
        ),
        (Speed(), "How long that takes here was not measured yet: nothing was analysed with this model."),
    ],
)
def test_how_long_files_take_here(speed: Speed, words: str) -> None:
    assert speed_words(speed) == words


def test_what_waits_before() -> None:
    assert backlog_words(Backlog(0, 0)) == "Nothing waits: it begins at once."
    assert backlog_words(Backlog(1, 3)) == "1 analysis waits or runs before: about 3 s."
    assert backlog_words(Backlog(12, 180)) == "12 analyses wait or run before: about 3 minutes."
    assert backlog_words(Backlog(12, None)) == "12 analyses wait or run before."


def test_the_room_on_the_disk() -> None:
    assert room_words(None) == ""
    assert room_words(0) == "There is no room on the disk for new files: they would be refused."
    assert room_words(3 * 1024**3) == "There is room for 3.0\xa0GB of new files."
    assert no_room_words("5 GB", 0) == room_words(0)
    assert no_room_words("5 GB", 1024) == (
        "These are 5 GB, and the disk has room for 1.0\xa0KB: what does not fit will be refused."
    )
