"""How far, how fast, how long, and who is before: from what the rows say, and nothing where they say nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings

from detection.models import Analysis, Chunk, Model
from detection.models.forecast import Backlog, backlog, forecasts, waiting
from detection.models.speed import Speed
from detection.vision.types import Span
from tests.cast import CLIP, IMAGE, NOON, a_done_analysis, a_media, a_running_analysis

pytestmark = pytest.mark.django_db
SPEED = Speed(image_s=2.0, frame_s=0.1, clip_s=2.5, byte_s=0.001)


@pytest.fixture(autouse=True)
def _at_noon(monkeypatch):
    monkeypatch.setattr("detection.models.forecast.now", lambda: NOON)


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(Speed, "measured", classmethod(lambda cls: SPEED))


def ago(seconds: float):
    return NOON - timedelta(seconds=seconds)


def at_work(chunk: Chunk, begun_s: float, frames_read: int, **more) -> None:
    """A worker began with it so many seconds ago and has just renewed its lease."""
    values = {"started_at": ago(begun_s), "lease_until": NOON + timedelta(seconds=settings.LEASE_S), **more}
    Chunk.objects.filter(pk=chunk.pk).update(state="running", frames_read=frames_read, **values)


def worked(chunk: Chunk, begun_s: float, ended_s: float, frames_read: int = 125, **more) -> None:
    times = {"started_at": ago(begun_s), "finished_at": ago(ended_s), **more}
    Chunk.objects.filter(pk=chunk.pk).update(state="done", frames_read=frames_read, **times)


def forecast(analysis: Analysis):
    analysis.refresh_from_db()
    return forecasts([analysis])[analysis.pk]


# The rate


def test_the_rate_is_what_was_read_since_the_worker_began():
    analysis = a_running_analysis()
    at_work(analysis.chunks.first(), 10, 100)
    seen = forecast(analysis)
    assert (seen.frames, seen.planned, seen.share) == (100, 250, pytest.approx(0.4))
    assert seen.rate == pytest.approx(10)
    assert seen.left_s == pytest.approx(15)
    assert seen.place is None


def test_workers_add_up():
    analysis = a_running_analysis()
    for chunk in analysis.chunks.all():
        at_work(chunk, 10, 100)
    assert forecast(analysis).rate == pytest.approx(20)


def test_there_is_no_rate_before_it_means_something():
    analysis = a_running_analysis()
    at_work(analysis.chunks.first(), 1.5, 100)
    seen = forecast(analysis)
    assert (seen.frames, seen.rate, seen.left_s) == (100, None, None)
    at_work(analysis.chunks.first(), 20, 0)
    assert forecast(analysis).rate is None


def test_only_the_last_minute_counts():
    analysis = a_running_analysis()
    one, two = analysis.chunks.all()
    worked(one, 120, 30, frames_read=90)  # one a second, 30 of them in the last minute
    at_work(two, 30, 60)
    assert forecast(analysis).rate == pytest.approx((30 + 60) / 60)


def test_after_a_restart_what_was_read_before_counts_as_done_and_not_towards_the_rate():
    analysis = a_running_analysis()
    one, two = analysis.chunks.all()
    worked(one, 4000, 3900)
    at_work(two, 3900, 50, sent_at=ago(5))  # begun first an hour ago, and sent again by the sweep
    seen = forecast(analysis)
    assert seen.frames == 175
    assert seen.rate == pytest.approx(10)
    assert seen.left_s == pytest.approx(7.5)


def test_a_message_that_is_older_than_the_claim_says_nothing_of_the_rate():
    analysis = a_running_analysis()
    at_work(analysis.chunks.first(), 10, 100, sent_at=ago(50))  # it has waited in the queue
    assert forecast(analysis).rate == pytest.approx(10)


def test_time_in_which_nobody_is_at_it_slows_it_down():
    analysis = a_running_analysis()
    worked(analysis.chunks.first(), 30, 20)
    assert forecast(analysis).rate == pytest.approx(125 / 30)


def test_the_chunk_of_a_dead_worker_has_no_rate():
    analysis = a_running_analysis()
    at_work(analysis.chunks.first(), 60, 100, lease_until=ago(1))
    seen = forecast(analysis)
    assert (seen.frames, seen.rate) == (100, None)


def test_what_is_over_has_no_forecast():
    assert forecasts([a_done_analysis()]) == {}


# The queue


def in_queue(name: str, info=IMAGE, lane: str = "interactive") -> Analysis:
    analysis = Analysis.request(a_media(name.encode(), info, name=name))
    Analysis.objects.filter(pk=analysis.pk).update(lane=lane)
    analysis.refresh_from_db()
    return analysis


def test_those_that_somebody_waits_for_are_before_bulk_and_the_oldest_first(measured):
    bulk, more_bulk = in_queue("a", lane="bulk"), in_queue("b", lane="bulk")
    first, second = in_queue("c"), in_queue("d")
    a_done_analysis(a_media(b"over"))
    seen = forecasts([bulk, more_bulk, first, second])
    assert [seen[one.pk].place for one in (first, second, bulk, more_bulk)] == [1, 2, 3, 4]
    assert [seen[one.pk].begins_s for one in (first, second, bulk, more_bulk)] == [None, 2.0, 4.0, 6.0]


def test_what_is_worked_on_is_before_and_what_was_read_of_it_takes_no_more_time(measured):
    running = a_running_analysis(a_media(b"clip"))
    at_work(running.chunks.first(), 10, 100)
    picture = in_queue("picture")
    last = in_queue("last", lane="bulk")
    seen = forecasts([running, picture, last])
    assert seen[running.pk].place is None
    assert (seen[picture.pk].place, seen[picture.pk].begins_s) == (2, pytest.approx(15))  # 150 frames of 0.1 s
    assert (seen[last.pk].place, seen[last.pk].begins_s) == (3, pytest.approx(17))


def test_what_was_read_of_something_that_comes_later_is_not_taken_off(measured):
    bulk = a_running_analysis(a_media(b"bulk clip"))
    at_work(bulk.chunks.first(), 10, 100)
    Analysis.objects.update(lane="bulk")
    clip = in_queue("clip", info=CLIP)
    picture = in_queue("picture")
    assert forecasts([picture])[picture.pk].begins_s == pytest.approx(25)
    assert forecasts([clip])[clip.pk].place == 1


def test_a_planned_one_that_nobody_has_begun_with_waits_too(measured):
    in_queue("before")
    planned = a_running_analysis()
    assert forecast(planned).place == 2
    Chunk.objects.filter(analysis=planned, number=0).update(frames_read=1)
    assert forecast(planned).place is None


def test_one_that_is_being_planned_does_not_wait():
    analysis = in_queue("held")
    Analysis.claim(analysis.pk, "planner")
    Analysis.objects.update(lease_until=NOON + timedelta(seconds=5))
    assert forecast(analysis).place is None


def test_no_estimate_is_made_of_what_was_never_measured(monkeypatch):
    monkeypatch.setattr(Speed, "measured", classmethod(lambda cls: Speed(frame_s=0.1)))
    in_queue("a picture")
    last = in_queue("last")
    assert (forecast(last).place, forecast(last).begins_s) == (2, None)
    assert backlog(Speed(frame_s=0.1)) == Backlog(2, None)


def test_the_backlog_is_all_that_is_not_over():
    running = a_running_analysis(a_media(b"clip"))
    at_work(running.chunks.first(), 10, 100)
    in_queue("picture")
    a_done_analysis(a_media(b"over"))
    assert backlog(SPEED) == Backlog(2, pytest.approx(17))
    Analysis.objects.all().delete()
    assert backlog(SPEED) == Backlog(0, 0)


def test_many_take_as_many_queries_as_one(django_assert_max_num_queries, monkeypatch):
    monkeypatch.setattr(Speed, "measured", classmethod(lambda cls: SPEED))
    many = [in_queue(str(number)) for number in range(30)]
    with django_assert_max_num_queries(4):
        seen = forecasts(many)
    assert [seen[one.pk].place for one in many] == list(range(1, 31))


def test_a_thousand_that_wait_are_answered_in_one_go(measured, django_assert_max_num_queries):
    media, model = [a_media(b"picture", IMAGE), a_media(b"clip", CLIP)], Model.active()
    Analysis.objects.bulk_create(
        Analysis(media=media[number % 2], model=model, params={}, lane="interactive" if number % 10 == 9 else "bulk")
        for number in range(1000)
    )
    all_of_them = list(Analysis.objects.order_by("-pk"))
    with django_assert_max_num_queries(4):
        seen = forecasts(all_of_them)
    first, second, *_, last = sorted(all_of_them, key=lambda one: (one.lane == "bulk", one.pk))
    assert [seen[one.pk].place for one in (first, second, last)] == [1, 2, 1000]
    assert sorted(one.place for one in seen.values()) == list(range(1, 1001))
    assert first.media == second.media == media[1]
    assert (seen[first.pk].begins_s, seen[second.pk].begins_s) == (None, pytest.approx(25))  # after one clip
    assert last.media == media[0]
    assert seen[last.pk].begins_s == pytest.approx(499 * 2 + 500 * 25)  # after all the others


def test_which_ones_wait():
    queued = in_queue("queued")
    planned = a_running_analysis(a_media(b"planned"))
    begun = a_running_analysis(a_media(b"begun"))
    Chunk.claim(begun.chunks.first().pk, "worker")
    half = a_running_analysis(a_media(b"half"))
    worked(half.chunks.first(), 20, 10)
    Analysis.claim(in_queue("held").pk, "planner")
    a_done_analysis(a_media(b"over"))
    assert set(Analysis.objects.filter(waiting())) == {queued, planned}


def test_a_plan_of_no_frames_is_no_share():
    analysis = Analysis.claim(Analysis.request(a_media()).pk, "planner")
    analysis.planned([Span(0, 0.0, 0.0, 0)])
    assert forecast(analysis).share == 0
