"""Claims, leases and attempts: the row is the truth."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from detection.models import Analysis, Chunk, LeaseLost
from detection.scrub import scrub
from detection.vision.types import DetectStats
from tests.cast import SPANS, a_media, a_running_analysis, do_chunks
from tests.databases import on_postgresql

pytestmark = pytest.mark.django_db


def let_the_lease_run_out(row):
    type(row).objects.filter(pk=row.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_of_two_workers_one_gets_the_row():
    analysis = Analysis.request(a_media())
    first, second = Analysis.claim(analysis.pk, "one"), Analysis.claim(analysis.pk, "two")
    assert first.worker == "one"
    assert second is None


def test_a_row_that_is_gone_is_nobodys():
    assert Analysis.claim(12345, "one") is None


def test_a_claim_counts_the_attempt_and_keeps_the_first_start():
    chunk = a_running_analysis().chunks.first()
    first = Chunk.claim(chunk.pk, "one")
    first.hand_back("Busy.")
    second = Chunk.claim(chunk.pk, "two")
    assert (first.attempts, second.attempts) == (1, 2)
    assert first.started_at == second.started_at


def test_an_error_is_kept_without_what_is_secret_in_the_words_of_libraries():
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, "one")
    said = "OSError: cannot open rtsp://admin:s3cret@10.0.0.5/x?pwd=s3cret"
    chunk.hand_back(said, f"Traceback …\n{said}")
    chunk.refresh_from_db()
    assert (chunk.error, chunk.error_detail) == (scrub(said), f"Traceback …\n{scrub(said)}")
    assert Chunk.claim(chunk.pk, "two").fail("unexpected", said, said)
    chunk.refresh_from_db()
    assert "s3cret" not in chunk.error + chunk.error_detail
    assert "10.0.0.5" in chunk.error


def test_a_lease_that_ran_out_is_the_same_attempt_taken_up_by_another():
    """Most run out because a machine stopped, which is no fault of the file's."""
    chunk = a_running_analysis().chunks.first()
    let_the_lease_run_out(Chunk.claim(chunk.pk, "one"))
    second = Chunk.claim(chunk.pk, "two")
    assert (second.attempts, second.lapses) == (1, 1)
    second.hand_back("Busy.")
    third = Chunk.claim(chunk.pk, "three")
    assert (third.attempts, third.lapses) == (2, 1)


def test_a_lease_that_ran_out_frees_the_row_and_its_old_holder_can_store_nothing():
    chunk = a_running_analysis().chunks.first()
    slow = Chunk.claim(chunk.pk, "slow")
    let_the_lease_run_out(slow)
    quick = Chunk.claim(chunk.pk, "quick")
    with pytest.raises(LeaseLost):
        slow.renew()
    with pytest.raises(LeaseLost):
        slow.finish(b"wrong", DetectStats())
    assert slow.fail("late", "Too late.") is False
    quick.finish(b"right", DetectStats())
    chunk.refresh_from_db()
    assert bytes(chunk.detections) == b"right"
    assert chunk.state == "done"


def test_a_renewed_lease_keeps_the_row_and_notes_progress():
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, "one")
    let_the_lease_run_out(chunk)
    chunk.renew(frames_read=40)
    assert Chunk.claim(chunk.pk, "two") is None
    chunk.refresh_from_db()
    assert chunk.frames_read == 40


def test_attempts_are_bounded(settings):
    settings.MAX_ATTEMPTS = 3
    pk = a_running_analysis().chunks.first().pk
    for _ in range(3):
        Chunk.claim(pk, "busy").hand_back("Busy.")
    assert Chunk.claim(pk, "busy") is None


def test_lapses_are_bounded(settings):
    settings.MAX_LAPSES = 2
    pk = a_running_analysis().chunks.first().pk
    for _ in range(3):
        let_the_lease_run_out(Chunk.claim(pk, "dies"))
    assert Chunk.claim(pk, "dies") is None


def test_what_is_handed_back_because_its_worker_stops_counts_no_attempt():
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, "one")
    assert chunk.hand_back("Its worker was stopped.", counted=False) is True
    chunk.refresh_from_db()
    assert (chunk.state, chunk.attempts, chunk.sent_at) == ("queued", 0, None)
    assert chunk.hand_back("Once more.", counted=False) is False
    chunk.refresh_from_db()
    assert chunk.attempts == 0


def test_what_a_dead_process_had_claimed_is_free_at_once_and_what_others_have_stays_theirs():
    one, two = a_running_analysis().chunks.all()
    Chunk.claim(one.pk, "host:7")
    Chunk.claim(two.pk, "host:77")
    assert [chunk.pk for chunk in Chunk.crashed("host:7", "It crashed.")] == [one.pk]
    one.refresh_from_db()
    two.refresh_from_db()
    assert (one.state, one.attempts, one.error, one.sent_at) == ("queued", 1, "It crashed.", None)
    assert (two.state, two.worker) == ("running", "host:77")
    assert Chunk.crashed("host:7", "Again.") == []


