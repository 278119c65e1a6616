"""One word for all that follows from a request."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from detection import correlation
from detection.models import Analysis, Camera, Capture, Chunk, Proxy, Trial
from detection.models.event import CameraEvent, Notification
from detection.models.planning import plan_due
from detection.sources import Source
from tests.cast import ADDRESS, SPANS, a_camera, a_media, a_running_analysis, a_user
from tests.heard import listening


@pytest.mark.parametrize("given", ["abc", "A-b_c.9", "x" * 64])
def test_what_comes_from_outside_is_taken_over_where_it_is_plain(given: str) -> None:
    assert correlation.taken_over(given) == given


@pytest.mark.parametrize("given", ["", None, "x" * 65, "a b", "a\nb", "ä", "<b>", "a;b", "•••", 5])
def test_what_is_not_plain_is_replaced(given: object) -> None:
    taken = correlation.taken_over(given)
    assert taken != given
    assert correlation.taken_over(taken) == taken


def test_it_is_bound_to_a_block_and_to_its_thread() -> None:
    seen: list[str] = []
    with correlation.bound("outer"):
        with pytest.raises(ValueError), correlation.bound("inner"):
            raise ValueError
        assert correlation.current() == "outer"
        thread = threading.Thread(target=lambda: seen.append(correlation.current()))
        thread.start()
        thread.join()
    assert (seen, correlation.current()) == ([""], "")


def test_a_row_without_one_goes_by_what_goes_on_around_it() -> None:
    with correlation.bound("sweep"):
        with correlation.of_row("upload") as current:
            assert current == "upload"
        with correlation.of_row("") as current:
            assert current == "sweep"


@pytest.mark.django_db
def test_every_row_that_is_worked_on_keeps_the_id_of_what_made_it(settings) -> None:
    settings.NOTIFY_EMAILS = ["guard@example.org"]
    user, camera, media = a_user("operator"), a_camera(), a_media()
    with correlation.bound("upload-1"):
        analysis = Analysis.request(media, user=user)
        Proxy.objects.create(media=media)
        Trial.ask(Source("http", ADDRESS), user)
        Capture.ask(camera, user)
        CameraEvent.tell(camera, CameraEvent.Kind.OFFLINE, "It did not answer.")
    with correlation.bound("another"):
        Chunk.objects.bulk_create(Chunk.plan(analysis, SPANS))
    for rows in (Analysis, Proxy, Trial, Capture, Notification, Chunk):
        found = set(rows.objects.values_list("correlation_id", flat=True))
        assert found == {"upload-1"}, rows


@pytest.mark.django_db
def test_each_planned_capture_begins_something_new() -> None:
    minute_ago = timezone.now() - timedelta(seconds=60)
    for _ in range(2):
        camera = a_camera(accounted_until=minute_ago)
        Camera.objects.filter(pk=camera.pk).update(next_at=camera.rule.next_after(minute_ago))
    with correlation.bound("sweep"):
        plan_due()
    ids = list(Capture.objects.filter(state="planned").values_list("correlation_id", flat=True))
    assert len(set(ids)) == 2
    assert not {"", "sweep"} & set(ids)


@pytest.mark.django_db
def test_an_analysis_that_is_opened_again_belongs_to_what_opened_it_and_the_log_says_what_it_was() -> None:
    with correlation.bound("upload-1"):
        analysis = a_running_analysis()
    assert analysis.cancel()
    with correlation.bound("retry-2"), listening("detection.models.analysis") as heard:
        assert analysis.retry()
    analysis.refresh_from_db()
    assert analysis.correlation_id == "retry-2"
    assert set(analysis.chunks.values_list("correlation_id", flat=True)) == {"retry-2"}
    (said,) = heard.of("detection.models.analysis")
    assert f"analysis {analysis.pk} " in said.getMessage()
    assert "upload-1" in said.getMessage()
    assert heard.ids("detection.models.analysis") == ["retry-2"]


@pytest.mark.django_db
def test_outside_of_any_an_analysis_that_is_opened_again_keeps_its_own() -> None:
    with correlation.bound("upload-1"):
        analysis = a_running_analysis()
    analysis.cancel()
    analysis.retry()
    analysis.refresh_from_db()
    assert analysis.correlation_id == "upload-1"
