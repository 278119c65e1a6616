"""The sweep's word to Sentry: only of a sweep that got through, once a minute, and only where there is a Sentry."""

from __future__ import annotations

from typing import Any

import pytest
from kombu.exceptions import OperationalError

from tests.cast import a_media
from workers import check_in, tasks


@pytest.fixture
def told(monkeypatch, settings) -> list[dict[str, Any]]:
    import sentry_sdk.crons

    settings.SENTRY_DSN = "https://key@sentry.example.org/1"
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(sentry_sdk.crons, "capture_checkin", lambda **given: found.append(given))
    monkeypatch.setattr(check_in, "_said_at", -check_in.EVERY_S)
    return found


def test_it_comes_once_a_minute(told: list[dict[str, Any]], monkeypatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(check_in.time, "monotonic", lambda: clock[0])
    for _ in range(181):
        check_in.swept()
        clock[0] += 1
    assert [(given["monitor_slug"], given["status"]) for given in told] == [("sweep", "ok")] * 4


def test_without_a_dsn_nothing_is_said(told: list[dict[str, Any]], settings) -> None:
    settings.SENTRY_DSN = ""
    check_in.swept()
    assert told == []


@pytest.mark.django_db
def test_a_sweep_that_got_through_checks_in(told: list[dict[str, Any]]) -> None:
    tasks.sweep()
    assert len(told) == 1


@pytest.mark.django_db
def test_a_sweep_that_could_not_send_does_not(told: list[dict[str, Any]], monkeypatch) -> None:
    from detection.models import Analysis

    Analysis.request(a_media())

    def away(*_: object, **__: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr("workers.sweep.queue_length", lambda _: 0)
    monkeypatch.setattr(tasks.analyse, "apply_async", away)
    tasks.sweep()
    assert told == []


@pytest.mark.django_db
def test_a_sweep_that_fails_does_not(told: list[dict[str, Any]], monkeypatch) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(tasks, "follow_the_clock", fail)
    with pytest.raises(RuntimeError):
        tasks.sweep()
    assert told == []
