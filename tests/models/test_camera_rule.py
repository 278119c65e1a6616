"""What people enter of a camera is the schedule by which it is planned."""

from __future__ import annotations

from dataclasses import fields
from datetime import time

import pytest

from detection.models import Camera
from detection.schedule import Schedule

# No two are equal, so that none can stand in another's place.
GIVEN = {
    "time_zone": "Asia/Kathmandu",
    "every_s": 90,
    "cron": "15 6 * * 1-5",
    "sunrise_offset_min": -45,
    "sunset_offset_min": 30,
    "latitude": 27.7,
    "longitude": 85.3,
    "active_from": time(6, 30),
    "active_until": time(20, 15),
    "jitter_s": 7,
}


@pytest.mark.parametrize("kind", ["every", "cron", "sun"])
def test_each_field_of_the_rule_is_what_was_entered_as_it(kind: str) -> None:
    camera = Camera(pk=4711, schedule=kind, days="135", **GIVEN)
    assert camera.rule == Schedule(kind=kind, seed=4711, days=frozenset({1, 3, 5}), **GIVEN)


def test_no_field_of_the_rule_is_forgotten_here() -> None:
    """One that keeps its default on both sides would be equal."""
    assert {field.name for field in fields(Schedule)} == {"kind", "seed", "days", *GIVEN}
