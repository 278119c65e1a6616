"""One worker's steps on real clips, and how each kind of failure ends on the row."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import DataError, OperationalError

from detection.models import Analysis, Chunk, LooseFile, Media, Proxy
from detection.models.intake import take_in
from detection.vision import pipeline
from detection.vision.draw import draw_scene, write_clip
from detection.vision.pack import pack
from detection.vision.types import DetectorError, DetectStats, MediaError
from tests.cast import a_media, a_running_analysis, a_track, do_chunks
from tests.databases import on_postgresql
from tests.processes import PATIENCE
from workers import lease, steps, stopping, working
from workers.again import TryAgain

pytestmark = pytest.mark.django_db


SHIPPED_RENEW_S = settings.RENEW_S


@pytest.fixture(autouse=True)
def _no_renewals(settings):
    """A renewal is another connection, which does not see this test's transaction."""
    settings.RENEW_S = 3600


@pytest.fixture(scope="session")
def yard_clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "yard.mp4"
    write_clip(path, draw_scene(3, width=320, height=180, seconds=6, fps=10, parked=False), fps=10)
    return path


def take(path, name="yard.mp4"):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with path.open("rb") as file:
        return take_in(File(file, name=name), path, digest, name)


def test_a_clip_goes_all_the_way_to_its_sightings(yard_clip):
    taken = take(yard_clip)
    steps.run_here(taken.analysis)
    analysis = Analysis.objects.get()
    assert (analysis.state, analysis.error) == ("done", "")
    assert analysis.is_current
    assert analysis.frames_read == 60
    assert analysis.frames_sampled == 30
    sightings = list(analysis.sightings.all())
    assert sightings
    assert {sighting.label for sighting in sightings} == {"motion"}
    for sighting in sightings:
        assert default_storage.open(sighting.thumbnail).read(2) == b"\xff\xd8"
        assert all(0 <= x1 < x2 <= 320 and 0 <= y1 < y2 <= 180 for _, x1, y1, x2, y2, _ in sighting.path)
    assert not LooseFile.objects.exists(), "a file that a row names would be cleared away"


def test_every_message_twice_stores_nothing_twice(yard_clip):
    taken = take(yard_clip)
    Analysis.objects.update(params={**taken.analysis.params, "chunk_s": 2.0})
    chunks = steps.plan(taken.analysis.pk)
    assert len(chunks) > 1
    assert steps.plan(taken.analysis.pk) is None
    done = [steps.detect(chunk.pk) for chunk in chunks + chunks]
    (ready,) = [looked.ready for looked in done if looked and looked.ready]
    assert steps.finish(ready.pk) is False  # who did the last chunk has it
    assert steps.track(ready) is True
    assert steps.track(ready) is False  # the row is nobody's any more
    count = taken.analysis.sightings.count()
    assert steps.finish(taken.analysis.pk) is False
    assert taken.analysis.sightings.count() == count > 0
    assert Chunk.objects.count() == len(chunks)


def test_messages_for_rows_that_are_gone_end_quietly():
    assert steps.plan(999) is None
    assert steps.detect(999) is None
    assert steps.finish(999) is False
    assert steps.proxy(999) is False


def test_motion_says_that_it_cannot_look_at_one_picture(tmp_path):
    from PIL import Image

    path = tmp_path / "gate.jpg"
    Image.new("RGB", (64, 48), (90, 120, 60)).save(path)
    taken = take(path, "gate.jpg")
    steps.run_here(taken.analysis)
    analysis = Analysis.objects.get()
    assert analysis.state == "failed"
    assert "manage.py models add" in analysis.error


def test_a_clip_that_cannot_be_read_fails_at_once_with_its_sentence(monkeypatch):
    def broken(*_args, **_kwargs):
        raise MediaError("unreadable", "The clip breaks off after 3 s.")

    monkeypatch.setattr(pipeline, "detect", broken)
    analysis = a_running_analysis()
    assert steps.detect(analysis.chunks.first().pk) is None
    analysis.refresh_from_db()
    assert (analysis.state, analysis.error) == ("failed", "The clip breaks off after 3 s.")
    assert "MediaError" in analysis.error_detail


def test_what_may_pass_is_tried_again_later_and_later_and_then_fails(monkeypatch, settings):
    settings.MAX_ATTEMPTS = 3

    def busy(*_args, **_kwargs):
        raise DetectorError("The GPU is out of memory.", permanent=False)

    monkeypatch.setattr(pipeline, "detect", busy)
    analysis = a_running_analysis()
    chunk = analysis.chunks.first()
    delays = []
    for _ in range(2):
        with pytest.raises(TryAgain) as again:
            steps.detect(chunk.pk)
        delays.append(again.value.delay_s)
    assert delays == sorted(set(delays))
    assert steps.detect(chunk.pk) is None
    chunk.refresh_from_db()
    analysis.refresh_from_db()
    assert (chunk.attempts, chunk.state, analysis.state) == (3, "failed", "failed")
    assert analysis.error == "The GPU is out of memory."


