"""Cancelling and retrying thousands: the same as one by one, in a few statements."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from detection.models import Analysis, Chunk
from detection.models.failures import by_kind, to_do, to_retry
from detection.vision.types import DetectStats
from tests.cast import a_done_analysis, a_media, a_running_analysis
from tests.databases import Beside, on_postgresql

pytestmark = pytest.mark.django_db


class Wire:
    """Takes so many messages, then the broker is away."""

    def __init__(self, takes: int = 1000) -> None:
        self.takes = takes
        self.asked: list[Analysis] = []

    def send(self, analysis: Analysis) -> bool:
        self.asked.append(analysis)
        return len(self.asked) <= self.takes


def a_failed(name: str, kind: str = "storage", media=None) -> Analysis:
    """One chunk of two is done, the other has failed and its analysis with it."""
    analysis = a_running_analysis(media or a_media(name.encode(), name=name))
    one, two = analysis.chunks.all()
    Chunk.claim(one.pk, "a").finish(b"kept", DetectStats(1, 1, 1))
    Chunk.claim(two.pk, "b").fail(kind, f"It is {kind}.", "the tail")
    analysis.refresh_from_db()
    return analysis


def a_failed_plan(name: str) -> Analysis:
    analysis = Analysis.claim(Analysis.request(a_media(name.encode(), name=name)).pk, "planner")
    analysis.fail("unreadable", "It is damaged.")
    return analysis


def everything(analysis: Analysis) -> tuple:
    """What a retry changes, on the row and on its chunks."""
    names = ("state", "step", "attempts", "lapses", "lease", "lease_until", "sent_at", "finished_at", "error_kind")
    names += ("error", "error_detail")
    chunks = analysis.chunks.order_by("number")
    of_chunks = [name for name in names if name != "step"]
    return Analysis.objects.values_list(*names).get(pk=analysis.pk), list(
        chunks.values_list("frames_read", "detections", *of_chunks)
    )


def test_many_are_opened_just_as_one_is():
    many = [a_failed("a"), a_failed_plan("b")]
    single = [a_failed("c"), a_failed_plan("d")]
    for analysis in (*many, *single):
        Chunk.objects.filter(analysis=analysis, state="done").update(sent_at=None, finished_at=None)
    assert Analysis.retry_many(Analysis.objects.filter(pk__in=[one.pk for one in many]), Wire(0).send) == 2
    assert all(one.retry() for one in single)
    assert [everything(one) for one in many] == [everything(one) for one in single]
    assert [everything(one)[0][0] for one in many] == ["running", "queued"]
    assert list(many[0].chunks.values_list("state", flat=True)) == ["done", "queued"]


def test_only_what_failed_or_was_cancelled_is_opened():
    cancelled = a_running_analysis(a_media(b"1"))
    cancelled.cancel()
    done, running = a_done_analysis(a_media(b"2")), a_running_analysis(a_media(b"3"))
    held = Chunk.claim(running.chunks.first().pk, "worker")
    wire = Wire()
    assert Analysis.retry_many(Analysis.objects.all(), wire.send) == 1
    assert [one.pk for one in wire.asked] == [cancelled.pk]
    done.refresh_from_db()
    assert done.state == "done"
    held.renew(frames_read=5)  # still this worker's


def test_it_goes_in_batches(monkeypatch):
    monkeypatch.setattr("detection.models.analysis.BATCH", 2)
    for number in range(5):
        a_failed(str(number))
    assert Analysis.retry_many(Analysis.objects.all(), Wire().send) == 5
    assert Analysis.cancel_many(Analysis.objects.all()) == 5
    assert set(Analysis.objects.values_list("state", flat=True)) == {"cancelled"}


def test_many_rows_take_as_many_statements_as_few(django_assert_max_num_queries):
    for number in range(12):
        a_failed(str(number))
    with django_assert_max_num_queries(8):  # with the savepoint, and the look for those to send
        assert Analysis.retry_many(Analysis.objects.all(), Wire(0).send) == 12
    with django_assert_max_num_queries(6):
        assert Analysis.cancel_many(Analysis.objects.all()) == 12


def test_the_first_are_sent_and_the_sweep_sends_the_rest(monkeypatch):
    monkeypatch.setattr("detection.models.analysis.BATCH", 2)
    monkeypatch.setattr("detection.models.analysis.SENT_AT_ONCE", 3)
    failed = [a_failed_plan(str(number)) for number in range(5)]
    wire = Wire()
    Analysis.retry_many(Analysis.objects.all(), wire.send)
    assert [one.pk for one in wire.asked] == [one.pk for one in failed[:3]]
    assert {one.state for one in wire.asked} == {"queued"}  # as they are now, not as they were
    assert set(Analysis.objects.values_list("sent_at", flat=True)) == {None}


def test_a_broker_that_is_away_is_asked_once(monkeypatch):
    monkeypatch.setattr("detection.models.analysis.BATCH", 2)
    for number in range(5):
        a_failed(str(number))
    wire = Wire(takes=0)
    assert Analysis.retry_many(Analysis.objects.all(), wire.send) == 5
    assert len(wire.asked) == 1


def test_more_than_anybody_waits_for_become_bulk(settings):
    settings.INTERACTIVE_MOST = 2
    few = [a_failed(str(number)) for number in range(2)]
    Analysis.retry_many(Analysis.objects.all(), Wire().send)
    assert {Analysis.objects.get(pk=one.pk).lane for one in few} == {"interactive"}
    for number in range(3):
        a_failed(f"more {number}")
    a_failed_plan("plan")
    Analysis.retry_many(Analysis.objects.filter(state="failed"), Wire().send)
    assert sorted(Analysis.objects.values_list("lane", flat=True)) == ["bulk"] * 4 + ["interactive"] * 2


def test_cancelling_many_ends_leases_and_leaves_what_is_over():
    queued = Analysis.request(a_media(b"1"))
    planning = Analysis.claim(Analysis.request(a_media(b"2")).pk, "planner")
    done, failed = a_done_analysis(a_media(b"3")), a_failed("4")
    assert Analysis.cancel_many(Analysis.objects.all()) == 2
    states = dict(Analysis.objects.values_list("pk", "state"))
    assert states == {queued.pk: "cancelled", planning.pk: "cancelled", done.pk: "done", failed.pk: "failed"}
    planning.refresh_from_db()
    assert (planning.lease, planning.lease_until) == (None, None)
    assert planning.finished_at is not None


# What failed, and is still to be done something about


def test_of_each_media_only_the_latest_analysis_is_to_do():
    media = a_media(b"again")
    old = a_failed("", media=media)
    assert list(to_do(Analysis.objects.all())) == [old]
    newer = a_failed("", media=media)
    assert list(to_do(Analysis.objects.all())) == [newer]
    a_done_analysis(media)
    other = a_failed("other")
    cancelled = a_running_analysis(a_media(b"cancelled"))
    cancelled.cancel()
    assert list(to_do(Analysis.objects.all())) == [other]
    assert set(to_retry(Analysis.objects.all())) == {other, cancelled}


def test_of_two_that_were_asked_for_at_the_same_time_the_second_is_the_latest():
    media = a_media(b"again")
    first, second = a_failed("", media=media), a_failed("", media=media)
    Analysis.objects.update(requested_at=first.requested_at)
    assert list(to_do(Analysis.objects.all())) == [second]


def test_failures_are_counted_by_kind_the_most_frequent_first():
    last = [a_failed(str(number)) for number in range(3)][-1]
    other = a_failed("other", "detector")
    Analysis.objects.filter(pk=other.pk).update(error="Another sentence.")
    nameless = a_failed("nameless", "")
    storage, none, detector = by_kind(Analysis.objects.all())
    assert (storage.kind, storage.count, storage.error, storage.is_same) == ("storage", 3, "It is storage.", True)
    assert storage.until == last.finished_at
    assert (detector.kind, detector.count, detector.until) == ("detector", 1, other.finished_at)
    assert (none.kind, none.count, none.until) == ("-", 1, nameless.finished_at)
    Analysis.objects.filter(pk=last.pk).update(error="A third.")
    assert by_kind(Analysis.objects.all())[0].is_same is False


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@on_postgresql
def test_two_people_who_retry_the_same_open_each_once():
    failed = [a_failed(str(number)) for number in range(20)]
    begin = threading.Barrier(2)
    opened, sent = [], []

    def retry() -> None:
        try:
            begin.wait(timeout=10)
            rows = Analysis.objects.filter(pk__in=[one.pk for one in failed])
            opened.append(Analysis.retry_many(rows, lambda analysis: sent.append(analysis.pk) is None))
        finally:
            connection.close()

    people = [threading.Thread(target=retry) for _ in range(2)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert sum(opened) == 20
    assert sorted(sent) == [one.pk for one in failed]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@on_postgresql
def test_a_retry_in_the_middle_of_a_cancel_comes_too_early(monkeypatch):
    """It once came between the cancel's two statements; the second could then close the chunks of a running one."""
    analysis = a_running_analysis()
    close, others = Analysis._close_chunks, []

    def in_the_middle(pks):
        if not others:
            others.append(Beside(analysis.retry).join())
        close(pks)

    monkeypatch.setattr(Analysis, "_close_chunks", in_the_middle)
    assert analysis.cancel()
    assert others == [False]
    analysis.refresh_from_db()
    assert analysis.state == "cancelled"
    assert set(analysis.chunks.values_list("state", flat=True)) == {"cancelled"}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@on_postgresql
def test_a_chunk_that_fails_in_the_middle_of_a_cancel_waits_for_it(monkeypatch):
    """Each once held the row that the other wanted."""
    analysis = a_running_analysis()
    chunk = Chunk.claim(analysis.chunks.first().pk, "one")
    close, others = Analysis._close_chunks, []

    def in_the_middle(pks):
        if not others:
            others.append(Beside(lambda: chunk.fail("detector", "It is broken.")))
            others[0].wait_until_it_waits()
        close(pks)

    monkeypatch.setattr(Analysis, "_close_chunks", in_the_middle)
    assert analysis.cancel()
    assert others[0].join() is False
    analysis.refresh_from_db()
    assert analysis.state == "cancelled"
