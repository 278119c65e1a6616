"""What Prometheus scrapes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import OperationalError
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from detection.fields import Secret
from detection.metrics import cameras
from detection.models import Analysis, Camera, CameraEvent, Capture, Heartbeat, Media, Notification, Proxy
from detection.models.clock import now
from detection.models.heartbeat import Sign
from tests.cast import IMAGE, a_done_analysis, a_media, a_model

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


def test_it_says_how_each_camera_is_doing(operator):
    a_camera("Gate", state="ok", last_good_at=now() - timedelta(seconds=30))
    a_camera("Yard", state="offline", failures=4, last_good_at=now() - timedelta(hours=1))
    a_camera("Roof", state="frozen")
    a_camera("Shed", state="disabled")
    seen = scraped(operator)
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


def test_a_name_with_quotes_and_a_backslash_comes_through(operator):
    a_camera('the "old" gate\\north')
    assert scraped(operator)["nightjar_camera_up", 'the "old" gate\\north'] == 0


def test_planned_times_of_a_day_are_counted_also_where_one_record_stands_for_many(operator):
    gate = a_camera()
    a_capture(gate, 60)
    a_capture(gate, 120)
    a_capture(gate, 3600, state="missed", times=500)
    a_capture(gate, 1, state="planned")
    a_capture(gate, 25 * 3600, state="failed")
    seen = scraped(operator)
    assert seen["nightjar_captures_24h", "grabbed"] == 2
    assert seen["nightjar_captures_24h", "missed"] == 500
    assert seen["nightjar_captures_24h", "failed"] == 0
    assert seen["nightjar_captures_open",] == 1


def test_lateness_is_of_planned_captures_of_the_last_ten_minutes(operator):
    gate = a_camera()
    a_capture(gate, 100, late_s=1)
    a_capture(gate, 200, late_s=3)
    a_capture(gate, 300, late_s=50, is_manual=True)
    a_capture(gate, 400, late_s=60, state="failed")
    a_capture(gate, 700, late_s=70)
    seen = scraped(operator)
    assert seen["nightjar_capture_lateness_seconds", "mean"] == pytest.approx(2)
    assert seen["nightjar_capture_lateness_seconds", "max"] == pytest.approx(3)


def test_with_no_picture_there_is_no_lateness(operator):
    assert not [key for key in scraped(operator) if key[0] == "nightjar_capture_lateness_seconds"]


def test_events_and_notifications_are_counted(operator):
    gate = a_camera()
    offline = CameraEvent.objects.create(camera=gate, kind="offline", at=now())
    CameraEvent.objects.create(camera=gate, kind="back", at=now())
    Notification.objects.create(event=offline, channel="email", due_at=now())
    seen = scraped(operator)
    assert seen["nightjar_camera_events_total", "offline"] == seen["nightjar_camera_events_total", "back"] == 1
    assert seen["nightjar_camera_events_total", "frozen"] == 0
    assert seen["nightjar_notifications", "email", "queued"] == 1


def test_it_costs_a_handful_of_queries_however_many_cameras(operator, django_assert_max_num_queries):
    for number in range(50):
        camera = a_camera(f"Camera {number}")
        a_capture(camera, 60)
    with django_assert_max_num_queries(24):  # of which four are the session, the user and the permissions
        scraped(operator)


def test_beyond_a_thousand_cameras_only_the_sums_grow(operator, monkeypatch):
    monkeypatch.setattr(cameras, "CAMERAS_MAX", 3)
    for number in range(5):
        a_camera(f"Camera {number}")
    seen = scraped(operator)
    assert sum(key[0] == "nightjar_camera_up" for key in seen) == 3
    assert seen["nightjar_cameras", "new"] == 5


def test_no_address_of_a_camera_is_in_it(operator):
    a_camera()
    content = operator.get("/metrics").content.decode()
    assert "s3cret" not in content
    assert "10.0.0.5" not in content


def test_prometheus_reads_it_with_the_token(settings):
    settings.METRICS_TOKEN = TOKEN
    for scheme in ("Bearer", "bearer"):
        assert scraped(Client(), Authorization=f"{scheme} {TOKEN}")["nightjar_cameras", "ok"] == 0


def test_prometheus_reads_it_by_any_name_and_without_tls(settings):
    """It asks each container itself, by an address that no person types, and past the proxy that ends TLS."""
    settings.METRICS_TOKEN, settings.SECURE_SSL_REDIRECT = TOKEN, True
    asked = {"Authorization": f"Bearer {TOKEN}", "Host": "10.0.0.12:8000"}
    assert scraped(Client(), **asked)["nightjar_database_up",] == 1
    assert scraped(Client(), **asked)["nightjar_requests_total", "GET", "2xx", "metrics"] >= 1
    answer = Client().get("/metrics", headers=asked)
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert Client().get("/metrics", headers=asked | {"Authorization": "Bearer wrong"}).status_code == 401
    assert Client().post("/metrics", headers=asked).status_code == 405
    assert Client().get("/media/", headers=asked).status_code == 400
    assert Client().get("/metrics", headers={"Host": "localhost"}).status_code == 301


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


@pytest.mark.parametrize("group", ["", "viewer", "reviewer"])
def test_who_is_no_operator_does_not_read_it(visit, group):
    """It names machines, processes and models, as the system page does."""
    assert visit(group).get("/metrics").status_code == 401


def test_it_is_only_read(operator):
    assert operator.post("/metrics").status_code == 405


def test_no_answer_is_kept_by_anybody_in_between(operator):
    assert "no-store" in operator.get("/metrics").headers["Cache-Control"]


# The work


def test_queues_are_told_by_lane_and_kind(operator):
    analysis = Analysis.request(a_media())
    Analysis.objects.filter(pk=analysis.pk).update(lane="bulk", queued_at=now() - timedelta(seconds=90))
    seen = scraped(operator)  # the labels in the order of their names: kind, lane
    assert seen["nightjar_queue_waiting", "analysis", "bulk"] == 1
    assert seen["nightjar_queue_running", "analysis", "bulk"] == 0
    assert seen["nightjar_queue_oldest_age_seconds", "analysis", "bulk"] == pytest.approx(90, abs=10)
    assert seen["nightjar_queue_waiting", "analysis", "interactive"] == 0


def test_stock_is_told_in_bytes_and_analyses_by_state(operator):
    clip, image = a_media(b"a clip"), a_media(b"a picture", IMAGE)
    Media.objects.filter(pk=clip.pk).update(bytes=1000)
    Media.objects.filter(pk=image.pk).update(bytes=30)
    Proxy.objects.create(media=clip, bytes=500)
    a_done_analysis(clip)
    seen = scraped(operator)
    assert seen["nightjar_storage_bytes", "clip"] == 1000
    assert seen["nightjar_storage_bytes", "image"] == 30
    assert seen["nightjar_storage_bytes", "copy"] == 500
    assert seen["nightjar_media", "clip"] == seen["nightjar_media", "image"] == 1
    assert seen["nightjar_analyses", "done"] == 1
    assert seen["nightjar_analyses", "failed"] == 0


def test_sums_over_all_rows_are_asked_for_once_a_minute(operator):
    assert scraped(operator)["nightjar_media", "clip"] == 0
    a_media()
    assert scraped(operator)["nightjar_media", "clip"] == 0
    cache.clear()
    assert scraped(operator)["nightjar_media", "clip"] == 1


def test_models_are_told_with_their_hash_and_which_is_active(operator):
    a_model("cars").activate()
    seen = {key[2:] for key in scraped(operator) if key[0] == "nightjar_model_info"}
    assert ("cars", "openvino", "ab" * 6) in seen
    active = [key for key in scraped(operator) if key[:2] == ("nightjar_model_info", "yes")]
    assert [key[2] for key in active] == ["cars"]


def a_sign(name: str, queues: list[str], ago_s: float = 0) -> None:
    Heartbeat.beat(
        Sign(
            name=name,
            kind="worker",
            host="host",
            pid=7,
            version="1",
            queues=queues,
            slots=1,
            memory_bytes=300,
            largest_bytes=200,
            has_broker=ago_s == 0,
            up_s=1,
        )
    )
    Heartbeat.objects.filter(name=name).update(at=now() - timedelta(seconds=ago_s))


def test_only_workers_that_live_count_for_their_queues(operator):
    a_sign("analyse@here", ["analyse", "bulk-analyse"])
    a_sign("analyse@there", ["analyse", "chunks"], ago_s=600)
    seen = scraped(operator)
    assert seen["nightjar_workers", "analyse"] == 1
    assert seen["nightjar_workers", "chunks"] == 0
    assert seen["nightjar_workers", "grab"] == 0  # nobody, and it is told: an alert waits for that
    assert seen["nightjar_heartbeat_age_seconds", "worker", "analyse@there"] == pytest.approx(600, abs=10)
    assert seen["nightjar_process_memory_bytes", "worker", "analyse@here"] == 300
    assert seen["nightjar_process_largest_memory_bytes", "worker", "analyse@here"] == 200
    assert seen["nightjar_process_broker_up", "worker", "analyse@here"] == 1
    assert seen["nightjar_process_broker_up", "worker", "analyse@there"] == 0


def test_with_the_database_away_the_rest_is_told(settings, monkeypatch, caplog):
    """When it is away is when somebody wants to know the rest."""

    def away(_: object) -> None:
        raise OperationalError("it does not answer")

    settings.METRICS_TOKEN = TOKEN
    monkeypatch.setattr("detection.metrics.rows.Queues.collect", away)
    seen = scraped(Client(), Authorization=f"Bearer {TOKEN}")
    assert seen["nightjar_database_up",] == 0
    assert ("nightjar_uploads_total", "accepted", "") in seen
    assert any(key[0] == "nightjar_disk_free_bytes" for key in seen)
    assert not [key for key in seen if key[0] == "nightjar_cameras"]
    assert "does not answer" in caplog.text
    monkeypatch.undo()
    settings.METRICS_TOKEN = TOKEN
    assert scraped(Client(), Authorization=f"Bearer {TOKEN}")["nightjar_database_up",] == 1
