"""The page of one media: the result with where it comes from, and every state said as it is."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from detection.models import Analysis, Media, Model, Proxy, Sighting
from detection.views.tracks import bars, thinned
from detection.views.wording import clip_time
from tests.cast import CLIP, IMAGE, a_done_analysis, a_media, a_model, a_running_analysis, a_track
from tests.views.conftest import Queue, Visit


def player(answer: Any) -> dict[str, Any]:
    found = re.search(r'<script id="player-data" type="application/json">(.*?)</script>', answer.text)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def page(client: Client, media: Media, query: str = "") -> Any:
    answer = client.get(f"/media/{media.pk}/{query}")
    assert answer.status_code == 200
    return answer


def test_a_clip_comes_with_its_sightings_for_the_player(reviewer: Client) -> None:
    media = a_media()
    a_done_analysis(media, [a_track("car", 1.0), a_track("person", 4.0, x=300)])
    answer = page(reviewer, media)
    data = player(answer)
    assert (data["width"], data["height"], data["duration"], data["frame"]) == (640, 360, 10.0, 0.04)
    first = data["sightings"][0]
    assert (first["label"], first["start"], first["end"], first["best"]) == ("car", 1.0, 1.8, 1.4)
    assert first["path"][0] == [1.0, 100.0, 50.0, 180.0, 100.0]
    assert first["path"][-1] == [1.8, 140.0, 50.0, 220.0, 100.0]
    assert f'src="/media/{media.pk}/file"' in answer.text
    assert "2 sightings" in answer.text


def test_an_image_has_its_boxes_without_any_script(viewer: Client) -> None:
    media = a_media(info=IMAGE, name="yard.jpg")
    a_done_analysis(media, [a_track("car", 0.0, steps=1)])
    text = page(viewer, media).text
    assert '<rect x="100" y="50" width="80" height="50"></rect>' in text
    assert 'viewBox="0 0 640 360"' in text


def test_nothing_found_is_said_with_what_was_looked_at(viewer: Client) -> None:
    media = a_media()
    a_done_analysis(media, [])
    assert "Looked at 50 frames, found nothing." in page(viewer, media).text


def test_a_running_analysis_shows_its_progress_and_is_polled(viewer: Client) -> None:
    media = a_media()
    analysis = a_running_analysis(media)
    analysis.chunks.filter(number=0).update(frames_read=100)
    text = page(viewer, media).text
    assert "100 of 250 frames." in text
    assert f'hx-get="/analyses/{analysis.pk}/progress"' in text
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in text
    assert "found nothing" not in text


def test_a_queued_analysis_says_whether_it_is_in_the_queue(viewer: Client) -> None:
    media = a_media()
    analysis = Analysis.request(media)
    assert "It is accepted and waits for the queue." in page(viewer, media).text
    Analysis.mark_sent([analysis.pk])
    assert "starts as soon as a worker is free" in page(viewer, media).text


def test_a_failed_analysis_says_why_and_offers_a_retry(operator: Client, viewer: Client) -> None:
    media = a_media()
    analysis = a_running_analysis(media)
    analysis.fail("detector", "The model does not load.", "Traceback: secret detail")
    text = page(operator, media).text
    assert "The model does not load." in text
    assert f'action="/analyses/{analysis.pk}/retry"' in text
    assert "secret detail" in text
    assert "found nothing" not in text
    seen = page(viewer, media).text
    assert "The model does not load." in seen
    assert "retry" not in seen
    assert "secret detail" not in seen


def test_every_result_says_where_it_comes_from(viewer: Client) -> None:
    media = a_media()
    analysis = a_done_analysis(media, model=a_model("cars"))
    text = page(viewer, media).text
    facts = (
        media.sha256,
        "ab" * 32,
        "cars",
        "sighting_score 0.4",
        "250 frames read, 50 sampled, 40 given to the model",
        "decoding 1.0 s, model 3.0 s",
        "worker",
        analysis.code_version,
    )
    for fact in facts:
        assert fact in text


def test_an_earlier_result_can_be_seen_but_not_judged(reviewer: Client) -> None:
    media = a_media()
    first = a_done_analysis(media, [a_track("car")])
    a_done_analysis(media, [a_track("dog")])
    old = page(reviewer, media, f"?analysis={first.pk}")
    assert [s["label"] for s in player(old)["sightings"]] == ["car"]
    assert "This is an earlier result" in old.text
    assert "/verdict" not in old.text
    new = page(reviewer, media)
    assert [s["label"] for s in player(new)["sightings"]] == ["dog"]
    assert "/verdict" in new.text


@pytest.mark.parametrize("wrong", ["999", "x", ""])
def test_an_analysis_that_is_not_the_medias_is_404(viewer: Client, wrong: str) -> None:
    media = a_media()
    a_done_analysis(media)
    assert viewer.get(f"/media/{media.pk}/?analysis={wrong}").status_code == 404


def test_while_a_new_run_is_under_way_the_old_result_stays(viewer: Client) -> None:
    media = a_media()
    a_done_analysis(media, [a_track("car")])
    again = a_running_analysis(media)
    answer = page(viewer, media)
    assert [s["label"] for s in player(answer)["sightings"]] == ["car"]
    assert f'hx-get="/analyses/{again.pk}/progress?keep=1"' in answer.text


def test_a_sighting_can_be_linked_to(viewer: Client) -> None:
    media = a_media()
    a_done_analysis(media, [a_track("car", n / 20) for n in range(110)])
    last = Sighting.objects.order_by("-start_s").first()
    assert last is not None
    answer = page(viewer, media, f"?sighting={last.pk}")
    assert answer.context["page"].number == 2
    assert re.search(rf'id="sighting-{last.pk}"[^>]*aria-current="true"', answer.text)
    assert f"#t={last.best_s:.3f}".rstrip("0") in answer.text


def test_the_page_takes_as_many_queries_for_many_sightings_as_for_few(
    reviewer: Client, django_assert_max_num_queries: Any
) -> None:
    media = a_media()
    a_done_analysis(media, [a_track("car", n / 10) for n in range(80)])
    for sighting in Sighting.objects.all()[:20]:
        sighting.judge("confirmed", None)
    with django_assert_max_num_queries(16):
        page(reviewer, media)


# Clips that browsers cannot play

AVI = replace(CLIP, format="avi", codec="mpeg4", browser_plays=False)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("queued", "is waiting to be made"),
        ("running", "is being made"),
        ("failed", "could not be made: The disk is full."),
    ],
)
def test_a_clip_that_cannot_be_played_yet_says_so(viewer: Client, state: str, said: str) -> None:
    media = a_media(info=AVI)
    a_done_analysis(media)
    Proxy.objects.create(media=media, state=state, error="The disk is full.")
    text = page(viewer, media).text
    assert "<video" not in text
    assert said in text
    assert ("/proxy/state" in text) == (state != "failed")
    assert viewer.get(f"/media/{media.pk}/proxy").status_code == 404


def test_the_page_reloads_once_the_copy_is_there(viewer: Client) -> None:
    media = a_media(info=AVI)
    a_done_analysis(media)
    Proxy.objects.create(media=media, state="done", file="p.mp4")
    assert f'src="/media/{media.pk}/proxy"' in page(viewer, media).text
    polled = viewer.get(f"/media/{media.pk}/proxy/state", headers={"hx-request": "true"})
    assert polled["HX-Refresh"] == "true"


def test_a_copy_that_failed_can_be_tried_again(visit: Visit, queue: Queue) -> None:
    operator = visit("operator")
    media = a_media(info=AVI)
    a_done_analysis(media)
    proxy = Proxy.objects.create(media=media, state="failed", attempts=3, error="The disk is full.")
    assert "Try again" in page(operator, media).text
    answer = operator.post(f"/media/{media.pk}/proxy/retry", follow=True)
    assert "The copy is tried again." in answer.content.decode()
    proxy.refresh_from_db()
    assert (proxy.state, proxy.attempts, queue.proxies) == ("queued", 0, [proxy.pk])
    answer = operator.post(f"/media/{media.pk}/proxy/retry", follow=True)
    assert "nothing to try again" in answer.content.decode()
    assert queue.proxies == [proxy.pk]


# The watched strip


def test_the_strip_reloads_the_page_when_the_analysis_is_over(viewer: Client) -> None:
    analysis = a_running_analysis()
    url = f"/analyses/{analysis.pk}/progress"
    polled = {"hx-request": "true"}
    assert "HX-Refresh" not in viewer.get(url, headers=polled).headers
    analysis.fail("detector", "The model does not load.")
    assert viewer.get(url, headers=polled)["HX-Refresh"] == "true"
    assert "HX-Refresh" not in viewer.get(f"{url}?keep=1", headers=polled).headers
    assert "HX-Refresh" not in viewer.get(url).headers


# What an operator may do


def post(client: Client, what: str, analysis: Analysis) -> str:
    return client.post(f"/analyses/{analysis.pk}/{what}", follow=True).text


def test_a_retry_is_sent_on(operator: Client, queue: Queue) -> None:
    analysis = a_running_analysis()
    analysis.fail("detector", "The model does not load.")
    assert "The analysis of yard.mp4 is tried again." in post(operator, "retry", analysis)
    analysis.refresh_from_db()
    assert (analysis.state, queue.analyses) == ("running", [analysis.pk])
    assert "There is nothing to retry" in post(operator, "retry", analysis)
    assert queue.analyses == [analysis.pk]


def test_a_retry_without_a_broker_says_that_it_waits(operator: Client, queue: Queue) -> None:
    analysis = a_running_analysis()
    analysis.fail("detector", "The model does not load.")
    queue.is_away = True
    assert "waits for the queue" in post(operator, "retry", analysis)


def test_a_cancel_stops_it_once(operator: Client, queue: Queue) -> None:
    analysis = a_running_analysis()
    assert "The analysis of yard.mp4 is cancelled." in post(operator, "cancel", analysis)
    analysis.refresh_from_db()
    assert analysis.state == "cancelled"
    assert "There is nothing to cancel" in post(operator, "cancel", analysis)


def test_again_is_a_new_analysis_with_the_active_model(operator: Client, queue: Queue) -> None:
    old = a_done_analysis()
    a_model("cars").activate()
    again = f"/media/{old.media_id}/analyse"
    assert "A new analysis with cars is on its way." in operator.post(again, follow=True).text
    new = Analysis.objects.get(pk=queue.analyses[0])
    assert (new.media, new.model.name, new.requested_by.username) == (old.media, "cars", "the operator")
    assert "under way already" in operator.post(again, follow=True).text
    assert Analysis.objects.count() == 2


def test_what_was_never_analysed_says_so_and_can_be(operator: Client, queue: Queue) -> None:
    picture = a_media(info=IMAGE)
    said = page(operator, picture).text
    assert "the motion detector needs clips" in said.lower()
    assert f"/media/{picture.pk}/analyse" not in said
    a_model("cars").activate()
    said = page(operator, picture).text
    assert "Nothing was looked for in it yet." in said
    assert f"/media/{picture.pk}/analyse" in said
    assert "A new analysis with cars is on its way." in operator.post(f"/media/{picture.pk}/analyse", follow=True).text
    assert len(queue.analyses) == 1


def test_removing_asks_first_and_then_removes_all(operator: Client, queue: Queue) -> None:
    media = a_done_analysis().media
    assert "cannot be undone" in operator.get(f"/media/{media.pk}/remove").text
    assert "yard.mp4 is removed" in operator.post(f"/media/{media.pk}/remove", follow=True).text
    assert not Media.objects.exists()
    assert not Sighting.objects.exists()


def test_a_model_without_labels_is_named_as_such(viewer: Client) -> None:
    media = a_media()
    a_done_analysis(media, model=Model.objects.get(runtime="motion"))
    assert "no labels: regions that move" in page(viewer, media).text


# Drawing


def test_thinning_keeps_straight_lines_by_their_ends_and_turns_by_their_points() -> None:
    straight = [[t / 5, 10.0 * t, 0, 10.0 * t + 5, 5, 0.9] for t in range(20)]
    assert thinned(straight, 1.0) == [[0, 0, 0, 5, 5], [3.8, 190, 0, 195, 5]]
    turn = straight + [[4 + t / 5, 190, 10.0 * t, 195, 10.0 * t + 5, 0.9] for t in range(20)]
    assert [point[0] for point in thinned(turn, 1.0)] == [0, 3.8, 4, 7.8]
    assert thinned(straight[:1], 1.0) == [[0, 0, 0, 5, 5]]


def test_a_thinned_path_is_never_further_off_than_it_may_be() -> None:
    wave = [[t / 5, 100 + (t * 37 % 11), 0, 200, 50 + (t * 17 % 7), 0.9] for t in range(200)]
    kept = thinned(wave, 3.0)
    assert len(kept) < len(wave)
    for time_s, *box in (point[:5] for point in wave):
        after = next(n for n, point in enumerate(kept) if point[0] >= time_s)
        one, other = kept[max(0, after - 1)], kept[after]
        share = (time_s - one[0]) / (other[0] - one[0]) if other[0] > one[0] else 0
        at = [a + share * (b - a) for a, b in zip(one[1:], other[1:], strict=True)]
        assert max(abs(a - b) for a, b in zip(at, box, strict=True)) <= 3.0 + 0.11


def test_bars_that_overlap_lie_in_lanes_of_their_own(db: None) -> None:
    analysis = a_done_analysis(
        tracks=[a_track("car", 1.0), a_track("car", 1.5), a_track("car", 4.0), a_track("car", 9.9)]
    )
    placed = bars(list(analysis.sightings.all()), 10.0)
    assert [(bar.left, bar.lane) for bar in placed] == [(10, 0), (15, 1), (40, 0), (99, 0)]
    assert all(bar.left + bar.width <= 100 for bar in placed)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0:00.0"), (59.96, "1:00.0"), (754.21, "12:34.2"), (3723.0, "1:02:03.0"), (-1, "0:00.0")]
)
def test_clip_times_read_as_on_a_player(seconds: float, said: str) -> None:
    assert clip_time(seconds) == said
