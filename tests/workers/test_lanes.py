"""What somebody waits for goes first."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from detection.models import Analysis, Chunk
from tests.cast import a_media, a_running_analysis, a_user, do_chunks
from workers.lanes import Unit, queue_for, waited_for

pytestmark = pytest.mark.django_db


def a_bulk_analysis(content: bytes) -> Analysis:
    analysis = a_running_analysis(a_media(content))
    Analysis.objects.filter(pk=analysis.pk).update(lane="bulk")
    return analysis


def test_the_first_few_that_a_person_asks_for_are_waited_for_and_the_rest_is_bulk(settings):
    settings.INTERACTIVE_MOST = 2
    one, other = a_user("operator"), a_user("reviewer")
    media = a_media()
    lanes = [Analysis.request(media, user=one).lane for _ in range(3)]
    assert lanes == ["interactive", "interactive", "bulk"]
    assert Analysis.request(media, user=other).lane == "interactive"
    assert Analysis.request(media).lane == "interactive"  # a camera's
    # One that is over makes room.
    Analysis.objects.filter(requested_by=one).first().cancel()
    Analysis.objects.filter(requested_by=one, lane="interactive").first().cancel()
    assert Analysis.request(media, user=one).lane == "interactive"


def test_what_is_nearest_to_its_end_comes_first_and_of_the_same_the_oldest():
    new = Analysis.request(a_media(b"new"))
    newer = Analysis.request(a_media(b"newer"))
    looking = a_running_analysis(a_media(b"looking"))
    ready = a_running_analysis(a_media(b"ready"))
    do_chunks(ready)
    a_bulk_analysis(b"bulk")
    first = looking.chunks.first()
    assert waited_for() == Unit("finish", ready.pk)
    ready.cancel()
    assert waited_for() == Unit("analyse_chunk", first.pk)
    looking.cancel()
    assert waited_for() == Unit("analyse", new.pk)
    new.cancel()
    assert waited_for() == Unit("analyse", newer.pk)
    newer.cancel()
    assert waited_for() is None


def test_what_a_worker_has_or_is_to_be_tried_later_is_not_waited_for():
    looking = a_running_analysis()
    one, two = looking.chunks.all()
    Chunk.claim(one.pk, "busy")
    Chunk.claim(two.pk, "busy").hand_back("Away.", delay_s=60)
    assert waited_for() is None
    Chunk.objects.filter(pk=two.pk).update(sent_at=timezone.now() - timedelta(seconds=1))
    assert waited_for() == Unit("analyse_chunk", two.pk)


def test_what_used_up_its_attempts_is_not_waited_for(settings):
    Analysis.request(a_media())
    Analysis.objects.update(attempts=settings.MAX_ATTEMPTS)
    assert waited_for() is None


def test_bulk_has_queues_of_its_own():
    assert queue_for("bulk", "chunks") == "bulk-chunks"
    assert queue_for("interactive", "chunks") == "chunks"
    assert queue_for("", "proxies") == "proxies"
