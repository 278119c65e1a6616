"""The command: what it prints, and the small server for a machine that has no web process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import requests
from django.core.management import CommandError, call_command

from detection.metrics import serving
from detection.metrics.instruments import VERDICTS
from detection.metrics.serving import Server
from tests.counting import fresh_counts, series

__all__ = ["fresh_counts"]
pytestmark = pytest.mark.usefixtures("fresh_counts")
TOKEN = "for-this-test"


@pytest.fixture
def address(settings) -> Iterator[str]:
    settings.METRICS_TOKEN = TOKEN
    with Server("127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def ask(address: str, token: str = TOKEN, path: str = "/metrics", method: str = "GET") -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, address + path, headers=headers, timeout=30)


def test_it_tells_what_this_machine_counted(address):
    VERDICTS.add("confirmed", by=3)
    answer = ask(address)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert series(answer.text, "nightjar_verdicts_total") == {("confirmed",): 3}
    assert series(answer.text, "nightjar_disk_reserve_bytes")


def test_it_needs_no_database(address, django_db_blocker):
    """As on a machine that has workers, and a database that is away; without the mark, a query would fail here."""
    assert "nightjar_build_info" in ask(address).text


@pytest.mark.parametrize("token", ["", "wrong", "for-this-tesT", "for-this-test-and-more", "ä"])
def test_without_the_token_it_tells_nothing(address, token):
    answer = requests.get(
        f"{address}/metrics", headers={"Authorization": f"Bearer {token}".encode()} if token else {}, timeout=30
    )
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "nightjar_" not in answer.text


def test_with_no_token_set_nobody_has_it(address, settings):
    settings.METRICS_TOKEN = ""
    assert ask(address, "").status_code == ask(address, "None").status_code == 401


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc/passwd", "/metrics%00"])
def test_there_is_nothing_else(address, path):
    assert ask(address, path=path).status_code == 404


def test_it_is_only_read(address):
    assert ask(address, method="POST").status_code == 501


def test_it_does_not_say_what_it_is_made_of(address):
    assert "Python" not in ask(address).headers["Server"]


def test_who_connects_and_says_nothing_is_sent_away_and_holds_up_nobody(address, monkeypatch):
    monkeypatch.setattr(serving.Scraped, "timeout", 0.3)
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as silent:
        assert ask(address).status_code == 200
        assert silent.recv(1) == b""


def test_the_command_prints_them(capsys):
    VERDICTS.add("rejected")
    call_command("metrics")
    assert series(capsys.readouterr().out, "nightjar_verdicts_total") == {("rejected",): 1}


def test_it_does_not_serve_without_a_port_or_a_token(settings):
    settings.METRICS_PORT, settings.METRICS_TOKEN = 0, TOKEN
    with pytest.raises(CommandError, match="METRICS_PORT is not set"):
        call_command("metrics", "--serve")
    settings.METRICS_PORT, settings.METRICS_TOKEN = 9, ""
    with pytest.raises(CommandError, match="METRICS_TOKEN is not set"):
        call_command("metrics", "--serve")


def test_a_port_that_is_taken_is_said(settings):
    settings.METRICS_TOKEN = TOKEN
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings.METRICS_PORT = taken.getsockname()[1]
        with pytest.raises(CommandError, match="set another METRICS_PORT"):
            call_command("metrics", "--serve")
