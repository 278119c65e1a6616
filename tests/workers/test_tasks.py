"""What each task sends next."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import ClassVar
from unittest.mock import Mock

import pytest
from celery.exceptions import Retry
from django.db import OperationalError as DatabaseAway
from django.utils import timezone
from kombu.exceptions import OperationalError

from detection.models import Analysis, Chunk, Proxy
from detection.vision.types import DetectStats
from tests.cast import a_media, a_running_analysis, do_chunks
from workers import lanes, steps, tasks
from workers.again import TryAgain

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(monkeypatch):
    """Every message that would go to the broker, as (task, key), or (task, key, how) where it is not as usual."""
    messages: list[tuple] = []

    def post(name, args, **how):
        how = {word: value for word, value in how.items() if value is not None}
        messages.append((name, args[0], how) if how else (name, args[0]))

    for task in (tasks.analyse, tasks.analyse_chunk, tasks.finish, tasks.make_proxy):
        monkeypatch.setattr(task, "apply_async", partial(post, task.name.rpartition(".")[2]))
    return messages


@pytest.fixture
def done(monkeypatch):
    """What the steps were asked to do; ``done.answers`` says what they answer."""

    class Done(list):
        answers: ClassVar[dict] = {}

    calls = Done()
    calls.answers = {}

    def step(name, pk):
        calls.append((name, pk))
        answer = calls.answers.get((name, pk))
        if isinstance(answer, Exception):
            raise answer
        return answer

    for name in ("plan", "detect", "finish", "proxy"):
        monkeypatch.setattr(steps, name, partial(step, name))
    monkeypatch.setattr(steps, "track", lambda row: step("track", row.pk))
    monkeypatch.setattr(tasks, "turns", lanes.Turns())
    return calls


def by(queue):
    """A message that came by this queue."""
    return {"routing_key": queue}


def test_a_planned_analysis_sends_its_chunks(sent, done):
    analysis = a_running_analysis()
    chunks = list(analysis.chunks.all())
    done.answers["plan", analysis.pk] = chunks
    tasks.analyse(analysis.pk)
    assert sent == [("analyse_chunk", chunk.pk) for chunk in chunks]
    assert not Chunk.objects.filter(sent_at=None).exists()


def test_chunks_of_bulk_go_by_the_queue_of_bulk(sent, done):
    analysis = a_running_analysis()
    Analysis.objects.update(lane="bulk")
    analysis.refresh_from_db()
    chunks = list(analysis.chunks.all())
    done.answers["plan", analysis.pk] = chunks
    tasks.analyse(analysis.pk)
    assert sent == [("analyse_chunk", chunk.pk, {"queue": "bulk-chunks"}) for chunk in chunks]


def test_who_does_the_last_chunk_finishes(sent, done):
    analysis = a_running_analysis()
    tasks.analyse_chunk(1)
    assert done == [("detect", 1)]
    done.answers["detect", 2] = steps.Looked(analysis)
    tasks.analyse_chunk(2)
    assert done[1:] == [("detect", 2), ("track", analysis.pk)]
    assert sent == []


def test_a_failure_that_may_pass_becomes_a_retry_of_celery(done, monkeypatch):
    done.answers["finish", 1] = TryAgain(delay_s=4)
    asked = []
    monkeypatch.setattr(tasks.finish, "retry", lambda countdown: asked.append(countdown) or Retry())
    with pytest.raises(Retry):
        tasks.finish(1)
    assert asked == [4]


def test_what_a_stopping_worker_hands_back_goes_past_those_that_wait(sent, done):
    done.answers["detect", 1] = TryAgain(delay_s=0)
    tasks.analyse_chunk(1)
    done.answers["detect", 2] = steps.Looked(a_running_analysis())
    done.answers["track", Analysis.objects.get().pk] = TryAgain(delay_s=0)
    tasks.analyse_chunk(2)
    done.answers["proxy", 3] = TryAgain(delay_s=0)
    tasks.make_proxy(3)
    assert sent == [
        ("analyse_chunk", 1, {"queue": "again"}),
        ("finish", Analysis.objects.get().pk, {"queue": "again"}),
        ("make_proxy", 3),
    ]


def test_a_failure_in_passing_becomes_a_message_for_the_step_that_failed(sent, done):
    analysis = a_running_analysis()
    done.answers["detect", 2] = steps.Looked(analysis)
    done.answers["track", analysis.pk] = TryAgain(delay_s=4)
    tasks.analyse_chunk(2)
    assert sent == [("finish", analysis.pk, {"countdown": 4})]


def test_bulk_that_failed_in_passing_stays_bulk(sent, done):
    analysis = a_running_analysis()
    analysis.lane = "bulk"
    done.answers["detect", 2] = steps.Looked(analysis)
    done.answers["track", analysis.pk] = TryAgain(delay_s=4)
    tasks.analyse_chunk(2)
    assert sent == [("finish", analysis.pk, {"countdown": 4, "queue": "bulk-finish"})]


def test_with_the_broker_away_it_is_asked_once_and_not_for_each_chunk(done, monkeypatch):
    analysis = a_running_analysis()
    done.answers["plan", analysis.pk] = list(analysis.chunks.all())
    asked = []

    def away(*_, **__):
        asked.append(1)
        raise OperationalError("connection refused")

    monkeypatch.setattr(tasks.analyse_chunk, "apply_async", away)
    tasks.analyse(analysis.pk)
    assert len(asked) == 1 < analysis.chunks.count()


def test_a_failure_in_passing_with_the_broker_away_is_left_to_the_sweep(done, monkeypatch):
    analysis = a_running_analysis()
    done.answers["detect", 2] = steps.Looked(analysis)
    done.answers["track", analysis.pk] = TryAgain(delay_s=4)

    def away(*_, **__):
        raise OperationalError("connection refused")

    monkeypatch.setattr(tasks.finish, "apply_async", away)
    tasks.analyse_chunk(2)
    assert done[-1] == ("track", analysis.pk)


def test_bulk_gives_way_to_what_somebody_waits_for_and_is_sent_again(sent, done):
    bulk, waited_for = a_running_analysis(), Analysis.request(a_media(b"another"))
    Analysis.objects.filter(pk=bulk.pk).update(lane="bulk")
    mine = bulk.chunks.first()
    tasks.analyse_chunk.apply(args=(mine.pk,), **by("bulk-chunks"))
    assert done == [("plan", waited_for.pk)]
    assert sent == [("analyse_chunk", mine.pk, {"queue": "bulk-chunks"})]


def test_bulk_that_gave_way_is_sent_again_whatever_became_of_the_other(sent, done):
    bulk, waited_for = a_running_analysis(), Analysis.request(a_media(b"another"))
    Analysis.objects.filter(pk=bulk.pk).update(lane="bulk")
    done.answers["plan", waited_for.pk] = RuntimeError("at the database")
    tasks.finish.apply(args=(bulk.pk,), **by("bulk-finish"))
    assert sent == [("finish", bulk.pk, {"queue": "bulk-finish"})]


def test_bulk_is_done_where_nobody_waits(sent, done):
    bulk = a_running_analysis()
    Analysis.objects.filter(pk=bulk.pk).update(lane="bulk")
    tasks.analyse_chunk.apply(args=(bulk.chunks.first().pk,), **by("bulk-chunks"))
    assert done == [("detect", bulk.chunks.first().pk)]
    assert sent == []


def test_every_fourth_turn_is_of_bulk_that_has_aged(sent, done, settings):
    settings.BULK_AGES_S = 60
    bulk, waited_for = a_running_analysis(), Analysis.request(a_media(b"another"))
    Analysis.objects.filter(pk=bulk.pk).update(lane="bulk")
    mine = bulk.chunks.first()
    done.answers["detect", mine.pk] = steps.Looked(None)
    done.answers["plan", waited_for.pk] = []

    def turn():
        done.clear()
        tasks.analyse_chunk.apply(args=(mine.pk,), **by("bulk-chunks"))
        return done[0][0]

    assert [turn() for _ in range(6)] == ["plan"] * 6  # new as it is, it goes after everything
    Analysis.objects.filter(pk=bulk.pk).update(requested_at=timezone.now() - timedelta(seconds=61))
    assert [turn() for _ in range(9)] == ["detect", "plan", "plan", "plan", "detect", "plan", "plan", "plan", "detect"]
    # What came by its own queue counts as a turn of those who wait.
    for _ in range(3):
        tasks.analyse.apply(args=(waited_for.pk,), **by("analyse"))
    assert turn() == "detect"
    # What found nothing to do was nobody's turn.
    done.answers["plan", waited_for.pk] = None
    for _ in range(3):
        tasks.analyse.apply(args=(waited_for.pk,), **by("analyse"))
    assert turn() == "plan"


def test_a_reopened_analysis_sends_only_what_is_left(sent):
    analysis = a_running_analysis()
    one, two = analysis.chunks.all()
    Chunk.claim(one.pk, "a").finish(b"", DetectStats())
    Chunk.claim(two.pk, "b").fail("unreadable", "The clip breaks off.")
    analysis.retry()
    analysis.refresh_from_db()
    assert tasks.send_analysis(analysis) is True
    assert sent == [("analyse_chunk", two.pk)]


def test_a_reopened_analysis_with_nothing_left_to_look_at_is_finished(sent):
    analysis = a_running_analysis()
    do_chunks(analysis)
    analysis.cancel()
    analysis.retry()
    analysis.refresh_from_db()
    tasks.send_analysis(analysis)
    assert sent == [("finish", analysis.pk)]


def test_a_copy_is_sent(sent):
    proxy = Proxy.objects.create(media=a_media())
    assert tasks.send_proxy(proxy) is True
    assert sent == [("make_proxy", proxy.pk)]


def test_what_was_sent_and_could_not_be_noted_is_no_error_of_who_asked(sent, monkeypatch):
    analysis = Analysis.request(a_media())
    monkeypatch.setattr(Analysis, "mark_sent", Mock(side_effect=DatabaseAway("database or disk is full")))
    assert tasks.send_analysis(analysis)
    assert sent == [("analyse", analysis.pk)]