def test_what_kills_its_process_with_every_attempt_has_failed_with_the_reason_in_words(settings):
    settings.MAX_ATTEMPTS = 3
    chunk = a_running_analysis().chunks.first()
    for _ in range(3):
        assert Chunk.claim(chunk.pk, "host:7")
        Chunk.crashed("host:7", "It crashed.")
    chunk.refresh_from_db()
    assert (chunk.state, chunk.error_kind) == ("failed", "worker_lost")
    assert chunk.error == "It crashed. That happened 3 times; it is not tried again by itself."
    chunk.analysis.refresh_from_db()
    assert (chunk.analysis.state, chunk.analysis.error) == ("failed", chunk.error)


def test_a_finish_that_is_handed_back_waits_with_its_chunks_done():
    analysis = a_running_analysis()
    do_chunks(analysis)
    claimed = Analysis.claim_finish(analysis.pk, "one")
    claimed.hand_back("Its worker was stopped.", counted=False)
    analysis.refresh_from_db()
    assert (analysis.state, analysis.step, analysis.attempts) == ("running", "detect", 0)
    assert Analysis.claim_finish(analysis.pk, "two").attempts == 1


def test_work_handed_back_is_free_again_with_its_attempt_counted():
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, "one")
    chunk.hand_back("The camera is away.", delay_s=4)
    again = Chunk.claim(chunk.pk, "two")
    assert again.attempts == 2
    assert again.error == "The camera is away."


def test_an_error_with_what_the_database_refuses_is_kept_all_the_same():
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, "one")
    assert chunk.fail("unexpected", "Half\0way" + "." * 2000, "tail\0 of it") is True
    chunk.refresh_from_db()
    assert chunk.error.startswith("Halfway")
    assert chunk.error_detail == "tail of it"


def test_a_chunk_claimed_anew_has_read_nothing_yet():
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, "one")
    chunk.renew(frames_read=100)
    let_the_lease_run_out(chunk)
    assert Chunk.claim(chunk.pk, "two").frames_read == 0


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@on_postgresql
def test_of_many_workers_at_once_one_gets_the_chunk():
    """The claim once joined the analysis, and PostgreSQL gave one chunk to four workers."""
    analysis = a_running_analysis()
    for chunk in analysis.chunks.all():
        start = threading.Barrier(4)

        def claim(name, pk=chunk.pk, start=start):
            start.wait()
            try:
                return Chunk.claim(pk, name)
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as workers:
            claims = list(workers.map(claim, "abcd"))
        assert len([claimed for claimed in claims if claimed]) == 1
        chunk.refresh_from_db()
        assert chunk.attempts == 1


def test_chunks_of_a_cancelled_analysis_are_not_to_be_had_and_their_workers_stop():
    analysis = a_running_analysis()
    working, waiting = analysis.chunks.all()
    working = Chunk.claim(working.pk, "one")
    assert analysis.cancel() is True
    assert Chunk.claim(waiting.pk, "two") is None
    with pytest.raises(LeaseLost):
        working.renew()


def test_planning_twice_leaves_one_set_of_chunks():
    analysis = Analysis.request(a_media())
    first = Analysis.claim(analysis.pk, "one")
    let_the_lease_run_out(first)
    second = Analysis.claim(analysis.pk, "two")
    second.planned(SPANS)
    with pytest.raises(LeaseLost):
        first.planned(SPANS)
    assert [chunk.number for chunk in analysis.chunks.all()] == [0, 1]


def test_only_the_last_chunk_in_says_so():
    one, two = a_running_analysis().chunks.all()
    one, two = Chunk.claim(one.pk, "a"), Chunk.claim(two.pk, "b")
    assert one.finish(b"", DetectStats()) is False
    assert two.finish(b"", DetectStats()) is True


def test_what_an_earlier_process_of_the_same_name_left_is_no_doing_of_this_one():
    """Containers keep their name over a restart, and process ids are small there."""
    chunk = a_running_analysis().chunks.first()
    let_the_lease_run_out(Chunk.claim(chunk.pk, "host:15"))
    assert Chunk.claimed_by("host:15") == []
    assert Chunk.crashed("host:15", "It crashed.") == []


def test_the_chunks_of_what_is_over_are_over():
    """Else every sweep would look at them again."""
    cancelled, failed = a_running_analysis(), a_running_analysis(a_media(b"another"))
    done = cancelled.chunks.first()
    Chunk.claim(done.pk, "one").finish(b"found", DetectStats())
    cancelled.cancel()
    Chunk.claim(failed.chunks.first().pk, "one").fail("unreadable", "Damaged.")
    assert not Chunk.objects.filter(Chunk.UNFINISHED).exists()
    cancelled.retry()
    failed.retry()
    assert sorted(Chunk.objects.filter(analysis=cancelled).values_list("state", flat=True)) == ["done", "queued"]
    assert list(Chunk.objects.filter(analysis=failed).values_list("state", flat=True)) == ["queued", "queued"]
    assert Chunk.claim(cancelled.chunks.last().pk, "two").attempts == 1


def test_a_chunk_is_not_begun_for_an_analysis_that_is_over():
    """Not even one that was left open."""
    analysis = a_running_analysis()
    Analysis.objects.update(state="cancelled")
    assert Chunk.claim(analysis.chunks.first().pk, "one") is None


def test_a_cancel_between_the_last_chunk_and_the_finish_holds():
    analysis = a_running_analysis()
    do_chunks(analysis)
    Analysis.objects.get().cancel()
    assert analysis.go_on_to_finish("one") is False
    analysis.refresh_from_db()
    assert analysis.state == "cancelled"
