"""Whatever happens to a camera, each of its planned times gets one record: no more, and no less."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db.models import DateTimeField, Value

from detection.fields import Secret
from detection.models import Camera, Capture, camera, capture, event, planning
from detection.models.planning import plan_due
from detection.schedule import Schedule
from tests.cast import NOON, a_media

pytestmark = pytest.mark.django_db


class Life:
    """A camera through hours of chance, and beside it what its schedules name."""

    def __init__(self, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.chance = random.Random(seed)
        self.moment = NOON
        for module in (camera, capture, event, planning):
            monkeypatch.setattr(module, "now", lambda: self.moment)
        monkeypatch.setattr(capture, "Now", lambda: Value(self.moment, output_field=DateTimeField()))
        self.camera = Camera(name="Gate", source="http", every_s=10)
        self.camera.put_in_service(Secret.of("http://10.0.0.5/0.jpg"))
        self.expected: list[datetime] = []
        self.began = self.moment

    # What passes

    def seconds_pass(self) -> None:
        self.moment += timedelta(seconds=self.chance.uniform(0.1, 4))

    def nightjar_stands_still(self) -> None:
        self.moment += timedelta(seconds=self.chance.choice([15, 70, 400, 4000]))

    def sweep(self) -> None:
        Capture.end_expired()
        plan_due()

    def grab(self) -> None:
        for row in Capture.objects.filter(Capture.free()).order_by("?")[:1]:
            claimed = Capture.claim(row.pk, "worker")
            assert claimed is not None
            outcome = self.chance.choice(["picture", "picture", *["failure"] * 4, "lost"])
            if outcome == "picture":
                claimed.grabbed(a_media(f"{row.pk}".encode()), f"{row.pk}", self.moment)
            elif outcome == "failure":
                claimed.attempt_failed("timeout", "Too slow.", permanent=False)

    def capture_now(self) -> None:
        self.seconds_pass()
        Capture.ask_once(self._row())

    # What people do with it

    def pause_or_resume(self) -> None:
        row = self._row()
        if row.is_enabled:
            self._expect(row.rule)
            assert row.pause()
        else:
            assert row.resume()
            self.began = self.moment

    def new_address(self) -> None:
        row = self._row()
        if row.is_enabled:
            self._expect(row.rule)
        row.put_in_service(Secret.of(f"http://10.0.0.5/{self.chance.random()}.jpg"))

    def new_schedule(self) -> None:
        row = self._row()
        if row.is_enabled:
            self._expect(row.rule)
        row.every_s, row.jitter_s = self.chance.choice([2, 7, 10, 60]), self.chance.choice([0, 5])
        row.put_in_service()

    def _row(self) -> Camera:
        return Camera.objects.get(pk=self.camera.pk)

    def _expect(self, rule: Schedule) -> None:
        """The schedule counted until now."""
        self.expected += rule.between(self.began, self.moment)
        self.began = self.moment

    def end(self) -> None:
        self.moment += timedelta(seconds=300)
        for _ in range(3):
            self.sweep()
        row = self._row()
        if row.is_enabled:
            assert row.accounted_until is not None
            self.expected += row.rule.between(self.began, row.accounted_until)


@pytest.mark.parametrize("seed", range(8))
def test_every_planned_time_has_one_record(seed: int, monkeypatch: pytest.MonkeyPatch, settings) -> None:
    settings.CAMERA_BREAKER_AFTER_S, settings.GRAB_ATTEMPTS = 120.0, 2
    life = Life(seed, monkeypatch)
    usual: list[Callable[[], None]] = [life.seconds_pass, life.sweep, life.grab] * 12
    rare = [
        life.nightjar_stands_still, life.pause_or_resume, life.new_address, life.new_schedule, life.capture_now,
    ]  # fmt: skip
    for _ in range(500):
        life.chance.choice([*usual, *rare])()
    life.end()
    rows = list(Capture.objects.filter(is_manual=False).order_by("planned_at"))
    assert len(life.expected) > 100
    covered: list[datetime] = []
    for row in rows:
        within = [at for at in life.expected if row.planned_at <= at <= (row.last_at or row.planned_at)]
        assert len(within) == row.times, row
        covered += within
    assert sorted(covered) == sorted(life.expected)
    assert len({row.state for row in rows}) > 1
