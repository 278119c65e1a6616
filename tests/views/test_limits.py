"""Who asks for too much is told to wait; who works fast is not."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from detection.rates import Rate
from detection.views import limits
from project.cache import configuration
from project.web_patience import BODY_MOST
from tests.cast import a_camera, a_done_analysis, a_user
from tests.counting import counted, fresh_counts
from tests.views.conftest import Queue
from tests.views.files import a_jpeg

__all__ = ["fresh_counts"]

HERE, ELSEWHERE = "203.0.113.5", "198.51.100.7"
PERIOD = re.compile(r"(\d+)(ms|s)\b")
NOON = 1_772_366_400.0  # the beginning of a minute and of an hour


class Clock:
    now = NOON + 15

    def time(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    return clock


@pytest.fixture
def few(settings) -> None:
    settings.RATES = dict.fromkeys(("login", "upload", "verdict", "list", "trial"), Rate(3, 60))


def a_client(group: str = "viewer", user: User | None = None) -> Client:
    client = Client()
    client.force_login(user or a_user(group))
    return client


def codes(client: Client, times: int, path: str = "/sightings/", address: str = HERE, **more) -> list[int]:
    return [client.get(path, REMOTE_ADDR=address, **more).status_code for _ in range(times)]


DEAR = ["/", "/sightings/", "/media/", "/cameras/", "/analyses/", "/upload/estimate", "/health/system"]


@pytest.mark.parametrize("path", DEAR)
@pytest.mark.usefixtures("fresh_counts")
def test_a_list_that_is_asked_for_too_often_is_429(db: None, few: None, path: str) -> None:
    client = a_client("operator")
    assert codes(client, 4, path) == [200, 200, 200, 429]
    answer = client.get(path, REMOTE_ADDR=HERE)
    assert answer["Retry-After"] == "45"
    assert "Wait 45 seconds, then try again" in answer.text
    assert "site.css" in answer.text
    assert counted("nightjar_refusals_total") == {("rate_list",): 2}


def test_a_cameras_page_a_medias_and_the_administration_count_as_lists(db: None, few: None) -> None:
    client = a_client(user=User.objects.create_superuser("root"))
    media = a_done_analysis().media.get_absolute_url()
    assert codes(client, 1, a_camera().get_absolute_url()) == [200]
    assert codes(client, 1, "/admin/detection/media/?q=yard") == [200]
    assert codes(client, 1, media) == [200]
    assert codes(client, 1, media) == [429]
    assert codes(client, 1, "/admin/") == [429]
    assert codes(client, 1, "/admin/detection/media/?q=yard") == [429]
    assert codes(client, 1, a_camera("Yard").get_absolute_url()) == [429]


def test_pages_left_open_ask_for_themselves_far_below_the_limit(settings) -> None:
    """Of each page that refreshes itself at its fastest one person may have five open."""
    asked = 0.0
    for template in (Path(limits.__file__).parents[1] / "templates").rglob("*.html"):
        if template.name in ("_trial.html", "_progress.html", "_proxy.html"):  # no lists, and soon over
            continue
        for trigger in re.findall(r'hx-trigger="([^"]*every [^"]*)"', template.read_text()):
            every_s = [float(number) / (1000 if unit == "ms" else 1) for number, unit in PERIOD.findall(trigger)]
            asked += 60 / min(every_s)
    assert asked > 60
    assert 5 * asked < Rate.read("600/m").count == settings.RATES["list"].count


def test_a_script_and_a_part_of_a_page_are_told_in_their_way(db: None, few: None) -> None:
    client = a_client()
    codes(client, 3)
    script = client.get("/sightings/", headers={"accept": "application/json"}, REMOTE_ADDR=HERE)
    assert script.status_code == 429
    assert "Wait 45 seconds" in script.json()["error"]
    part = client.get("/sightings/", headers={"hx-request": "true"}, REMOTE_ADDR=HERE)
    assert part.status_code == 429
    assert part["Content-Type"].startswith("text/plain")
    assert part.text.startswith("These are more pages")
    assert part["Retry-After"] == "45"


def test_with_the_next_minute_it_goes_on(db: None, few: None, clock: Clock) -> None:
    client = a_client()
    assert codes(client, 4)[-1] == 429
    clock.now += 44.9
    assert codes(client, 1) == [429]
    clock.now += 0.1
    assert codes(client, 1) == [200]


def test_a_person_is_one_from_wherever_they_ask(db: None, few: None) -> None:
    user = a_user("viewer")
    assert codes(a_client(user=user), 3, address=HERE) == [200] * 3
    assert codes(a_client(user=user), 1, address=ELSEWHERE) == [429]


def test_one_person_does_not_use_up_anothers(db: None, few: None) -> None:
    assert codes(a_client("viewer"), 4)[-1] == 429
    assert codes(a_client("reviewer"), 3) == [200] * 3


def test_an_address_has_a_limit_too_that_no_header_gets_around(db: None, few: None) -> None:
    people = [a_client(user=User.objects.create_superuser(f"person {number}")) for number in range(6)]
    for number, client in enumerate(people[:5]):
        assert codes(client, 3, headers={"x-forwarded-for": f"192.0.2.{number}"}) == [200] * 3
    assert codes(people[5], 1, headers={"x-forwarded-for": "192.0.2.77"}) == [429]
    assert codes(people[5], 1, address=ELSEWHERE) == [200]


def test_limits_of_one_kind_leave_the_others_alone(db: None, few: None) -> None:
    client = a_client("operator")
    assert codes(client, 4)[-1] == 429
    assert client.get("/upload/", REMOTE_ADDR=HERE).status_code == 200
    assert client.post("/upload/", REMOTE_ADDR=HERE).status_code == 422


def test_too_many_log_ins_from_one_address_are_refused_whatever_the_names(db: None, few: None) -> None:
    for number in range(3):
        form = {"username": f"name {number}", "password": "wrong"}
        assert Client().post("/login/", form, REMOTE_ADDR=HERE).status_code == 200
    answer = Client().post("/login/", {"username": "name 9", "password": "wrong"}, REMOTE_ADDR=HERE)
    assert answer.status_code == 429
    assert "too many tries to log in from your address" in answer.text
    assert Client().get("/login/", REMOTE_ADDR=HERE).status_code == 200
    assert Client().post("/login/", {"username": "name 9", "password": "x"}, REMOTE_ADDR=ELSEWHERE).status_code == 200


@pytest.mark.usefixtures("fresh_counts")
def test_verdicts_and_undos_are_counted_together(db: None, few: None) -> None:
    sighting = a_done_analysis().sightings.get()
    client = a_client("reviewer")
    for action in ("verdict", "undo", "verdict"):
        assert client.post(f"/sightings/{sighting.pk}/{action}", {"kind": "confirmed"}).status_code == 302
    answer = client.post(f"/sightings/{sighting.pk}/verdict", {"kind": "rejected"}, headers={"hx-request": "true"})
    assert answer.status_code == 429
    assert answer.text.startswith("These are more verdicts")
    sighting.refresh_from_db()
    assert sighting.verdict.kind == "confirmed"
    assert counted("nightjar_verdicts_total") == {("confirmed",): 2, ("withdrawn",): 1}
    assert counted("nightjar_refusals_total") == {("rate_verdict",): 1}


@pytest.mark.usefixtures("fresh_counts")
def test_a_verdict_that_does_not_count_is_not_counted(db: None) -> None:
    sighting = a_done_analysis().sightings.get()
    client = a_client("reviewer")
    client.post(f"/sightings/{sighting.pk}/verdict", {"kind": "nonsense"})
    client.post(f"/sightings/{sighting.pk}/undo")  # there is nothing to undo
    assert counted("nightjar_verdicts_total") == {}


def test_an_upload_over_the_limit_is_not_even_read(db: None, few: None, queue: Queue, incoming: Path) -> None:
    client = a_client("operator")
    for seed in range(3):
        body = {"files": an_upload(seed)}
        assert client.post("/upload/", body, headers={"accept": "application/json"}).status_code == 201
    answer = client.post("/upload/", {"files": an_upload(4)}, headers={"accept": "application/json"})
    assert answer.status_code == 429
    assert answer.json()["error"].startswith("These are more uploads")
    assert not answer.wsgi_request._read_started
    assert len(queue.analyses) == 3


def an_upload(seed: int):
    from django.core.files.uploadedfile import SimpleUploadedFile

    return SimpleUploadedFile(f"{seed}.jpg", a_jpeg(seed))


def test_tries_of_cameras_are_limited(db: None, few: None, queue: Queue) -> None:
    client = a_client("operator")
    assert [client.post("/cameras/trials").status_code for _ in range(4)] == [422, 422, 422, 429]


def test_0_switches_a_limit_off(db: None, settings) -> None:
    settings.RATES = {"list": Rate.read("0")}
    assert set(codes(a_client(), 40)) == {200}


def test_the_defaults_let_a_fast_reviewer_and_a_full_upload_through() -> None:
    from django.conf import settings

    assert settings.RATES["verdict"].count >= 2 * 5 * 60  # five a second, and undoing them all
    assert settings.RATES["upload"].count >= 2 * settings.DATA_UPLOAD_MAX_NUMBER_FILES
    assert all(rate.period_s == 60 for rate in settings.RATES.values())


def test_each_refusal_is_one_line(db: None, few: None, caplog: pytest.LogCaptureFixture) -> None:
    user = a_user("viewer")
    client = a_client(user=user)
    codes(client, 3)
    caplog.set_level(logging.INFO)
    caplog.clear()
    assert codes(client, 1) == [429]
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert lines[0].user_id == user.pk
    assert lines[0].client == HERE
    assert "RATE_LIST" in f"{lines[0].getMessage()} {getattr(lines[0], 'reason', '')}"


def test_while_the_cache_is_away_nobody_is_counted(db: None, few: None, settings) -> None:
    settings.CACHES = settings.CACHES | {"default": configuration("redis://127.0.0.1:9/0", "")}
    assert codes(a_client(), 8) == [200] * 8


def test_on_a_real_server_all_processes_count_together(db: None, few: None, settings, redis_url: str) -> None:
    settings.CACHES = settings.CACHES | {"default": configuration(redis_url, "")}
    from django.core.cache import cache, caches

    cache.clear()
    client = a_client()
    assert codes(client, 2) == [200, 200]
    caches.close_all()
    # As another process has it, with nothing at hand of the first.
    settings.CACHES = settings.CACHES | {"default": configuration(redis_url, "")}
    assert codes(client, 2) == [200, 429]
    cache.clear()


@pytest.mark.parametrize("given", ["20", "m/20", "-1/m", "20/d", "1e3/m", "", "20/m/s", "9999999999/m"])
def test_a_rate_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="20/m"):
        Rate.read(given)


def test_rates_are_read() -> None:
    assert Rate.read("20/m") == Rate(20, 60)
    assert Rate.read(" 5 / s ") == Rate(5, 1)
    assert Rate.read("1/h") == Rate(1, 3600)
    assert Rate.read("0").count == 0


@pytest.mark.django_db
def test_who_is_not_logged_in_sends_no_more_than_the_web_server_waits_for_without_a_thread(client: Client) -> None:
    """Or strangers could keep all threads waiting for bodies that do not come."""
    assert limits.STRANGERS_BYTES == BODY_MOST
    much = {"username": "a", "password": "b" * BODY_MOST}
    assert client.post("/login/", much).status_code == 413
    assert client.post("/login/", {"username": "a", "password": "b"}).status_code == 200
    client.force_login(a_user())
    assert client.post("/login/", much).status_code != 413
