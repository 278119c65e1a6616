"""What the sweep sends again, and what it leaves alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from kombu.exceptions import OperationalError

from detection.models import Analysis, Camera, Capture, Chunk, Proxy
from tests.cast import a_media, a_running_analysis, do_chunks
from workers import sweep, tasks

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def queues(monkeypatch):
    """The length of every queue, as the broker would tell it."""
    lengths: dict[str, int] = {}
    monkeypatch.setattr(sweep, "queue_length", lambda queue: lengths.get(queue, 0))
    return lengths


def due() -> list[tuple[str, int]]:
    return [(found.task, found.pk) for found in sweep.due_work()]


def ago(seconds: float):
    return timezone.now() - timedelta(seconds=seconds)


def test_an_analysis_that_was_never_sent_is_sent():
    analysis = Analysis.request(a_media())
    assert due() == [("analyse", analysis.pk)]


def test_one_sent_just_now_is_left_alone_and_one_sent_long_ago_is_sent_again():
    analysis = Analysis.request(a_media())
    Analysis.mark_sent([analysis.pk])
    assert due() == []
    Analysis.objects.update(sent_at=ago(60))
    assert due() == [("analyse", analysis.pk)]


def test_while_the_queue_is_long_queued_work_is_not_doubled(queues):
    Analysis.request(a_media())
    Analysis.objects.update(sent_at=ago(60))
    queues["analyse"] = 1000
    assert due() == []


def test_where_nothing_waits_the_broker_is_not_asked(monkeypatch):
    def asked(queue: str) -> int:
        raise AssertionError(queue)

    monkeypatch.setattr(sweep, "queue_length", asked)
    assert due() == []


def test_a_lost_lease_is_sent_again_even_while_the_queue_is_long(queues):
    queues["chunks"] = 1000
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, "dies")
    Chunk.objects.update(sent_at=ago(60))
    Chunk.objects.filter(pk=chunk.pk).update(lease_until=ago(1))
    assert due() == [("analyse_chunk", chunk.pk)]


def test_of_two_sweeps_at_once_one_sends(monkeypatch):
    """The other one looks while the first has found what is to be sent, and is asking for the queue's length."""
    analysis = Analysis.request(a_media())
    others: list[tuple[str, int]] = []

    def meanwhile(queue: str) -> int:
        monkeypatch.setattr(sweep, "queue_length", lambda queue: 0)
        others.extend(due())
        return 0

    monkeypatch.setattr(sweep, "queue_length", meanwhile)
    assert due() == []
    assert others == [("analyse", analysis.pk)]


def test_of_two_sweeps_at_once_one_sends_a_lost_capture(monkeypatch):
    moment = timezone.now()
    times = {"planned_at": moment, "until": moment + timedelta(seconds=60), "sent_at": ago(30)}
    capture = Capture.objects.create(camera=Camera.objects.create(name="Gate"), **times)
    others: list[Capture] = []

    def meanwhile(queue: str) -> int:
        monkeypatch.setattr(sweep, "queue_length", lambda queue: 0)
        others.extend(sweep.unclaimed_captures())
        return 0

    monkeypatch.setattr(sweep, "queue_length", meanwhile)
    assert sweep.unclaimed_captures() == []
    assert others == [capture]


def test_work_under_a_lease_is_left_alone():
    analysis = a_running_analysis()
    for chunk in analysis.chunks.all():
        Chunk.claim(chunk.pk, "busy")
    assert due() == []


def test_an_analysis_whose_chunks_are_all_done_is_finished():
    analysis = a_running_analysis()
    do_chunks(analysis)
    assert due() == [("finish", analysis.pk)]


def test_a_finish_whose_worker_died_is_sent_again():
    analysis = a_running_analysis()
    do_chunks(analysis)
    Analysis.claim_finish(analysis.pk, "dies")
    assert due() == []
    Analysis.objects.update(lease_until=ago(1))
    assert due() == [("finish", analysis.pk)]


def test_a_copy_for_browsers_is_sent_again_too():
    proxy = Proxy.objects.create(media=a_media())
    assert due() == [("make_proxy", proxy.pk)]


def test_chunks_of_a_cancelled_analysis_are_not_sent():
    a_running_analysis().cancel()
    assert due() == []


def test_what_lost_its_worker_every_time_is_failed_and_not_sent(settings):
    settings.MAX_LAPSES = 2
    analysis = a_running_analysis()
    poison, harmless = analysis.chunks.all()
    for _ in range(3):
        Chunk.claim(poison.pk, "dies")
        Chunk.objects.filter(pk=poison.pk).update(lease_until=ago(1))
    assert due() == []
    analysis.refresh_from_db()
    poison.refresh_from_db()
    assert (analysis.state, analysis.error_kind) == ("failed", "worker_lost")
    assert "3 times" in analysis.error
    assert poison.state == "failed"
    assert Chunk.claim(harmless.pk, "one") is None