def test_a_lost_file_is_said_to_be_lost(settings):
    settings.MAX_ATTEMPTS = 1
    media = a_media()
    default_storage.delete(media.file.name)
    analysis = a_running_analysis(media)
    steps.detect(analysis.chunks.first().pk)
    analysis.refresh_from_db()
    assert (analysis.state, analysis.error_kind) == ("failed", "storage")


def test_a_database_that_fails_leaves_the_row_to_its_lease(monkeypatch):
    def gone(*_args, **_kwargs):
        raise OperationalError("server closed the connection")

    analysis = a_running_analysis()
    chunk = analysis.chunks.first()
    monkeypatch.setattr(pipeline, "detect", gone)
    with pytest.raises(TryAgain):
        steps.detect(chunk.pk)
    chunk.refresh_from_db()
    assert chunk.state == "running"


def test_data_that_the_database_refuses_is_a_failure_and_not_an_outage(monkeypatch, settings):
    settings.MAX_ATTEMPTS = 1

    def refused(*_args, **_kwargs):
        raise DataError("value too long")

    analysis = a_running_analysis()
    monkeypatch.setattr(pipeline, "detect", refused)
    steps.detect(analysis.chunks.first().pk)
    analysis.refresh_from_db()
    assert (analysis.state, analysis.error_kind) == ("failed", "unexpected")


def test_work_over_its_time_says_so(monkeypatch):
    def slow(*_args, **_kwargs):
        raise SoftTimeLimitExceeded

    analysis = a_running_analysis()
    monkeypatch.setattr(pipeline, "detect", slow)
    steps.detect(analysis.chunks.first().pk)
    analysis.refresh_from_db()
    assert (analysis.state, analysis.error_kind) == ("failed", "too_long")
    assert "TASK_TIME_LIMIT_S" in analysis.error


def test_a_clip_of_which_next_to_nothing_can_be_read_is_not_called_empty():
    analysis = a_running_analysis()
    for chunk in analysis.chunks.all():
        Chunk.claim(chunk.pk, "worker").finish(pack([]), DetectStats(frames_read=2))
    steps.finish(analysis.pk)
    analysis.refresh_from_db()
    assert (analysis.state, analysis.error_kind) == ("failed", "unreadable")
    assert "4 of the 250 frames" in analysis.error


def test_pictures_of_a_media_removed_meanwhile_are_not_left_behind(yard_clip, monkeypatch):
    taken = take(yard_clip)
    (only,) = steps.plan(taken.analysis.pk)
    ready = steps.detect(only.pk).ready
    finish = Analysis.finish
    folder = taken.media.folder

    def removed_right_before(analysis, *args):
        Media.objects.get().remove()
        return finish(analysis, *args)

    monkeypatch.setattr(Analysis, "finish", removed_right_before)
    steps.track(ready)
    assert list(Path(default_storage.path(folder), "sightings").rglob("*")) == []


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@on_postgresql
def test_a_cancelled_analysis_stops_in_the_middle_of_a_chunk_within_two_seconds(monkeypatch, settings):
    settings.RENEW_S = SHIPPED_RENEW_S
    analysis = a_running_analysis()
    took_s = []

    def long_work(*_args, on_progress, **_kwargs):
        analysis.cancel()
        began = time.monotonic()
        try:
            while time.monotonic() < began + 10:
                on_progress(10)
                time.sleep(0.01)
        finally:
            took_s.append(time.monotonic() - began)

    monkeypatch.setattr(steps, "detector_of", lambda *_: None)
    monkeypatch.setattr(pipeline, "detect", long_work)
    chunk = analysis.chunks.first()
    assert steps.detect(chunk.pk) is None
    assert took_s[0] < 2 * PATIENCE
    analysis.refresh_from_db()
    chunk.refresh_from_db()
    assert (analysis.state, chunk.state, chunk.error) == ("cancelled", "cancelled", "")


def test_a_full_disk_is_waited_out_and_costs_no_attempt(tmp_path, monkeypatch):
    """With three attempts a few seconds apart, a disk that was full for twenty failed healthy work."""
    analysis = a_running_analysis(a_media(b"waits for room"))
    do_chunks(analysis)
    seen = iter([[(0, b"a picture")] for _ in range(6)])
    monkeypatch.setattr(steps.pipeline, "track", lambda *_: [a_track()])
    monkeypatch.setattr(steps.pipeline, "thumbnails", lambda *_, **__: next(seen))
    monkeypatch.setattr(steps, "put", full := Mock(side_effect=OSError(28, "No space left on device")))
    for _ in range(5):
        with pytest.raises(TryAgain) as again:
            steps.finish(analysis.pk)
        assert again.value.delay_s == working.FULL_AGAIN_S
        analysis.refresh_from_db()
        assert (analysis.state, analysis.attempts, analysis.error) == ("running", 0, working.DISK_FULL)
    full.side_effect = None
    assert steps.finish(analysis.pk) is True
    analysis.refresh_from_db()
    assert (analysis.state, analysis.error) == ("done", "")


