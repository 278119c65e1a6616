"""The list of analyses: what is in it, what failed by kind, and doing something about many at once."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import transaction
from django.db.models.functions import Now
from django.test import Client

from detection.models import Analysis, Camera, Chunk, Media
from tests.cast import IMAGE, a_camera, a_done_analysis, a_media, a_model, a_running_analysis, a_user
from tests.databases import Beside, on_postgresql
from tests.views.conftest import Queue

FORM = re.compile(r'<form[^>]*action="(/analyses/(?:retry|cancel))"[^>]*>(.*?)</form>', re.S)
FIELD = re.compile(r'<input type="hidden" name="(filter|until|newest|count|next)" value="([^"]*)"')


def a_failed(name: str, kind: str = "storage", error: str = "", **asked: Any) -> Analysis:
    analysis = a_running_analysis(a_media(name.encode(), IMAGE, name=name), **asked)
    chunk = Chunk.claim(analysis.chunks.all()[0].pk, "worker")
    assert chunk is not None
    chunk.fail(kind, error or f"It is {kind}.")
    analysis.refresh_from_db()
    return analysis


def names(answer: Any) -> list[str]:
    return [row.analysis.media.name for row in answer.context["rows"]]


def states() -> dict[str, str]:
    return dict(Analysis.objects.values_list("media__name", "state"))


def press(client: Client, page: str, button: str) -> Any:
    """Sends the form of the page that has this button in it, as a browser does."""
    for action, inside in FORM.findall(page):
        if f'id="{button}"' in inside:
            data = {name: unescape(value) for name, value in FIELD.findall(inside)}
            return client.post(action, data, follow=True)
    raise AssertionError(f"there is no button {button}")


@pytest.fixture
def yard(db: None) -> dict[str, Analysis]:
    """One in each state, from two cameras, with two models."""
    queued = Analysis.request(a_media(b"1", name="queued.mp4"))
    running = a_running_analysis(a_media(b"2", name="running.mp4"), model=a_model("cars"))
    done = a_done_analysis(a_media(b"3", name="done.mp4"))
    failed = a_failed("failed.jpg")
    cancelled = a_running_analysis(a_media(b"5", name="cancelled.mp4"))
    cancelled.cancel()
    old = a_failed("run again.jpg", "detector")
    a_done_analysis(old.media, [])
    Media.objects.filter(pk=failed.media_id).update(camera=a_camera("Gate"))
    return {"queued": queued, "running": running, "done": done, "failed": failed, "cancelled": cancelled, "old": old}


def test_the_newest_are_first_with_what_each_came_to(viewer: Client, yard: dict[str, Analysis]) -> None:
    answer = viewer.get("/analyses/")
    assert names(answer) == [
        "run again.jpg", "run again.jpg", "cancelled.mp4", "failed.jpg", "done.mp4", "running.mp4", "queued.mp4",
    ]  # fmt: skip
    for words in ("Nothing found", "run again since", "Cancelled", "It is storage.", "1 sighting", "Looking", "cars"):
        assert words in answer.text
    assert "It is next in the queue" not in answer.text  # the queued one is before the running one, and was never sent
    assert "It is accepted and waits for the queue." in answer.text
    assert "It is 2nd in the queue" in answer.text


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("name=RUN AGAIN", ["run again.jpg", "run again.jpg"]),
        ("state=open", ["running.mp4", "queued.mp4"]),
        ("state=queued", ["queued.mp4"]),
        ("state=running", ["running.mp4"]),
        ("state=done", ["run again.jpg", "done.mp4"]),
        ("state=failed", ["failed.jpg"]),
        ("state=history", ["run again.jpg"]),
        ("state=cancelled", ["cancelled.mp4"]),
        ("kind=storage", ["failed.jpg"]),
        ("state=failed&kind=detector", []),
        ("kind=solar_flare", []),
    ],
)
def test_it_can_be_narrowed(viewer: Client, yard: dict[str, Analysis], query: str, wanted: list[str]) -> None:
    answer = viewer.get(f"/analyses/?{query}")
    assert names(answer) == wanted
    assert answer.context["form"].sentences() == []


def test_it_can_be_narrowed_by_camera_and_model(viewer: Client, yard: dict[str, Analysis]) -> None:
    assert names(viewer.get(f"/analyses/?camera={Camera.objects.get().pk}")) == ["failed.jpg"]
    assert names(viewer.get(f"/analyses/?model={yard['running'].model_id}")) == ["running.mp4"]


@pytest.mark.parametrize("query", ["state=lost", "camera=99", "model=99"])
def test_a_mistake_in_the_filter_is_a_sentence(viewer: Client, query: str) -> None:
    answer = viewer.get(f"/analyses/?{query}")
    assert answer.status_code == 200
    assert "Choose one of the list." in answer.text


def test_it_has_pages_that_keep_the_filter(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detection.views.analysis_list.PAGE_SIZE", 2)
    for number in range(3):
        a_failed(f"{number}.jpg")
    answer = viewer.get("/analyses/?state=failed")
    assert names(answer) == ["2.jpg", "1.jpg"]
    assert 'href="?state=failed&amp;page=2"' in answer.text
    assert names(viewer.get("/analyses/?state=failed&page=2")) == ["0.jpg"]


def test_many_rows_take_as_many_queries_as_few(viewer: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(12):
        a_done_analysis(a_media(b"d%d" % number))
        Analysis.request(a_media(b"q%d" % number))
        a_failed(f"{number}.jpg", kind=f"kind {number}")
    with django_assert_max_num_queries(22):
        assert viewer.get("/analyses/").status_code == 200


def test_attempts_are_those_of_the_part_that_was_tried_most(viewer: Client) -> None:
    analysis = a_running_analysis()
    Chunk.objects.filter(analysis=analysis, number=1).update(attempts=3)
    assert "3 attempts" in viewer.get("/analyses/").text


def test_a_running_one_says_how_far_it_is_and_how_long_it_takes(viewer: Client, settings) -> None:
    settings.LEASE_S = 3600
    analysis = a_running_analysis()
    times = {"started_at": Now() - timedelta(seconds=10), "lease_until": Now() + timedelta(hours=1)}
    Chunk.objects.filter(number=0).update(state="running", frames_read=100, **times)
    page = viewer.get("/analyses/").text
    assert "100 of 250 frames, 10 a second, about 15 s left." in page
    assert 'value="0.4"' in page
    for path in ("/media/", "/", analysis.media.get_absolute_url(), f"/analyses/{analysis.pk}/progress"):
        assert "100 of 250 frames, 10 a second, about 15 s left." in viewer.get(path).text


def test_the_navigation_leads_there(viewer: Client) -> None:
    assert '<a href="/analyses/" aria-current="page">Analyses</a>' in viewer.get("/analyses/").text
    assert '<a href="/analyses/">Analyses</a>' in viewer.get("/").text


def test_the_overview_counts_what_is_still_to_do_and_leads_to_it(viewer: Client, yard: dict[str, Analysis]) -> None:
    answer = viewer.get("/")
    assert answer.context["failed_count"] == 1
    assert 'href="/analyses/?state=failed"' in answer.text
    assert [analysis.media.name for analysis in answer.context["failed"]] == ["failed.jpg"]


# By kind of error


def test_failures_are_grouped_by_kind_in_words(operator: Client, yard: dict[str, Analysis]) -> None:
    for number in range(2):
        a_failed(f"{number}.jpg", "unreadable", f"Damaged {number}.")
    a_failed("odd.jpg", "solar_flare")
    answer = operator.get("/analyses/")
    groups = [(group.failures.kind, group.failures.count, group.query) for group in answer.context["groups"]]
    assert groups == [
        ("unreadable", 2, "state=failed&kind=unreadable"),
        ("solar_flare", 1, "state=failed&kind=solar_flare"),
        ("storage", 1, "state=failed&kind=storage"),
    ]
    for words in ("4 analyses failed", "damaged files", "solar_flare", "Retry these 2", "Retry this one", "such as:"):
        assert words in answer.text
    assert names(operator.get("/analyses/?state=failed&kind=unreadable")) == ["1.jpg", "0.jpg"]


def test_these_seven_are_retried_and_no_others(operator: Client, queue: Queue) -> None:
    seven = [a_failed(f"{number}.jpg", "unreadable") for number in range(7)]
    a_failed("other kind.jpg", "storage")
    page = operator.get("/analyses/").text
    assert "Retry these 7" in page
    a_failed("failed later.jpg", "unreadable")
    answer = press(operator, page, "retry-unreadable")
    assert "7 analyses are tried again." in answer.text
    assert "left as" not in answer.text
    assert queue.analyses == [analysis.pk for analysis in seven]
    assert {name for name, state in states().items() if state == "failed"} == {"other kind.jpg", "failed later.jpg"}


def test_what_somebody_else_has_retried_already_is_told(operator: Client, queue: Queue) -> None:
    failed = [a_failed(f"{number}.jpg") for number in range(3)]
    page = operator.get("/analyses/").text
    failed[0].retry()
    failed[1].media.remove()
    answer = press(operator, page, "retry-storage")
    assert (
        "1 analysis is tried again. 2 are left as they were: had been opened again before, or removed." in answer.text
    )
    answer = press(operator, page, "retry-storage")
    assert "Nothing is tried again. 3 are left as they were" in answer.text
    assert queue.analyses == [failed[2].pk]


def test_a_group_of_a_narrowed_list_is_narrow_too(operator: Client, queue: Queue) -> None:
    gate, yard = a_failed("gate.jpg"), a_failed("yard.jpg")
    camera = a_camera("Gate")
    Media.objects.filter(pk=gate.media_id).update(camera=camera)
    answer = operator.get(f"/analyses/?camera={camera.pk}&state=cancelled")
    assert [group.failures.count for group in answer.context["groups"]] == [1]
    press(operator, answer.text, "retry-storage")
    yard.refresh_from_db()
    assert yard.state == "failed"
    assert queue.analyses == [gate.pk]


def test_failures_without_a_kind_are_a_group_of_their_own(operator: Client, queue: Queue) -> None:
    a_failed("with.jpg")
    none = a_failed("without.jpg")
    Analysis.objects.filter(pk=none.pk).update(error_kind="")
    page = operator.get("/analyses/").text
    assert "no kind on record" in page
    press(operator, page, "retry--")
    assert queue.analyses == [none.pk]


def test_an_earlier_failure_whose_media_was_run_again_is_not_retried_with_the_others(
    operator: Client, queue: Queue
) -> None:
    old = a_failed("old.jpg")
    new = a_failed("new.jpg")
    page = operator.get("/analyses/").text
    assert "Retry these 2" in page
    a_done_analysis(old.media)
    answer = press(operator, page, "retry-storage")
    assert "1 analysis is tried again. 1 is left as it was" in answer.text
    assert queue.analyses == [new.pk]


# Those that were chosen


def choose(client: Client, action: str, *analyses: Analysis, **more: str) -> Any:
    data = {"analysis": [analysis.pk for analysis in analyses], **more}
    return client.post(f"/analyses/{action}", data, follow=True)


def test_chosen_ones_are_retried(operator: Client, queue: Queue, yard: dict[str, Analysis]) -> None:
    answer = choose(operator, "retry", yard["failed"], yard["cancelled"], yard["done"])
    assert "2 analyses are tried again. 1 is left as it was: neither failed nor cancelled." in answer.text
    assert sorted(queue.analyses) == sorted([yard["failed"].pk, yard["cancelled"].pk])


def test_chosen_ones_are_cancelled(operator: Client, queue: Queue, yard: dict[str, Analysis]) -> None:
    answer = choose(operator, "cancel", yard["queued"], yard["running"], yard["done"])
    assert "2 analyses are cancelled. 1 is left as it was: over before." in answer.text
    assert (states()["queued.mp4"], states()["running.mp4"], states()["done.mp4"]) == ("cancelled", "cancelled", "done")


@pytest.mark.parametrize("action", ["retry", "cancel"])
def test_one_has_to_choose_first(operator: Client, action: str, yard: dict[str, Analysis]) -> None:
    before = states()
    assert "Choose at least one analysis first." in choose(operator, action).text
    assert states() == before


def test_without_a_broker_they_are_opened_and_the_page_says_that_they_wait(
    operator: Client, queue: Queue, yard: dict[str, Analysis]
) -> None:
    queue.is_away = True
    answer = choose(operator, "retry", yard["failed"], yard["cancelled"])
    assert "2 analyses are tried again." in answer.text
    assert "waits for the queue" in answer.text


def test_one_comes_back_to_the_list_and_never_to_another_site(
    operator: Client, queue: Queue, yard: dict[str, Analysis]
) -> None:
    answer = choose(operator, "cancel", yard["queued"], next="/analyses/?state=open&page=2")
    assert answer.redirect_chain == [("/analyses/?state=open&page=2", 302)]
    answer = choose(operator, "cancel", yard["running"], next="https://evil.example/")
    assert answer.redirect_chain == [("/analyses/", 302)]
    one = operator.post(f"/analyses/{yard['failed'].pk}/retry", {"next": "/analyses/?kind=storage"})
    assert one["Location"] == "/analyses/?kind=storage"
    assert operator.post(f"/analyses/{yard['failed'].pk}/cancel")["Location"] == yard["failed"].media.get_absolute_url()


def test_only_what_can_be_acted_on_can_be_chosen(operator: Client, yard: dict[str, Analysis]) -> None:
    page = operator.get("/analyses/").text
    for name in ("queued", "running", "failed", "cancelled"):
        assert f'id="choose-{yard[name].pk}"' in page
    for name in ("done", "old"):
        assert f'id="choose-{yard[name].pk}"' not in page


def test_a_viewer_sees_all_of_it_and_can_do_nothing(viewer: Client, yard: dict[str, Analysis]) -> None:
    page = viewer.get("/analyses/").text
    assert "files that the storage did not give" in page
    assert "<button" not in page.partition('id="main"')[2].replace('<button class="primary">Filter</button>', "")
    assert 'type="checkbox"' not in page
    before = states()
    for action in ("retry", "cancel"):
        assert choose(viewer, action, *yard.values()).status_code == 403
    assert states() == before


# All that fit the filter


def test_all_that_fit_the_filter_are_cancelled_and_not_what_came_later(operator: Client, queue: Queue) -> None:
    for name in ("a1.mp4", "a2.mp4", "b.mp4"):
        Analysis.request(a_media(name.encode(), name=name))
    a_done_analysis(a_media(b"a", name="a done.mp4"))
    page = operator.get("/analyses/?name=a").text
    assert "Cancel all 2 that wait or run" in page
    Analysis.request(a_media(b"a later", name="a later.mp4"))
    answer = press(operator, page, "cancel-all")
    assert "2 analyses are cancelled." in answer.text
    assert answer.redirect_chain == [("/analyses/?name=a", 302)]
    assert states() == {
        "a1.mp4": "cancelled", "a2.mp4": "cancelled", "b.mp4": "queued", "a later.mp4": "queued", "a done.mp4": "done",
    }  # fmt: skip


def test_all_that_fit_the_filter_are_retried_on_every_page(
    operator: Client, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detection.views.analysis_list.PAGE_SIZE", 1)
    old = a_failed("a0.jpg")
    a_done_analysis(old.media)
    failed = [a_failed("a1.jpg"), a_failed("a2.jpg", "detector")]
    cancelled = a_running_analysis(a_media(b"a3", name="a3.mp4"))
    cancelled.cancel()
    a_failed("b.jpg")
    page = operator.get("/analyses/?name=a").text
    assert "Retry all 3 that failed or were cancelled" in page
    press(operator, page, "retry-all")
    assert queue.analyses == [failed[0].pk, failed[1].pk, cancelled.pk]
    old.refresh_from_db()
    assert (states()["b.jpg"], old.state) == ("failed", "failed")


@pytest.mark.parametrize(
    ("action", "data"),
    [
        ("retry", {"analysis": "x"}),
        ("cancel", {"analysis": "-1"}),
        ("retry", {"filter": "state=lost", "until": "2999-01-01T00:00:00+00:00", "count": "1"}),
        ("cancel", {"filter": "camera=99", "newest": "99", "count": "1"}),
        ("retry", {"filter": "", "until": "yesterday", "count": "1"}),
        ("retry", {"filter": "", "until": "2999-13-01T00:00:00+00:00", "count": "1"}),
        ("retry", {"filter": "", "until": "2999-01-01T00:00:00", "count": "1"}),
        ("retry", {"filter": "", "until": "2999-01-01T00:00:00+00:00"}),
        ("cancel", {"filter": "", "newest": "", "count": "1"}),
    ],
)
def test_what_no_page_of_ours_would_send_is_400_and_changes_nothing(
    operator: Client, yard: dict[str, Analysis], action: str, data: dict[str, str]
) -> None:
    before = states()
    assert operator.post(f"/analyses/{action}", data).status_code == 400
    assert states() == before


def test_a_form_from_another_site_is_refused(yard: dict[str, Analysis], operator: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert strict.post("/analyses/cancel", {"analysis": yard["queued"].pk}).status_code == 403
    assert states()["queued.mp4"] == "queued"


def test_an_empty_list_says_what_to_do(operator: Client) -> None:
    assert "Nothing was analysed yet." in operator.get("/analyses/").text
    assert "Nothing fits this filter." in operator.get("/analyses/?state=failed").text


def test_the_list_keeps_itself_up_to_date(viewer: Client) -> None:
    a_done_analysis()
    assert 'hx-trigger="every 15s"' in viewer.get("/analyses/").text
    a_running_analysis(a_media(b"another"))
    assert 'hx-trigger="every 3s"' in viewer.get("/analyses/").text


def test_a_media_that_is_removed_while_its_analysis_is_asked_for_is_not_there(operator, monkeypatch):
    media = a_media()
    monkeypatch.setattr("detection.views.analyses.require", lambda *_: Media.objects.get(pk=media.pk).remove())
    assert operator.post(f"/media/{media.pk}/analyse").status_code == 404
    assert not Analysis.objects.exists()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@on_postgresql
def test_two_clicks_at_once_are_one_analysis(queue: Queue) -> None:
    media, client = a_media(), Client()
    client.force_login(a_user("operator"))
    with transaction.atomic():
        Media.objects.select_for_update().get(pk=media.pk)
        second = Beside(lambda: client.post(f"/media/{media.pk}/analyse", follow=True))
        second.wait_until_it_waits()
        Analysis.request(media)
    answer: Any = second.join()
    assert "An analysis of this media is under way already." in answer.text
    assert Analysis.objects.count() == 1
    assert queue.analyses == []
