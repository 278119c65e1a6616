"""The overview and the lists: what they show, how they are narrowed, and that they stay cheap."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from detection.models import Camera, Media, Sighting
from tests.cast import IMAGE, NOON, a_done_analysis, a_media, a_running_analysis, a_track
from tests.views.conftest import Queue


@pytest.fixture
def yard(db: None) -> dict[str, Media]:
    """One media in each state, and sightings of several labels and scores."""
    camera = Camera.objects.create(name="Gate", time_zone="Europe/Berlin")
    found = a_media(b"1", name="found.mp4")
    a_done_analysis(found, [a_track("car", score=0.9), a_track("person", 3, score=0.5), a_track("dog", 5, score=0.7)])
    Media.objects.filter(pk=found.pk).update(camera=camera, at=NOON, captured_at=NOON)
    Sighting.objects.update(at=NOON)
    empty = a_media(b"2", name="empty.mp4")
    a_done_analysis(empty, [])
    failed = a_media(b"3", IMAGE, name="failed.jpg")
    a_running_analysis(failed).fail("detector", "The model does not load.")
    cancelled = a_media(b"4", name="cancelled.mp4")
    a_running_analysis(cancelled).cancel()
    running = a_media(b"5", name="running.mp4")
    a_running_analysis(running)
    return {"found": found, "empty": empty, "failed": failed, "cancelled": cancelled, "running": running}


def names(answer: Any) -> set[str]:
    return {entry.media.name for entry in answer.context["entries"]}


def labels(answer: Any) -> set[str]:
    return {sighting.shown_label for sighting in answer.context["page"]}


def test_each_media_says_what_its_analysis_came_to(viewer: Client, yard: dict[str, Media]) -> None:
    page = viewer.get("/media/").text
    for words in ("3 sightings", "3 to review", "Nothing found", "Failed", "Cancelled", "Looking"):
        assert words in page


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("name=FOUND", {"found.mp4"}),
        ("label=Car", {"found.mp4"}),
        ("label=horse", set()),
        ("state=found", {"found.mp4"}),
        ("state=empty", {"empty.mp4"}),
        ("state=failed", {"failed.jpg"}),
        ("state=cancelled", {"cancelled.mp4"}),
        ("state=open", {"running.mp4"}),
        ("review=todo", {"found.mp4"}),
        ("review=over", set()),
        ("since=2026-03-01&until=2026-03-01", {"found.mp4", "failed.jpg"}),
        ("until=2026-02-28", set()),
        ("state=failed&label=car", set()),
    ],
)
def test_media_can_be_narrowed(viewer: Client, yard: dict[str, Media], query: str, wanted: set[str]) -> None:
    assert names(viewer.get(f"/media/?{query}")) == wanted


def test_media_can_be_narrowed_by_camera(viewer: Client, yard: dict[str, Media]) -> None:
    camera = Camera.objects.get()
    assert names(viewer.get(f"/media/?camera={camera.pk}")) == {"found.mp4"}
    assert labels(viewer.get(f"/sightings/?camera={camera.pk}")) == {"car", "person", "dog"}


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", {"car", "person", "dog"}),
        ("label=CAR", {"car"}),
        ("score_min=60", {"car", "dog"}),
        ("score_max=60", {"person"}),
        ("score_min=60&score_max=80", {"dog"}),
        ("review=todo", {"car", "person"}),
        ("review=rejected", {"dog"}),
        ("since=2026-03-02", set()),
        ("until=2026-03-01", {"car", "person", "dog"}),
    ],
)
def test_sightings_can_be_narrowed(viewer: Client, yard: dict[str, Media], query: str, wanted: set[str]) -> None:
    Sighting.objects.get(label="dog").judge("rejected", None)
    assert labels(viewer.get(f"/sightings/?{query}")) == wanted


@pytest.mark.parametrize(
    ("path", "query", "sentence"),
    [
        ("/media/", "since=yesterday", "“From” is not a date. Write it as 2026-03-01."),
        ("/media/", "until=0001-01-01", "“To” must lie between the years 1970 and 2999."),
        ("/media/", "until=9999-12-31", "“To” must lie between the years 1970 and 2999."),
        ("/media/", "since=2026-03-02&until=2026-03-01", "“To” lies before “From”. Swap the two dates."),
        ("/media/", "camera=77", "There is no such camera. Choose one of the list."),
        ("/media/", "state=lost", "There is no such state. Choose one of the list."),
        ("/media/", "review=x", "There is no such review state. Choose one of the list."),
        ("/sightings/", "review=x", "There is no such verdict. Choose one of the list."),
        ("/sightings/", "score_min=many", "The lowest score is not a whole number. Write one from 0 to 100."),
        ("/sightings/", "score_max=101", "The highest score must be from 0 to 100."),
        ("/sightings/", "score_min=70&score_max=60", "The highest score is below the lowest. Swap the two."),
    ],
)
def test_a_mistake_in_the_filter_is_a_sentence(viewer: Client, path: str, query: str, sentence: str) -> None:
    answer = viewer.get(f"{path}?{query}")
    assert answer.status_code == 200
    assert answer.context["form"].sentences() == [sentence]
    assert "A part of the filter was left out" in answer.text


def test_the_right_part_of_a_wrong_filter_still_counts(viewer: Client, yard: dict[str, Media]) -> None:
    assert labels(viewer.get("/sightings/?label=car&score_min=many")) == {"car"}


def test_pages_keep_the_filter(viewer: Client) -> None:
    a_done_analysis(tracks=[a_track("car", start_s=n / 10) for n in range(60)])
    answer = viewer.get("/sightings/?label=car&score_min=10")
    assert answer.context["page"].paginator.num_pages == 2
    assert 'href="?label=car&amp;score_min=10&amp;page=2"' in answer.text
    second = viewer.get("/sightings/?label=car&page=2")
    assert len(second.context["page"]) == 12
    assert viewer.get("/sightings/?page=x").context["page"].number == 1
    assert viewer.get("/sightings/?page=99").context["page"].number == 2


def test_sightings_of_a_replaced_result_are_not_listed(viewer: Client) -> None:
    media = a_media()
    a_done_analysis(media, [a_track("car")])
    a_done_analysis(media, [a_track("person")])
    assert labels(viewer.get("/sightings/")) == {"person"}
    [entry] = viewer.get("/media/").context["entries"]
    assert (entry.sightings, entry.to_review) == (1, 1)


def test_times_are_the_cameras(viewer: Client, yard: dict[str, Media]) -> None:
    assert "2026-03-01 13:00:00 CET" in viewer.get("/sightings/").text


def test_an_unknown_time_zone_falls_back_to_the_sites(viewer: Client, yard: dict[str, Media]) -> None:
    Camera.objects.update(time_zone="Mars/Base")
    assert "2026-03-01 12:00:00 UTC" in viewer.get("/sightings/").text


@pytest.mark.parametrize("path", ["/", "/media/", "/sightings/"])
def test_a_list_takes_as_many_queries_for_many_rows_as_for_few(
    viewer: Client, path: str, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        a_done_analysis(a_media(str(number).encode()), [a_track("car"), a_track("dog", 3)])
    for sighting in Sighting.objects.filter(label="dog"):
        sighting.judge("confirmed", None)
    with django_assert_max_num_queries(20 if path == "/" else 12):
        assert viewer.get(path).status_code == 200


def test_the_overview_shows_what_waits_and_what_failed(viewer: Client, yard: dict[str, Media]) -> None:
    answer = viewer.get("/")
    counts = {name: answer.context[name] for name in ("media_count", "running_count", "review_count", "failed_count")}
    assert counts == {"media_count": 5, "running_count": 1, "review_count": 3, "failed_count": 1}
    assert "The model does not load." in answer.text
    assert 'hx-trigger="every 3s"' in answer.text  # something runs, so the page keeps itself up to date


def test_the_overview_leads_to_all_that_waits_where_it_does_not_show_them_all(viewer: Client) -> None:
    a_done_analysis(tracks=[a_track("car", start_s=n) for n in range(7)])
    assert '<a href="/sightings/?review=todo">All 7 to review</a>' in viewer.get("/").text
    Sighting.objects.first().judge("confirmed", None)
    page = viewer.get("/")
    assert page.context["review_count"] == 6
    assert "All 6 to review" not in page.text


def test_an_empty_overview_says_what_to_do(operator: Client) -> None:
    page = operator.get("/").text
    assert "Upload an image or a clip" in page
    assert "hx-trigger" not in page


def test_the_example_says_that_it_is_one_and_goes_with_one_click(operator: Client, queue: Queue) -> None:
    a_media(b"own")
    example = a_media(b"drawn")
    Media.objects.filter(pk=example.pk).update(is_example=True)
    a_done_analysis(example)
    assert "This is an example" in operator.get("/").text
    assert "This is an example" in operator.get(f"/media/{example.pk}/").text
    answer = operator.post("/example/remove", follow=True)
    assert "The example is removed." in answer.text
    assert "This is an example" not in answer.text
    assert [media.uploaded_by for media in Media.objects.all()] == [None]


def test_a_viewer_sees_the_example_without_the_button(viewer: Client) -> None:
    a_media(b"drawn")
    Media.objects.update(is_example=True)
    page = viewer.get("/").text
    assert "This is an example" in page
    assert "Remove the example" not in page


def test_days_are_those_of_the_site(viewer: Client, settings) -> None:
    settings.TIME_ZONE = "Pacific/Auckland"
    media = a_media()
    Media.objects.filter(pk=media.pk).update(at=NOON)  # one in the morning of the next day there
    assert names(viewer.get("/media/?since=2026-03-02")) == {"yard.mp4"}
    assert names(viewer.get("/media/?until=2026-03-01")) == set()
    Media.objects.filter(pk=media.pk).update(at=NOON - timedelta(hours=2))
    assert names(viewer.get("/media/?until=2026-03-01")) == {"yard.mp4"}