def test_a_worker_that_was_only_slow_keeps_its_last_attempt(settings, monkeypatch):
    settings.MAX_LAPSES = 0
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, "slow")
    Chunk.objects.filter(pk=chunk.pk).update(lease_until=ago(1))
    fail, asked = Chunk.fail, []

    def renewed_right_before(row, *args, **kwargs):
        asked.append(row.pk)
        chunk.renew()
        return fail(row, *args, **kwargs)

    monkeypatch.setattr(Chunk, "fail", renewed_right_before)
    assert sweep.give_up() == 0
    assert asked == [chunk.pk]
    chunk.refresh_from_db()
    assert chunk.state == "running"


def test_a_retry_waits_for_its_time():
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, "one")
    Chunk.objects.exclude(pk=chunk.pk).update(sent_at=timezone.now())
    chunk.hand_back("Busy.", delay_s=30)
    assert due() == []


def test_the_sweep_sends_what_is_due_and_notes_it(monkeypatch):
    analysis = Analysis.request(a_media())
    sent = []
    monkeypatch.setattr(tasks.analyse, "apply_async", lambda args, **how: sent.append(args))
    tasks.sweep()
    tasks.sweep()
    assert sent == [(analysis.pk,)]


def test_a_sweep_without_a_broker_ends_quietly_and_the_next_one_sends(monkeypatch):
    analysis = Analysis.request(a_media())

    def away(args, **how):
        raise OperationalError("connection refused")

    monkeypatch.setattr(tasks.analyse, "apply_async", away)
    tasks.sweep()
    analysis.refresh_from_db()
    assert analysis.sent_at is None
    assert tasks.send_analysis(analysis) is False
    assert due() == [("analyse", analysis.pk)]


def test_what_used_up_its_attempts_unclaimed_is_failed_and_does_not_wait_for_ever(settings):
    """As where MAX_ATTEMPTS was lowered."""
    waiting = Analysis.request(a_media())
    looking = a_running_analysis(a_media(b"two"))
    ready = a_running_analysis(a_media(b"three"))
    do_chunks(ready)
    Analysis.objects.filter(pk__in=[waiting.pk, ready.pk]).update(attempts=3, error="Busy.")
    Chunk.objects.filter(pk=looking.chunks.first().pk).update(attempts=3)
    settings.MAX_ATTEMPTS = 3
    assert due() == []
    for analysis in (waiting, looking, ready):
        analysis.refresh_from_db()
        assert (analysis.state, analysis.error_kind) == ("failed", "worker_lost")
        assert "3 times" in analysis.error


def test_finishes_too_are_not_doubled_while_their_queue_is_long(queues):
    ready = a_running_analysis()
    do_chunks(ready)
    Analysis.objects.update(lane="bulk", sent_at=ago(60))
    queues["bulk-finish"] = 1000
    assert due() == []
    queues["bulk-finish"] = 3
    assert due() == [("finish", ready.pk)]


def test_one_long_queue_does_not_keep_the_other_lane_back(queues):
    bulk, waited_for = Analysis.request(a_media()), Analysis.request(a_media(b"two"))
    Analysis.objects.filter(pk=bulk.pk).update(lane="bulk")
    Analysis.objects.update(sent_at=ago(60))
    queues["bulk-analyse"] = 1000
    assert due() == [("analyse", waited_for.pk)]
    Analysis.objects.update(sent_at=ago(60))
    queues.update({"bulk-analyse": 0, "analyse": 1000})
    assert due() == [("analyse", bulk.pk)]


def test_what_lost_its_worker_goes_by_a_queue_of_its_own_past_those_that_wait(queues):
    lost, waiting = a_running_analysis().chunks.all()
    finishing, copying = a_running_analysis(a_media(b"two")), Proxy.objects.create(media=a_media(b"three"))
    do_chunks(finishing)
    Chunk.claim(lost.pk, "dies")
    Analysis.claim_finish(finishing.pk, "dies")
    Proxy.claim(copying.pk, "dies")
    for rows in (Chunk, Analysis, Proxy):
        rows.objects.filter(lease__isnull=False).update(lease_until=ago(1))
    queues["chunks"] = 10
    assert [(found.task, found.pk, found.queue) for found in sweep.due_work()] == [
        ("finish", finishing.pk, "again"),
        ("analyse_chunk", lost.pk, "again"),
        ("analyse_chunk", waiting.pk, "chunks"),
        ("make_proxy", copying.pk, "proxies"),  # which has no other
    ]
