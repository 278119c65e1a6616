"""What is said of how fast this installation is: measured on its latest work, with all its workers in it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from detection.models import Analysis, Chunk, Model
from detection.models.speed import Speed, Stretch, parallel
from detection.vision.types import Span
from tests.cast import CLIP, IMAGE, NOON, SPANS, a_media, a_model

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def model() -> Model:
    model = a_model()
    model.activate()
    return model


def at(seconds: float):
    return NOON + timedelta(seconds=seconds)


def an_analysis(name: str, *chunks: tuple[float, float], info=CLIP, began=0.0, ended=None, finish_s=0.0, **more):
    """One that is done, with chunks from and until so many seconds past noon."""
    analysis = Analysis.request(a_media(name.encode(), info, name=name), **more)
    spans = [Span(0, 0.0, 0.0, 1)] if info is IMAGE else SPANS if len(chunks) == 2 else [Span(0, 0.0, 10.0, 250)]
    for chunk, (begin, end) in zip(Chunk.plan(analysis, spans), chunks, strict=True):
        chunk.state, chunk.started_at, chunk.finished_at = "done", at(begin), at(end)
        chunk.save()
    ended = max(end for _, end in chunks) if ended is None else ended
    values = {"started_at": at(began), "finished_at": at(ended), "finish_s": finish_s}
    planned = sum(span.frames for span in spans)
    Analysis.objects.filter(pk=analysis.pk).update(state="done", frames_planned=planned, **values)
    return analysis


def test_much_takes_as_many_queries_as_little(django_assert_num_queries):
    for number in range(5):
        an_analysis(f"{number}.mp4", (0, 10), (10, 20))
        an_analysis(f"{number}.jpg", (0, 1), info=IMAGE)
    with django_assert_num_queries(3):
        Speed.measured()


def test_nothing_is_said_of_what_was_never_done():
    assert Speed.measured() == Speed()
    Model.objects.update(is_active=False)
    assert Speed.measured() == Speed()


def test_a_clip_is_measured_by_the_frame_the_second_and_the_byte():
    an_analysis("clip", (0, 10), (10, 20), finish_s=5)
    speed = Speed.measured()
    assert speed.frame_s == pytest.approx(25 / 250)
    assert speed.clip_s == pytest.approx(25 / 10)
    assert speed.byte_s == pytest.approx(25 / len(b"clip"))
    assert speed.image_s is None


def test_what_is_done_side_by_side_takes_half_as_long():
    an_analysis("clip", (0, 10), (0, 10))
    assert Speed.measured().clip_s == pytest.approx(10 / 10)


def test_time_counts_once_however_much_is_done_in_it():
    def stretch(begin: float, end: float) -> Stretch:
        return Stretch(at(begin), at(end), kind="clip", frames=1, clip_s=1.0, bytes=1.0, more_s=0.0)

    assert parallel([stretch(15, 20), stretch(0, 20), stretch(5, 10)]) == pytest.approx(30 / 20)
    assert parallel([stretch(0, 10), stretch(50, 60)]) == 1
    assert parallel([]) == 1


def test_a_pause_between_two_pieces_of_work_is_not_work():
    an_analysis("one", (0, 10), began=0)
    an_analysis("two", (5000, 5010), began=5000)
    assert Speed.measured().clip_s == pytest.approx(1)


def test_of_a_picture_all_that_its_worker_does_counts():
    an_analysis("a.jpg", (0.2, 0.3), info=IMAGE, began=0, ended=0.5)
    an_analysis("b.jpg", (0.7, 0.8), info=IMAGE, began=0.5, ended=1.0)
    assert Speed.measured().image_s == pytest.approx(0.5)


def test_a_picture_that_has_stood_still_is_measured_by_what_was_done():
    an_analysis("a.jpg", (3600, 3600.5), info=IMAGE, began=0, ended=3600.6, finish_s=0.1)
    assert Speed.measured().image_s == pytest.approx(0.6)


def test_a_chunk_that_was_begun_again_counts_from_there():
    analysis = an_analysis("clip", (0, 10), (10, 4000))
    Chunk.objects.filter(analysis=analysis, number=1).update(sent_at=at(3990))
    assert Speed.measured().clip_s == pytest.approx(2)


def test_a_message_that_was_noted_after_the_work_was_done_changes_nothing():
    analysis = an_analysis("clip", (0, 10), (10, 20))
    Chunk.objects.filter(analysis=analysis, number=0).update(sent_at=at(10.1))
    Chunk.objects.filter(analysis=analysis, number=1).update(sent_at=at(-50))
    assert Speed.measured().clip_s == pytest.approx(2)


def test_only_the_active_model_and_what_is_done_counts(model):
    an_analysis("clip", (0, 10), (10, 20))
    an_analysis("other", (0, 1000), (1000, 2000), model=a_model("slow"))
    unfinished = an_analysis("unfinished", (0, 1000), (1000, 2000))
    Analysis.objects.filter(pk=unfinished.pk).update(state="cancelled")
    assert Speed.measured().clip_s == pytest.approx(2)


def test_pictures_that_nobody_has_analysed_take_what_was_measured_when_the_model_was_added(model):
    Model.objects.filter(pk=model.pk).update(ms_per_image=250)
    speed = Speed.measured()
    assert (speed.image_s, speed.is_image_nominal) == (0.25, True)
    an_analysis("a.jpg", (0, 1), info=IMAGE)
    speed = Speed.measured()
    assert (speed.image_s, speed.is_image_nominal) == (1, False)


def test_motion_says_nothing_of_pictures():
    Model.objects.get(runtime="motion").activate()
    Model.objects.update(ms_per_image=250)
    assert Speed.measured().image_s is None


def test_an_estimate_needs_a_measure_of_all_that_is_asked():
    speed = Speed(image_s=2.0, byte_s=0.5)
    assert speed.of_files(images=3, clip_bytes=10) == 11
    assert speed.of_files(images=0, clip_bytes=10) == 5
    assert speed.of_files(images=0, clip_bytes=0) == 0
    assert Speed(image_s=2.0).of_files(images=3, clip_bytes=10) is None
    assert Speed(byte_s=2.0).of_files(images=1, clip_bytes=0) is None
    assert Speed(image_s=2.0).of_waiting(images=3, frames=0) == 6
    assert Speed(frame_s=2.0).of_waiting(images=0, frames=3) == 6
    assert Speed(frame_s=2.0).of_waiting(images=1, frames=3) is None
