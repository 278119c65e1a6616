from datetime import timedelta

import pytest
from django.utils import timezone

from detection.models import Analysis, Chunk, LeaseLost, Media, Sighting
from detection.vision.types import DetectStats
from tests.cast import NOON, a_done_analysis, a_media, a_model, a_running_analysis, a_track, a_user, do_chunks

pytestmark = pytest.mark.django_db


def test_an_analysis_says_where_it_came_from():
    user = a_user("operator")
    analysis = a_done_analysis(user=user)
    assert analysis.model.name == "motion"
    assert analysis.params["fps"] == 5.0
    assert analysis.code_version
    assert analysis.requested_by == user
    assert (analysis.frames_planned, analysis.frames_read, analysis.frames_inferred) == (250, 250, 40)
    assert analysis.worker == "worker"
    assert analysis.wall_s >= 0


def test_it_cannot_be_finished_before_all_its_chunks_are():
    analysis = a_running_analysis()
    assert Analysis.claim_finish(analysis.pk, "one") is None
    do_chunks(analysis)
    assert Analysis.claim_finish(analysis.pk, "one") is not None
    assert Analysis.claim_finish(analysis.pk, "two") is None


def test_a_finish_whose_worker_died_is_done_once_by_the_next():
    analysis = a_running_analysis()
    do_chunks(analysis)
    dead = Analysis.claim_finish(analysis.pk, "dead")
    Analysis.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    alive = Analysis.claim_finish(analysis.pk, "alive")
    alive.finish([a_track()], {}, 0.1)
    with pytest.raises(LeaseLost):
        dead.finish([a_track(), a_track()], {}, 0.1)
    assert analysis.sightings.count() == 1


def test_a_finish_that_is_handed_back_can_be_claimed_again():
    analysis = a_running_analysis()
    do_chunks(analysis)
    Analysis.claim_finish(analysis.pk, "one").hand_back("Disk full.", delay_s=2)
    again = Analysis.claim_finish(analysis.pk, "two")
    assert again.attempts == 2


def test_sightings_hold_the_path_and_the_time_on_the_wall():
    analysis = a_done_analysis()
    sighting = analysis.sightings.get()
    assert (sighting.label, sighting.number, sighting.start_s) == ("car", 1, 1.0)
    assert sighting.end_s == pytest.approx(1.8)
    assert sighting.best_s == pytest.approx(1.4)
    assert sighting.best_box == [120.0, 50.0, 200.0, 100.0]
    assert sighting.at == analysis.media.at + timedelta(seconds=1)


def test_of_two_analyses_the_latest_to_finish_is_the_current_one():
    media = a_media()
    first = a_done_analysis(media)
    second = a_done_analysis(media)
    assert list(Analysis.objects.filter(is_current=True)) == [second]
    assert set(Sighting.objects.filter(Sighting.current())) == set(second.sightings.all())
    assert first.sightings.count() == 1


def test_an_older_request_that_finishes_later_does_not_replace_the_newer_result():
    media = a_media()
    older = a_running_analysis(media)
    newer = a_done_analysis(media)
    do_chunks(older)
    Analysis.claim_finish(older.pk, "worker").finish([a_track(), a_track("person")], {}, 0.1)
    assert list(Analysis.objects.filter(is_current=True)) == [newer]
    assert older.sightings.count() == 2


def test_a_time_that_a_person_gives_while_it_finishes_is_the_sightings_time():
    analysis = a_running_analysis()
    do_chunks(analysis)
    finishing = Analysis.claim_finish(analysis.pk, "worker")
    assert finishing.media.captured_at is None  # read before the person's change
    Media.objects.get().set_captured_at(NOON)
    finishing.finish([a_track()], {}, 0.1)
    assert analysis.sightings.get().at == NOON + timedelta(seconds=1)


def test_a_finish_of_a_media_that_was_removed_is_a_lost_lease():
    analysis = a_running_analysis()
    do_chunks(analysis)
    finishing = Analysis.claim_finish(analysis.pk, "worker")
    Media.objects.get().remove()
    with pytest.raises(LeaseLost):
        finishing.finish([a_track()], {}, 0.1)


def test_frames_that_could_not_be_read_are_told():
    analysis = a_done_analysis()
    assert analysis.frames_unreadable == 0
    analysis.frames_read = 200
    assert analysis.frames_unreadable == 50
    analysis.frames_read = 248  # where groups of pictures join, a few are in the index and never shown
    assert analysis.frames_unreadable == 0


def test_a_chunk_that_fails_ends_its_analysis_with_its_sentence():
    analysis = a_running_analysis()
    chunk = Chunk.claim(analysis.chunks.first().pk, "one")
    chunk.fail("unreadable", "The clip breaks off.", "av.error.InvalidDataError")
    analysis.refresh_from_db()
    assert (analysis.state, analysis.error_kind, analysis.error) == ("failed", "unreadable", "The clip breaks off.")
    assert analysis.finished_at


def test_retry_repeats_only_what_was_not_done():
    analysis = a_running_analysis()
    one, two = analysis.chunks.all()
    Chunk.claim(one.pk, "a").finish(b"kept", DetectStats(1, 1, 1))
    Chunk.claim(two.pk, "b").fail("unreadable", "The clip breaks off.")
    analysis.refresh_from_db()
    assert analysis.retry() is True
    assert analysis.retry() is False
    states = {chunk.number: (chunk.state, chunk.attempts) for chunk in analysis.chunks.all()}
    assert states == {0: ("done", 1), 1: ("queued", 0)}
    analysis.refresh_from_db()
    assert (analysis.state, analysis.error) == ("running", "")


def test_retry_of_one_that_failed_while_planning_plans_again():
    analysis = Analysis.claim(Analysis.request(a_media()).pk, "one")
    assert analysis.fail("unreadable", "The file cannot be read.") is True
    assert analysis.retry() is True
    assert Analysis.claim(analysis.pk, "two") is not None


def test_a_cancelled_analysis_can_be_retried_and_a_finished_one_cannot_be_cancelled():
    analysis = a_running_analysis()
    assert analysis.cancel() is True
    assert analysis.cancel() is False
    assert analysis.retry() is True
    done = a_done_analysis(a_media(b"another"))
    assert done.cancel() is False
    assert done.retry() is False


def test_progress_is_the_share_of_frames_read():
    analysis = a_running_analysis()
    assert analysis.progress() == 0
    Chunk.claim(analysis.chunks.first().pk, "one").renew(frames_read=50)
    assert analysis.progress() == pytest.approx(0.2)
    assert a_done_analysis(a_media(b"another")).progress() == 1


def test_nothing_found_is_done_and_not_failed():
    analysis = a_done_analysis(tracks=[])
    assert analysis.state == "done"
    assert analysis.sightings.count() == 0
    assert analysis.frames_inferred == 40


def test_the_active_model_is_one():
    model = a_model()
    model.activate()
    assert Analysis.request(a_media()).model == model
    assert Media.objects.count() == 1
    a_model("other").activate()
    assert Analysis.request(a_media()).model.name == "other"
