"""What Prometheus scrapes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from detection.fields import Secret
from detection.models import Camera, CameraEvent, Capture, Notification
from detection.models.clock import now
from detection.views import metrics

pytestmark = pytest.mark.django_db
TOKEN = "only-for-tests-ÄÖÜ-token"


@pytest.fixture(autouse=True)
def fresh():
    """A day's sums are kept for a minute."""
    cache.clear()
    yield
    cache.clear()


def a_camera(name: str = "Gate", **doing: object) -> Camera:
    return Camera.objects.create(name=name, address=Secret.of("rtsp://camera:s3cret@10.0.0.5/h264"), **doing)


def a_capture(camera: Camera, ago_s: float, state: str = "grabbed", late_s: float = 0.0, **more: object) -> Capture:
    planned_at = now() - timedelta(seconds=ago_s)
    finished_at = None if state == "planned" else planned_at + timedelta(seconds=late_s)
    return Capture.objects.create(camera=camera, planned_at=planned_at, state=state, finished_at=finished_at, **more)


def scraped(client: Client, **headers: str) -> dict[tuple[str, ...], float]:
    """Each sample as (name, label values in the labels' order) and its value, as Prometheus itself would read it."""
    response = client.get("/metrics", headers=headers)
    assert response.status_code == 200, response.content
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(response.content.decode())
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


def test_it_says_how_each_camera_is_doing(viewer):
    a_camera("Gate", state="ok", last_good_at=now() - timedelta(seconds=30))
    a_camera("Yard", state="offline", failures=4, last_good_at=now() - timedelta(hours=1))
    a_camera("Roof", state="frozen")
    a_camera("Shed", state="disabled")
    seen = scraped(viewer)
    assert seen["nightjar_cameras", "ok"] == seen["nightjar_cameras", "offline"] == 1
    assert seen["nightjar_cameras", "frozen"] == seen["nightjar_cameras", "disabled"] == 1
    assert seen["nightjar_cameras", "failing"] == 0
    assert {key[1]: value for key, value in seen.items() if key[0] == "nightjar_camera_up"} == {
        "Gate": 1,
        "Yard": 0,
        "Roof": 0,
    }
    assert seen["nightjar_camera_failures", "Yard"] == 4
    assert seen["nightjar_camera_last_picture_age_seconds", "Gate"] == pytest.approx(30, abs=5)
    assert seen["nightjar_camera_last_picture_age_seconds", "Yard"] == pytest.approx(3600, abs=5)
    assert ("nightjar_camera_last_picture_age_seconds", "Roof") not in seen  # there was none, which is not an age


def test_a_name_with_quotes_and_a_backslash_comes_through(viewer):
    a_camera('the "old" gate\\north')
    assert scraped(viewer)["nightjar_camera_up", 'the "old" gate\\north'] == 0


def test_planned_times_of_a_day_are_counted_also_where_one_record_stands_for_many(viewer):
    gate = a_camera()
    a_capture(gate, 60)
    a_capture(gate, 120)
    a_capture(gate, 3600, state="missed", times=500)
    a_capture(gate, 1, state="planned")
    a_capture(gate, 25 * 3600, state="failed")
    seen = scraped(viewer)
    assert seen["nightjar_captures_24h", "grabbed"] == 2
    assert seen["nightjar_captures_24h", "missed"] == 500
    assert seen["nightjar_captures_24h", "failed"] == 0
    assert seen["nightjar_captures_open",] == 1


def test_lateness_is_of_planned_captures_of_the_last_ten_minutes(viewer):
    gate = a_camera()
    a_capture(gate, 100, late_s=1)
    a_capture(gate, 200, late_s=3)
    a_capture(gate, 300, late_s=50, is_manual=True)
    a_capture(gate, 400, late_s=60, state="failed")
    a_capture(gate, 700, late_s=70)
    seen = scraped(viewer)
    assert seen["nightjar_capture_lateness_seconds", "mean"] == pytest.approx(2)
    assert seen["nightjar_capture_lateness_seconds", "max"] == pytest.approx(3)


def test_with_no_picture_there_is_no_lateness(viewer):
    assert not [key for key in scraped(viewer) if key[0] == "nightjar_capture_lateness_seconds"]


def test_events_and_notifications_are_counted(viewer):
    gate = a_camera()
    offline = CameraEvent.objects.create(camera=gate, kind="offline", at=now())
    CameraEvent.objects.create(camera=gate, kind="back", at=now())
    Notification.objects.create(event=offline, channel="email", due_at=now())
    seen = scraped(viewer)
    assert seen["nightjar_camera_events_total", "offline"] == seen["nightjar_camera_events_total", "back"] == 1
    assert seen["nightjar_camera_events_total", "frozen"] == 0
    assert seen["nightjar_notifications", "email", "queued"] == 1


def test_it_costs_a_handful_of_queries_however_many_cameras(viewer, django_assert_max_num_queries):
    for number in range(50):
        camera = a_camera(f"Camera {number}")
        a_capture(camera, 60)
    with django_assert_max_num_queries(12):  # of which four are the session, the user and the permissions
        scraped(viewer)


def test_beyond_a_thousand_cameras_only_the_sums_grow(viewer, monkeypatch):
    monkeypatch.setattr(metrics, "CAMERAS_MAX", 3)
    for number in range(5):
        a_camera(f"Camera {number}")
    seen = scraped(viewer)
    assert sum(key[0] == "nightjar_camera_up" for key in seen) == 3
    assert seen["nightjar_cameras", "new"] == 5


def test_no_address_of_a_camera_is_in_it(viewer):
    a_camera()
    content = viewer.get("/metrics").content.decode()
    assert "s3cret" not in content
    assert "10.0.0.5" not in content


def test_prometheus_reads_it_with_the_token(settings):
    settings.METRICS_TOKEN = TOKEN
    for scheme in ("Bearer", "bearer"):
        assert scraped(Client(), Authorization=f"{scheme} {TOKEN}")["nightjar_cameras", "ok"] == 0


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN])
def test_without_the_token_it_asks_for_it(settings, header):
    settings.METRICS_TOKEN = TOKEN
    response = Client().get("/metrics", headers={"Authorization": header} if header else {})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert b"METRICS_TOKEN" in response.content
    assert b"nightjar_" not in response.content


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer None"])
def test_an_empty_token_opens_nothing(settings, header):
    settings.METRICS_TOKEN = ""
    assert Client().get("/metrics", headers={"Authorization": header}).status_code == 401


def test_an_account_without_a_group_does_not_read_it(visit):
    assert visit("").get("/metrics").status_code == 401


def test_it_is_only_read(viewer):
    assert viewer.post("/metrics").status_code == 405


def test_no_answer_is_kept_by_anybody_in_between(viewer):
    assert "no-store" in viewer.get("/metrics").headers["Cache-Control"]
