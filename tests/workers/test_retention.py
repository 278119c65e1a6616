"""The task that removes what retention lets go: some seconds at a time, until nothing is left to go."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.conf import settings as site
from django.utils import timezone
from kombu.exceptions import OperationalError

from detection.models import Capture, Media
from detection.models import pruning as pruning_module
from tests.cast import a_camera, a_capture
from tests.models.aged import old_media
from workers import retention, stopping, tasks

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rules(settings, monkeypatch):
    settings.RETAIN_DAYS, settings.RETAIN_BYTES, settings.RETAIN_CAPTURES_DAYS = 30, 0, 0
    monkeypatch.setattr(pruning_module, "LONGEST_REST_S", 0)


@pytest.fixture
def sent(monkeypatch):
    messages = []
    monkeypatch.setattr(tasks.prune, "apply_async", lambda **options: messages.append(options))
    return messages


def test_it_comes_every_hour_and_has_its_queue():
    entry = site.CELERY["beat_schedule"]["prune"]
    assert entry["task"] == tasks.prune.name
    assert entry["schedule"] == 3600
    assert site.CELERY["task_routes"][tasks.prune.name] == {"queue": "housekeeping"}
    assert entry["options"] == {"expires": 3600}, "one row of runs at a time"


def test_a_run_removes_what_is_to_go_and_says_so_in_one_line(sent, caplog):
    caplog.set_level(logging.INFO, "workers.retention")
    old_media(days=31, size=2000)
    new = old_media(days=1)
    tasks.prune()
    assert list(Media.objects.all()) == [new]
    assert sent == []
    lines = [record.message for record in caplog.records if record.name == "workers.retention"]
    assert len(lines) == 1
    assert lines[0].startswith(
        "retention removed 1 media of 2 kB (0 of them not reviewed, 0 whose analysis had failed, "
    )
    assert lines[0].endswith("s; nothing more is to go")


def test_without_a_rule_it_costs_one_question_and_says_nothing(settings, sent, caplog, django_assert_num_queries):
    caplog.set_level(logging.INFO, "workers.retention")
    settings.RETAIN_DAYS = 0
    old_media(days=9999)
    a_camera()
    with django_assert_num_queries(1):
        tasks.prune()
    assert caplog.records == []


@pytest.mark.parametrize("rule", ["RETAIN_BYTES", "camera", "RETAIN_CAPTURES_DAYS"])
def test_each_rule_alone_is_enough(settings, sent, rule):
    settings.RETAIN_DAYS = 0
    camera = a_camera(retain_days=7 if rule == "camera" else None)
    old_media(days=31, size=2, camera=camera)
    a_capture(camera, at=timezone.now() - timedelta(days=99))
    if rule != "camera":
        setattr(settings, rule, {"RETAIN_BYTES": 1, "RETAIN_CAPTURES_DAYS": 40}[rule])
    tasks.prune()
    assert (Media.objects.count(), Capture.objects.count()) == ((1, 0) if rule == "RETAIN_CAPTURES_DAYS" else (0, 1))


def test_where_more_is_left_it_goes_on_until_the_next_hours(sent, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "workers.retention")
    monkeypatch.setattr(retention, "RUN_S", 0)
    for n in range(4):
        old_media(days=31 + n)
    tasks.prune()
    assert sent == [{"expires": 3600}]
    assert Media.objects.count() == 3
    assert "more is to go" in caplog.text
    at = "2026-11-26T10:00:00+00:00"
    tasks.prune.push_request(expires=at)
    try:
        tasks.prune()
    finally:
        tasks.prune.pop_request()
    assert Media.objects.count() == 2
    assert sent[1:] == [{"expires": at}], "no longer than the first of these runs"


def test_a_worker_that_is_to_stop_hands_it_on(sent):
    old_media(days=31), old_media(days=31)
    stopping.say()
    try:
        tasks.prune()
    finally:
        stopping.unsay()
    assert Media.objects.count() == 1
    assert len(sent) == 1


def test_without_the_queue_the_next_hours_run_goes_on(monkeypatch, caplog):
    monkeypatch.setattr(retention, "RUN_S", 0)

    def away(*_: object, **__: object) -> None:
        raise OperationalError("no broker")

    monkeypatch.setattr(tasks.prune, "apply_async", away)
    old_media(days=31), old_media(days=31)
    tasks.prune()
    assert "the broker is away, retention goes on within the hour" in caplog.text


def test_a_limit_that_cannot_be_kept_is_in_the_log(settings, sent, caplog):
    settings.RETAIN_BYTES = 10
    old_media(size=15).set_kept(True)
    tasks.prune()
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings[0].startswith("All media together take 5 bytes more than the 10 bytes that RETAIN_BYTES allows")