def test_where_the_database_is_full_too_the_lease_runs_out_and_nobody_is_told_wrong(monkeypatch):
    chunk = a_running_analysis().chunks.first()
    monkeypatch.setattr(steps.pipeline, "detect", Mock(side_effect=OSError(28, "No space left on device")))
    monkeypatch.setattr(steps, "detector_of", lambda *_: None)
    monkeypatch.setattr(Chunk, "hand_back", Mock(side_effect=OperationalError("database or disk is full")))
    with pytest.raises(TryAgain):
        steps.detect(chunk.pk)
    chunk.refresh_from_db()
    assert (chunk.state, chunk.error) == ("running", "")


def test_a_clip_that_browsers_cannot_play_gets_a_copy(tmp_path):
    import av

    path = tmp_path / "old.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for image, _ in draw_scene(3, width=320, height=180, seconds=2, fps=10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    taken = take(path, "old.avi")
    assert taken.proxy is not None
    assert steps.proxy(taken.proxy.pk) is True
    assert steps.proxy(taken.proxy.pk) is False
    row = Proxy.objects.get()
    assert row.state == "done"
    with av.open(row.file.path) as made:
        assert made.streams.video[0].codec_context.name == "h264"


def test_the_same_file_again_is_not_analysed_again(yard_clip):
    first, second = take(yard_clip), take(yard_clip, "copy.mp4")
    assert (first.is_new, second.is_new) == (True, False)
    assert second.media == first.media
    assert second.analysis is None
    assert Analysis.objects.count() == 1


def test_what_is_no_media_leaves_nothing(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("just words")
    with pytest.raises(MediaError):
        take(path, "notes.mp4")
    assert Media.objects.count() == Analysis.objects.count() == 0


def test_work_whose_worker_stops_is_handed_back_for_another_and_costs_no_attempt(monkeypatch):
    def stops(*_, **__):
        raise stopping.WorkerStops

    monkeypatch.setattr(steps.pipeline, "detect", stops)
    monkeypatch.setattr(steps, "detector_of", lambda *_: None)
    chunk = a_running_analysis().chunks.first()
    with pytest.raises(TryAgain) as again:
        steps.detect(chunk.pk)
    assert again.value.delay_s == 0
    chunk.refresh_from_db()
    assert (chunk.state, chunk.attempts, chunk.sent_at) == ("queued", 0, None)


def test_a_full_disk_of_the_database_costs_nothing_either(monkeypatch):
    monkeypatch.setattr(steps.pipeline, "detect", Mock(side_effect=OperationalError("database or disk is full")))
    monkeypatch.setattr(steps, "detector_of", lambda *_: None)
    chunk = a_running_analysis().chunks.first()
    for _ in range(5):
        with pytest.raises(TryAgain):
            steps.detect(chunk.pk)
        chunk.refresh_from_db()
        assert (chunk.state, chunk.attempts, chunk.lapses, chunk.error) == ("queued", 0, 0, working.DISK_FULL)


@pytest.fixture
def signs(monkeypatch):
    """What the work says of itself to the main process of its worker."""
    said = []
    monkeypatch.setattr(lease.pulse, "working", said.append)
    return said


def test_a_slow_bucket_does_not_look_like_work_that_hangs(yard_clip, monkeypatch, signs):
    taken = take(yard_clip)
    (only,) = steps.plan(taken.analysis.pk)
    ready = steps.detect(only.pk).ready
    path, said_meanwhile = taken.media.local_path(), []
    monkeypatch.setattr(Media, "local_path", lambda media: said_meanwhile.append(signs[-1]) or path)
    steps.track(ready)
    proxy = Proxy.objects.create(media=taken.media)
    save = default_storage.save
    monkeypatch.setattr(default_storage, "save", lambda *args: said_meanwhile.append(signs[-1]) or save(*args))
    monkeypatch.setattr(steps, "make_proxy", lambda source, target, on_progress: target.write_bytes(b"copy"))
    steps.proxy(proxy.pk)
    assert said_meanwhile.count(float("inf")) == 2, "the clip that is fetched, and the copy that is stored"
    assert signs[-1] == 0, "a process without work is never taken for one that hangs"


@pytest.mark.parametrize(
    ("age_s", "in_transaction", "closed"), [(None, False, 1), (0.1, False, 0), (60, False, 1), (60, True, 0)]
)
def test_a_connection_that_lay_unused_is_made_anew(age_s, in_transaction, closed, monkeypatch):
    """The database may have been restarted since; after a moment's work a new one would only cost."""
    connection = Mock(in_atomic_block=in_transaction)
    monkeypatch.setattr(working, "connection", connection)
    working.renew_connection(age_s and Mock(age_s=age_s))
    assert connection.close.call_count == closed
