"""`manage.py health`, for scripts and containers."""

from __future__ import annotations

import json
import socket
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from threading import Event, Thread

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.db.models import F

from detection.models import Heartbeat
from tests.health.seen import a_snapshot
from tests.models.test_heartbeat import ANALYSE

HERE = f"analyse@{socket.gethostname()}"


def run(*words: str) -> str:
    out = StringIO()
    call_command("health", *words, stdout=out, stderr=out)
    return out.getvalue()


@pytest.fixture
def seen(monkeypatch):
    snapshots = [a_snapshot()]
    monkeypatch.setattr("detection.health.take", lambda: snapshots[0])
    return snapshots


@pytest.mark.parametrize(
    ("failed", "word", "code"),
    [({}, "ok", 0), ({"storage": "Gone."}, "failing", 1), ({"broker": "Gone."}, "degraded", 2)],
)
def test_the_exit_code_tells_how_the_system_is(seen, capsys, failed, word, code):
    seen[0] = a_snapshot(failed)
    out = StringIO()
    with pytest.raises(SystemExit) if code else nullcontext() as left:
        call_command("health", stdout=out)
    assert not code or left.value.code == code
    assert out.getvalue().splitlines() == [word, *(["  Gone."] if failed else [])]


def test_as_json_it_is_what_the_page_has(seen):
    found = json.loads(run("--json"))
    assert found["state"] == "ok"
    assert found["records"]["processes"][1]["name"] == "analyse@here"


@pytest.mark.django_db(transaction=True, serialized_rollback=True)  # it looks from a thread
def test_a_worker_that_gave_a_sign_lately_is_well():
    Heartbeat.beat(replace(ANALYSE, name=HERE))
    assert run("worker", "analyse").startswith(f"{HERE}: 0 s ago")
    Heartbeat.beat(replace(ANALYSE, name="analyse@there"))
    assert run("worker", "analyse@there").startswith("analyse@there")


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_one_that_is_silent_or_was_never_there_is_not():
    Heartbeat.beat(replace(ANALYSE, name=HERE))
    Heartbeat.objects.update(at=F("at") - timedelta(seconds=60))
    with pytest.raises(CommandError, match=r"has been silent for 6\d s"):
        run("worker", "analyse")
    with pytest.raises(CommandError, match="has given no sign of life"):
        run("beat")
    with pytest.raises(CommandError, match="Which worker"):
        run("worker")


def test_with_the_database_away_it_is_not_known_and_no_reason_to_restart_a_worker(monkeypatch):
    def away() -> dict[str, float]:
        raise OperationalError("password=pl4nted")

    monkeypatch.setattr(Heartbeat, "ages_s", away)
    with pytest.raises(CommandError, match="Not known: the database cannot be reached") as raised:
        run("worker", "analyse")
    assert raised.value.returncode == 3
    assert "pl4nted" not in str(raised.value)
    assert "Not known" in run("worker", "analyse", "--lenient")


def test_with_the_database_hanging_it_is_not_known_either_and_it_is_not_waited_for(monkeypatch, settings):
    settings.HEALTH_PROBE_S = 0.3
    held = Event()
    monkeypatch.setattr(Heartbeat, "ages_s", lambda: held.wait(60))
    with pytest.raises(CommandError, match=r"Not known: .*: no answer within 0\.3 s") as raised:
        run("beat")
    assert raised.value.returncode == 3
    assert "Not known" in run("beat", "--lenient")
    held.set()


class Web(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        assert self.path == "/health/ready"
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b'{"status": "as told"}')

    def log_message(self, *_: object) -> None:
        """Not into the tests' output."""


def test_the_web_server_here_is_asked_whether_it_is_ready(settings, monkeypatch, free_port):
    settings.HOST, settings.PORT = "0.0.0.0", free_port
    with pytest.raises(CommandError, match="does not answer"):
        run("web")
    with HTTPServer(("127.0.0.1", free_port), Web) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert "as told" in run("web")
        monkeypatch.setattr(Web, "status", 503)
        with pytest.raises(CommandError, match="is not ready"):
            run("web")
        server.shutdown()
