"""The grid of cameras, the page of one, and what a person does with one."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from detection.fields import Secret
from detection.models import Camera, CameraEvent, Capture, Media
from detection.models.coverage import Coverage, Reason, Tally
from detection.views.camera_wording import age, lasting, schedule_words, share_words
from tests.cast import IMAGE, NOON, SECRET, a_camera, a_capture, a_done_analysis, a_media
from tests.views.conftest import Queue, Visit

SECRETS = (SECRET, "viewer:", "snap.jpg")


def a_picture(camera: Camera, number: int = 0) -> Media:
    media = a_media(f"{camera.pk} {number}".encode(), IMAGE, f"{camera} {number}.jpg")
    Media.objects.filter(pk=media.pk).update(camera=camera)
    Camera.objects.filter(pk=camera.pk).update(last_media=media, last_good_at=timezone.now(), state="ok")
    return media


def names(answer: Any) -> list[str]:
    return [camera.name for camera in answer.context["page"]]


@pytest.fixture
def gate(db: None) -> Camera:
    """A camera that is well, with a picture and a capture of it."""
    camera = a_camera("Gate")
    a_capture(camera, at=timezone.now() - timedelta(minutes=5), media=a_picture(camera))
    camera.refresh_from_db()
    return camera


# The grid


def test_the_grid_shows_each_camera_with_its_state_in_words_and_the_age_of_its_picture(
    viewer: Client, gate: Camera
) -> None:
    a_camera("Yard", state="offline", why="The camera timed out.", state_since=timezone.now() - timedelta(hours=3))
    page = viewer.get("/cameras/").text
    assert f'src="/media/{gate.last_media_id}/preview"' in page
    assert "0 s ago" in page
    assert "Ok</span>" in page
    assert "Offline</span>" in page
    assert "for 3 h" in page
    assert "No picture yet" in page  # the placeholder of the other
    assert 'hx-trigger="every 5s"' in page


def test_cameras_in_trouble_come_first(viewer: Client) -> None:
    for name, state in (("b", "ok"), ("a", "new"), ("z", "failing"), ("y", "frozen"), ("x", "offline"), ("C", "ok")):
        a_camera(name, state=state)
    answer = viewer.get("/cameras/")
    assert names(answer) == ["x", "y", "z", "a", "b", "C"]
    assert "3 in trouble" in answer.text


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("name=GAT", ["Gate"]),
        ("name=nothing", []),
        ("state=trouble", ["Yard", "Door"]),
        ("state=offline", ["Yard"]),
        ("state=disabled", ["Shed"]),
        ("state=trouble&name=door", ["Door"]),
        ("state=lost", ["Yard", "Door", "Gate", "Shed"]),
    ],
)
def test_the_grid_can_be_narrowed(viewer: Client, query: str, wanted: list[str]) -> None:
    for name, state in (("Gate", "ok"), ("Yard", "offline"), ("Door", "failing"), ("Shed", "disabled")):
        a_camera(name, state=state)
    answer = viewer.get(f"/cameras/?{query}")
    assert names(answer) == wanted
    assert ("There is no such state." in answer.text) == (query == "state=lost")
    assert ("No camera fits this filter" in answer.text) == (not wanted)


def test_hundreds_of_cameras_come_in_pages_that_keep_the_filter(
    viewer: Client, django_assert_max_num_queries: Any
) -> None:
    Camera.objects.bulk_create(Camera(name=f"Camera {n:03}", state="ok") for n in range(130))
    for camera in Camera.objects.all()[:60]:
        a_picture(camera)
    with django_assert_max_num_queries(9):  # PostgreSQL is asked for its time, too
        answer = viewer.get("/cameras/?state=ok")
    assert len(names(answer)) == 48
    assert 'href="?state=ok&amp;page=2"' in answer.text
    assert "130 cameras" in answer.text


def test_an_empty_grid_says_how_to_add_a_camera(operator: Client, visit: Visit) -> None:
    page = operator.get("/cameras/").text
    assert "No cameras yet" in page
    assert page.count('href="/cameras/new"') == 2
    mere = visit("viewer").get("/cameras/").text
    assert 'href="/cameras/new"' not in mere
    assert "ask somebody in the group operator" in mere


def test_a_frozen_camera_says_how_often_the_same_picture_came(viewer: Client) -> None:
    camera = a_camera("Yard", state="frozen", same_count=12)
    for path in ("/", "/cameras/", f"/cameras/{camera.pk}/"):
        assert "The very same picture came 12 times in a row." in viewer.get(path).text


# The page of one


def test_the_page_says_how_the_camera_is_and_since_when_and_why(viewer: Client) -> None:
    camera = a_camera("Yard", state="offline", state_since=NOON, why="The camera timed out.", failures=3, breaker_s=120)
    page = viewer.get(f"/cameras/{camera.pk}/").text
    for words in ("Offline</span>", "2026-03-01 12:00:00 UTC", "The camera timed out.", "3 failed captures in a row"):
        assert words in page
    assert "at most every 2 minutes" in page


def test_the_page_shows_the_place_and_never_the_address(viewer: Client, operator: Client) -> None:
    camera = a_camera("Yard")
    for answer in (
        viewer.get(f"/cameras/{camera.pk}/"),
        operator.get(f"/cameras/{camera.pk}/"),
        viewer.get("/cameras/"),
    ):
        assert not any(secret in answer.text for secret in SECRETS)
    assert "http://10.0.0.5" in viewer.get(f"/cameras/{camera.pk}/").text


def test_an_address_under_a_lost_key_is_a_sentence(viewer: Client, settings) -> None:
    camera = a_camera()
    settings.CAMERA_KEYS = ["YW5vdGhlciBrZXkgd2l0aCAzMiBieXRlcyBpbiBpdC4="]
    answer = viewer.get(f"/cameras/{camera.pk}/")
    assert answer.status_code == 200
    assert "CAMERA_KEYS lacks the key" in answer.text


def test_the_page_leads_to_the_latest_picture_and_to_all_its_media(viewer: Client, gate: Camera) -> None:
    page = viewer.get(f"/cameras/{gate.pk}/").text
    assert f'<a class="stage" href="/media/{gate.last_media_id}/"' in page
    assert f'href="/media/?camera={gate.pk}"' in page
    assert f'href="/media/{gate.last_media_id}/" id="capture-' in page
    _, _, latest = page.partition("Its latest media</h2>")
    assert f'<li class="card" id="media-{gate.last_media_id}">' in latest


def test_every_failed_attempt_is_told(viewer: Client) -> None:
    tried = [{"at": NOON.isoformat(), "kind": "timeout", "why": f"Reason {n}."} for n in range(2)]
    capture = a_capture(state="failed", tried=tried)
    a_capture(capture.camera, "missed", NOON - timedelta(hours=1), times=30, last_at=NOON - timedelta(minutes=30))
    page = viewer.get(f"/cameras/{capture.camera_id}/").text
    for words in ("Failed</span>", "2 failed attempts", "Reason 0.", "Reason 1.", "× 30", "No worker was free"):
        assert words in page


def test_the_share_is_told_in_words_drawn_and_given_as_a_table(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = a_camera()
    for n in range(4):
        a_capture(camera, "missed" if n == 3 else "grabbed", NOON + timedelta(minutes=n))
    monkeypatch.setattr("detection.views.cameras.now", lambda: NOON + timedelta(minutes=5))
    answer = viewer.get(f"/cameras/{camera.pk}/")
    assert answer.text.count("75 % of 4 captured; 1 missed: No worker was free for it in time.") == 2
    assert answer.text.count('<svg width="100%" height="58" role="img"') == 2
    assert answer.text.count("3 captured, 1 missed</title>") == 2
    for title in ('<b id="strip-day">Last 24 hours (UTC)</b>', '<b id="strip-month">Last 31 days</b>'):
        assert title in answer.text
    assert answer.text.count("The same as a table") == 2
    assert "style=" not in answer.text  # the policy of content would drop it
    assert [strip.rows[0].percentage for strip in answer.context["strips"]] == ["75 %", "75 %"]


def test_where_nothing_was_planned_no_share_is_made_up(viewer: Client) -> None:
    page = viewer.get(f"/cameras/{a_camera().pk}/").text
    assert page.count("<span>nothing planned</span>") == 2
    assert "100 %" not in page.replace('width="100%"', "")


def test_a_picture_that_nobody_plans_is_told_as_overdue(viewer: Client) -> None:
    camera = a_camera(next_at=timezone.now() - timedelta(minutes=5))
    assert "It is overdue" in viewer.get(f"/cameras/{camera.pk}/").text
    Camera.objects.update(next_at=timezone.now() - timedelta(seconds=5))
    assert "It is overdue" not in viewer.get(f"/cameras/{camera.pk}/").text


def test_the_next_time_is_also_told_in_the_cameras_time_zone(viewer: Client) -> None:
    camera = a_camera(time_zone="Asia/Tokyo", next_at=NOON)
    page = viewer.get(f"/cameras/{camera.pk}/").text
    assert "2026-03-01 12:00:00 UTC" in page
    assert "2026-03-01 21:00:00 JST" in page
    assert "time zone Asia/Tokyo" in page


def test_the_polled_part_is_cheap_and_has_what_changes(
    viewer: Client, gate: Camera, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(8):
        part = viewer.get(f"/cameras/{gate.pk}/", headers={"hx-request": "true"}).text
    assert 'id="camera-live"' in part
    assert "Recent captures" in part
    assert "<html" not in part
    assert "Last 31 days" not in part


def test_the_page_takes_as_many_queries_for_much_as_for_little(
    viewer: Client, gate: Camera, django_assert_max_num_queries: Any
) -> None:
    for n in range(30):
        media = a_picture(gate, n + 1)
        a_done_analysis(media)
        a_capture(gate, at=NOON + timedelta(minutes=n), media=media)
        CameraEvent.tell(gate, CameraEvent.Kind.OFFLINE, "Timed out.")
    with django_assert_max_num_queries(18):
        viewer.get(f"/cameras/{gate.pk}/")


@pytest.mark.parametrize(
    ("group", "there"),
    [("viewer", []), ("reviewer", []), ("operator", ["Capture now", "Pause", "/edit", "/remove"])],
)
def test_who_may_do_something_has_the_buttons_for_it(visit: Visit, gate: Camera, group: str, there: list[str]) -> None:
    page = visit(group).get(f"/cameras/{gate.pk}/").text
    assert [words for words in ("Capture now", "Pause", "/edit", "/remove") if words in page] == there


# What a person does with it


def test_a_capture_that_is_asked_for_is_sent(operator: Client, queue: Queue, gate: Camera) -> None:
    answer = operator.post(f"/cameras/{gate.pk}/capture", follow=True)
    capture = Capture.objects.get(is_manual=True)
    assert capture.requested_by is not None
    assert capture.requested_by.username == "the operator"
    assert queue.captures == [capture.pk]
    assert "A picture is asked for. It appears here within seconds." in answer.text
    assert "asked for by the operator" in answer.text


def test_a_second_one_has_to_wait_for_the_first(operator: Client, queue: Queue, gate: Camera) -> None:
    operator.post(f"/cameras/{gate.pk}/capture")
    answer = operator.post(f"/cameras/{gate.pk}/capture", follow=True)
    assert "was asked for already" in answer.text
    assert len(queue.captures) == 1
    Capture.objects.filter(is_manual=True).update(state="failed")
    operator.post(f"/cameras/{gate.pk}/capture")
    assert len(queue.captures) == 2


def test_a_first_one_that_nobody_took_in_its_time_keeps_nobody_waiting(
    operator: Client, queue: Queue, gate: Camera
) -> None:
    a_capture(gate, "planned", timezone.now() - timedelta(minutes=2), is_manual=True)
    operator.post(f"/cameras/{gate.pk}/capture")
    assert len(queue.captures) == 1


def test_one_that_the_schedule_planned_keeps_nobody_waiting(operator: Client, queue: Queue, gate: Camera) -> None:
    a_capture(gate, "planned", timezone.now())
    operator.post(f"/cameras/{gate.pk}/capture")
    assert len(queue.captures) == 1


def test_an_unreachable_queue_is_told(operator: Client, queue: Queue, gate: Camera) -> None:
    queue.is_away = True
    answer = operator.post(f"/cameras/{gate.pk}/capture", follow=True)
    assert "the queue cannot be reached just now" in answer.text
    assert Capture.objects.filter(is_manual=True).count() == 1


def test_a_camera_without_an_address_can_only_be_edited(operator: Client, queue: Queue) -> None:
    camera = a_camera(address=Secret.of(""), state="disabled")
    for verb in ("capture", "resume"):
        answer = operator.post(f"/cameras/{camera.pk}/{verb}", follow=True)
        assert "This camera has no address yet. Edit it first." in answer.text
    assert not Capture.objects.exists()
    camera.refresh_from_db()
    assert camera.state == "disabled"


def test_a_camera_is_paused_and_resumed(operator: Client, gate: Camera) -> None:
    paused = operator.post(f"/cameras/{gate.pk}/pause", follow=True)
    assert "Gate is paused: no pictures are taken until it is resumed." in paused.text
    assert "none: it is paused" in paused.text
    assert "Gate was paused before." in operator.post(f"/cameras/{gate.pk}/pause", follow=True).text
    resumed = operator.post(f"/cameras/{gate.pk}/resume", follow=True)
    assert "Gate takes pictures again, by its schedule." in resumed.text
    assert "Gate was not paused." in operator.post(f"/cameras/{gate.pk}/resume", follow=True).text
    gate.refresh_from_db()
    assert gate.next_at is not None


# Elsewhere on the site


def test_the_overview_tells_of_cameras_in_trouble(viewer: Client, gate: Camera) -> None:
    yard = a_camera("Yard", state="offline", why="The camera timed out.", state_since=timezone.now())
    CameraEvent.tell(yard, CameraEvent.Kind.OFFLINE, "It was silent.")
    page = viewer.get("/").text
    for words in ("<b>1 of 2</b> cameras in trouble", "Cameras in trouble", "The camera timed out.", "It was silent."):
        assert words in page


def test_the_overview_tells_that_a_camera_is_back(viewer: Client, gate: Camera) -> None:
    event = CameraEvent.tell(gate, CameraEvent.Kind.BACK, "")
    _, _, happened = viewer.get("/").text.partition("What happened to cameras</h2>")
    assert '<span class="badge is-back">' in happened
    assert "Is back</span>" in happened
    assert f'<a href="/cameras/{gate.pk}/" id="event-{event.pk}">Gate</a>' in happened


def test_the_overview_says_nothing_of_cameras_where_there_are_none(viewer: Client) -> None:
    answer = viewer.get("/")
    assert answer.context["camera_count"] == 0
    assert "Cameras in trouble" not in answer.text
    assert "What happened to cameras" not in answer.text


def test_a_media_says_from_which_capture_it_is(viewer: Client, gate: Camera) -> None:
    Capture.objects.update(planned_at=NOON, attempts=2)
    page = viewer.get(f"/media/{gate.last_media_id}/").text
    assert f'<a href="/cameras/{gate.pk}/">Gate</a>' in page
    assert "planned for" in page
    assert "it took 2 attempts" in page


# Words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s ago"), (59.9, "59 s ago"), (60, "1 min ago"), (7200, "2 h ago"), (3 * 86_400, "3 days ago")],
)
def test_an_age_is_short(seconds: float, words: str) -> None:
    assert age(NOON, NOON + timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "second"), (10, "10 seconds"), (60, "minute"), (90, "90 seconds"), (900, "15 minutes"), (7200, "2 hours")],
)
def test_an_interval_is_said_in_its_largest_unit(seconds: int, words: str) -> None:
    assert lasting(seconds) == words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"every_s": 10}, "Every 10 seconds"),
        (
            {"every_s": 60, "days": "12345", "active_from": time(6), "active_until": time(20), "jitter_s": 5},
            "Every minute, Mondays to Fridays, from 06:00 until 20:00, each up to 5 seconds later",
        ),
        ({"days": "67"}, "Every minute, Saturdays and Sundays"),
        ({"days": "135"}, "Every minute, Mondays, Wednesdays and Fridays"),
        ({"days": "7"}, "Every minute, Sundays"),
        ({"schedule": "cron", "cron": "*/5 * * * *"}, "By the cron expression “*/5 * * * *”"),
        (
            {"schedule": "sun", "sunrise_offset_min": -10, "sunset_offset_min": 0, "latitude": 52.5, "longitude": -1},
            "10 minutes before sunrise and at sunset at 52.50° N, 1.00° W",
        ),
    ],
)
def test_a_schedule_is_said_in_words(fields: dict[str, Any], words: str) -> None:
    assert schedule_words(Camera(**fields)) == words


@pytest.mark.parametrize(
    ("tally", "words"),
    [
        (Tally(1440), "100 % of 1,440 captured."),
        (Tally(259_980, missed=20), "99.9 % of 260,000 captured; 20 missed, 11 of them: Timed out."),
        (Tally(1429, missed=11), "99.2 % of 1,440 captured; 11 missed: Timed out."),
        (Tally(0, failed=3), "0 % of 3 captured; 3 failed: Refused."),
        (Tally(unknown=4), "4 not known"),
        (Tally(), "nothing planned"),
    ],
)
def test_a_share_is_never_rounded_up(tally: Tally, words: str) -> None:
    assert share_words(Coverage((), tally, Reason("Refused.", 3), Reason("Timed out.", 11))) == words


def test_the_page_of_one_says_nothing_of_another(viewer: Client, gate: Camera) -> None:
    yard = a_camera("Yard")
    a_capture(yard, "failed", timezone.now(), why="Of the yard.")
    picture = a_picture(yard)
    CameraEvent.tell(yard, CameraEvent.Kind.OFFLINE, "It was silent.")
    page = viewer.get(f"/cameras/{gate.pk}/").text
    for foreign in ("Of the yard.", f"/media/{picture.pk}/", "It was silent."):
        assert foreign not in page


def test_the_page_of_one_stays_short(viewer: Client, gate: Camera) -> None:
    for n in range(12):
        a_capture(gate, at=NOON + timedelta(minutes=n), media=a_picture(gate, n + 1))
        CameraEvent.tell(gate, CameraEvent.Kind.OFFLINE, "Timed out.")
    context = viewer.get(f"/cameras/{gate.pk}/").context
    assert [len(context[name]) for name in ("captures", "events", "entries")] == [10, 10, 8]


def test_a_camera_that_is_removed_meanwhile_is_not_there(
    operator: Client, queue: Queue, gate: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise Camera.DoesNotExist

    monkeypatch.setattr(Capture, "ask_once", gone)
    assert operator.post(f"/cameras/{gate.pk}/capture").status_code == 404


def test_whoever_only_looks_removes_no_camera(operator: Client, gate: Camera) -> None:
    assert operator.head(f"/cameras/{gate.pk}/remove").status_code == 405
    assert Camera.objects.exists()
