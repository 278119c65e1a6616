"""The figures of `manage.py bench cameras` from rows that are known: what was not grabbed must not improve them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from detection.fields import Secret
from detection.management.commands._bench_cameras import _print_captures
from detection.models import Camera, Capture

pytestmark = pytest.mark.django_db


@pytest.fixture
def camera():
    camera = Camera(name="Gate", source=Camera.Kind.HTTP, every_s=10)
    camera.put_in_service(Secret.of("http://192.0.2.1/picture.jpg"))
    return camera


def figures(camera: Camera, late_s: list[float | None]) -> str:
    """What is printed where the camera's times came so late in turn; None: no record at all of this one."""
    began = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
    ended = began + timedelta(seconds=10 * len(late_s))
    for planned_at, seconds in zip(camera.rule.between(began, ended), late_s, strict=True):
        if seconds is not None:
            taken = {"started_at": planned_at, "finished_at": planned_at + timedelta(seconds=seconds)}
            Capture.objects.create(camera=camera, planned_at=planned_at, state=Capture.State.GRABBED, **taken)
    said: list[str] = []
    _print_captures([camera], began, ended, said.append)
    return "\n".join(said)


def test_what_came_in_time_is_counted_against_all_that_was_planned(camera):
    said = figures(camera, [0.5, 1.0, 1.9, 2.1])
    assert "planned: 4; recorded: 4 (grabbed: 4)" in said
    assert "late at the end: median 1.90 s, p99 2.10 s, most 2.10 s; within 2 s: 75.000% of the planned" in said


def test_a_planned_time_without_any_record_is_not_left_out(camera):
    said = figures(camera, [0.5, None, None, 0.5])
    assert "planned: 4; recorded: 2" in said
    assert "within 2 s: 50.000% of the planned" in said


def test_missed_times_count_as_often_as_they_were_missed(camera):
    began = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
    times = camera.rule.between(began, began + timedelta(seconds=30))
    Capture.missed(camera, times, "standstill", "It stood still.").save()
    said = figures(camera, [None, None, None])
    assert "planned: 3; recorded: 3" in said
    assert "grabbed: 0" in said
    assert "late at the end: no figures; within 2 s: 0.000% of the planned" in said
