"""What load balancers and Kubernetes ask of the web process."""

from __future__ import annotations

import threading

import pytest
from django.test import Client

from detection.health import stopping
from detection.health.probing import Probe
from detection.views import health

STRANGE = {"host": "10.42.0.17:8000"}  # a pod's own address, which is in nobody's ALLOWED_HOSTS


class Thing:
    """Something that is looked at: well, or not, or it hangs."""

    def __init__(self) -> None:
        self.fault = ""
        self.hangs = threading.Event()
        self.hangs.set()

    def look(self) -> None:
        self.hangs.wait(30)
        if self.fault:
            raise ConnectionError(self.fault)


@pytest.fixture
def things(monkeypatch, settings) -> dict[str, Thing]:
    settings.HEALTH_PROBE_S = 5.0
    monkeypatch.setattr("detection.health.probing.APART_S", 0.0)
    things = {name: Thing() for name in ("database", "migrations", "broker", "storage", "disk")}
    monkeypatch.setattr(health, "READY", [Probe(name, thing.look, f"No {name}") for name, thing in things.items()])
    return things


@pytest.fixture(autouse=True)
def goes_on():
    yield
    stopping.be_ready_again()


def ready(client: Client, query: str = ""):
    return client.get(f"/health/ready{query}", headers=STRANGE)


def test_a_process_that_serves_says_so_without_asking_anybody(client, django_assert_num_queries):
    """No database in this test: a query would be an error."""
    answer = client.get("/health/live", headers=STRANGE)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers


def test_with_all_well_it_is_ready(client, things):
    answer = ready(client)
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "probes": dict.fromkeys(things, "ok")}
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("needed", ["database", "migrations"])
def test_where_no_page_could_be_answered_it_is_not_ready(client, things, needed):
    things[needed].fault = "password=pl4nted"
    answer = ready(client)
    assert (answer.status_code, answer.json()["status"], answer.json()["probes"][needed]) == (503, "failing", "failed")
    assert "pl4nted" not in answer.text


@pytest.mark.parametrize("away", ["broker", "storage", "disk"])
def test_where_pages_can_still_be_read_it_stays_ready_and_says_what_is_away(client, things, away):
    things[away].fault = "gone"
    answer = ready(client)
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert [name for name, word in answer.json()["probes"].items() if word == "failed"] == [away]
    assert ready(client, "?strict").status_code == 503
    things[away].fault = ""
    assert ready(client, "?strict").json()["status"] == "ok"


def test_what_hangs_holds_no_request_and_piles_up_no_threads(client, things, settings):
    settings.HEALTH_PROBE_S = 0.3
    things["broker"].hangs.clear()
    ready(client)
    threads = threading.active_count()
    for _ in range(20):
        assert ready(client).json()["probes"]["broker"] == "failed"
    assert threading.active_count() <= threads + 1
    things["broker"].hangs.set()


def test_from_the_beginning_of_a_shutdown_it_is_not_ready_and_still_serves(client, things):
    stopping.stop_being_ready()
    answer = ready(client)
    assert (answer.status_code, answer.json()) == (503, {"status": "stopping"})
    assert client.get("/health/live").status_code == 200


def test_who_asks_without_tls_is_not_sent_elsewhere(client, things, settings):
    settings.SECURE_SSL_REDIRECT = True
    assert ready(client).status_code == 200
    assert client.get("/health/live", headers=STRANGE).status_code == 200


def test_nothing_else_gets_past_the_doors_that_way(client, things, settings):
    settings.SECURE_SSL_REDIRECT = True
    for path in ("/health/live/", "/health/readyx", "/health/system", "/health/", "//health/live"):
        assert client.get(path, headers={"host": "localhost"}).status_code == 301, path


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_they_are_only_asked(client, things, path):
    assert client.head(path).status_code == 200
    assert client.post(path).status_code == 405


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_real_probes_look_at_the_real_things(client):
    """The broker of these settings does not run; all else is there."""
    found = ready(client).json()
    assert found["probes"] == {"database": "ok", "migrations": "ok", "broker": "failed", "storage": "ok", "disk": "ok"}
    assert found["status"] == "degraded"
