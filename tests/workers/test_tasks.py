"""What each task sends next."""

from __future__ import annotations

import pytest
from celery.exceptions import Retry

from detection.models import Chunk, Proxy
from detection.vision.types import DetectStats
from tests.cast import a_media, a_running_analysis, do_chunks
from workers import steps, tasks
from workers.again import TryAgain

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(monkeypatch):
    """Every message that would go to the broker, as (task, key)."""
    messages: list[tuple[str, int]] = []
    for task in (tasks.analyse, tasks.analyse_chunk, tasks.finish, tasks.make_proxy):
        name = task.name.rpartition(".")[2]
        monkeypatch.setattr(task, "apply_async", lambda args, name=name: messages.append((name, args[0])))
    return messages


def test_a_planned_analysis_sends_its_chunks(sent, monkeypatch):
    analysis = a_running_analysis()
    chunks = list(analysis.chunks.values_list("pk", flat=True))
    monkeypatch.setattr(steps, "plan", lambda pk: chunks)
    tasks.analyse(analysis.pk)
    assert sent == [("analyse_chunk", pk) for pk in chunks]
    assert not Chunk.objects.filter(sent_at=None).exists()


def test_the_last_chunk_sends_the_finish(sent, monkeypatch):
    analysis = a_running_analysis()
    answers = iter([None, analysis.pk])
    monkeypatch.setattr(steps, "detect", lambda pk: next(answers))
    tasks.analyse_chunk(1)
    assert sent == []
    tasks.analyse_chunk(2)
    assert sent == [("finish", analysis.pk)]


def test_a_failure_that_may_pass_becomes_a_retry_of_celery(monkeypatch):
    def busy(pk):
        raise TryAgain(delay_s=4)

    monkeypatch.setattr(steps, "finish", busy)
    asked = []
    monkeypatch.setattr(tasks.finish, "retry", lambda countdown: asked.append(countdown) or Retry())
    with pytest.raises(Retry):
        tasks.finish(1)
    assert asked == [4]


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
