"""What people see while the database, the broker or the cache is away: real servers, stopped and started again."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.chaos.servers import Missing, Postgres, Redis, Server
from tests.conftest import ROOT
from tests.processes import PATIENCE, wait_for
from tests.services import absent, find_free_port
from tests.story.conftest import System
from tests.views.files import a_jpeg

WEB = 'web: exec python -m gunicorn project.wsgi --config python:project.web_server --bind "127.0.0.1:${PORT}"\n'


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, Server]]:
    """A PostgreSQL and a Redis of our own, to stop as we like."""
    started: dict[str, Server] = {}
    for name, kind in (("postgres", Postgres), ("redis", Redis)):
        # Not below pytest's own folder, which the user that PostgreSQL runs as cannot enter.
        folder = Path("/tmp") / f"nj-outage-{os.getpid()}-{name}"
        server = kind(folder, "outages", find_free_port())
        try:
            server.prepare()
            server.start()
        except Missing as error:
            absent(str(error))
        started[name] = server
    yield started
    for server in started.values():
        if server.process is not None:
            os.kill(server.process.pid, signal.SIGCONT)
        server.kill()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def web(system: Callable[..., System], servers: dict[str, Server], tmp_path: Path) -> System:
    """The pages alone, on these servers."""
    procfile = tmp_path / "Procfile"
    procfile.write_text(WEB)
    database = re.sub(r"/[^/]*$", "/postgres", servers["postgres"].url)
    return system(procfile=procfile, DATABASE_URL=database, BROKER_URL=servers["redis"].url)


def get(web: System, path: str, **headers: str) -> requests.Response:
    return web.browser.http.get(web.browser.address + path, headers=headers, timeout=60)


def upload(web: System, seed: int) -> requests.Response:
    get(web, "/upload/")
    return web.browser.http.post(
        f"{web.browser.address}/upload/",
        data={"csrfmiddlewaretoken": web.browser.http.cookies.get("csrftoken", "")},
        files={"files": (f"{seed}.jpg", io.BytesIO(a_jpeg(seed)))},
        headers={"Accept": "application/json", "Referer": web.browser.address},
        timeout=60,
    )


@pytest.mark.slow
def test_while_the_database_is_away_it_is_said_and_it_comes_back_by_itself(
    web: System, servers: dict[str, Server]
) -> None:
    assert get(web, "/media/").status_code == 200
    servers["postgres"].stop()
    for path in ("/", "/media/", "/sightings/", "/media/1/file"):
        page = get(web, path)
        assert page.status_code == 503
        assert page.headers["Retry-After"] == "5"
        assert "The database cannot be reached just now" in page.text
        assert "nightjar/site." in page.text
        assert "psycopg" not in page.text
    reference = page.headers["X-Request-ID"]
    assert reference in page.text
    wait_for("its line", lambda: reference in web.log.read_text())
    script = get(web, "/sightings/", Accept="application/json")
    assert script.status_code == 503
    assert "database" in script.json()["error"]
    part = get(web, "/media/1/proxy/state", **{"HX-Request": "true"})
    assert part.status_code == 503
    assert part.headers["Content-Type"].startswith("text/plain")
    servers["postgres"].start()
    wait_for("the pages", lambda: get(web, "/media/").status_code == 200, limit_s=30)
    assert "Log out" in get(web, "/media/").text  # and everybody is still logged in
    log = web.log.read_text()
    assert "Traceback" not in log
    assert "refused" in log or "connection" in log  # the cause is there


@pytest.mark.slow
def test_while_the_broker_is_away_or_hangs_pages_are_read_and_uploads_kept(
    web: System, servers: dict[str, Server]
) -> None:
    first = upload(web, 1)
    assert first.status_code == 201
    assert first.json()["files"][0]["message"] == "Accepted."
    address = first.json()["files"][0]["url"]
    servers["redis"].kill()
    began = time.monotonic()
    for path in ("/", "/media/", "/sightings/", "/analyses/", "/cameras/", "/upload/", address):
        assert get(web, path).status_code == 200, path
    assert time.monotonic() - began < 30 * PATIENCE
    kept = upload(web, 2)
    assert kept.status_code == 201
    assert "waits for the queue, which cannot be reached just now" in kept.json()["files"][0]["message"]
    assert upload(web, 1).json()["files"][0]["outcome"] == "known"
    again = web.browser.submit(f"{address}analyse", {})
    assert again.status_code == 200  # sent back to its page
    log = web.log.read_text()
    assert len(re.findall("The shared cache is away", log)) == 1
    assert "500" not in re.findall(r'"status": (\d+)', log)
    servers["redis"].start()
    wait_for("the queue", lambda: "Accepted." in upload(web, int(time.monotonic() * 10)).text, limit_s=30)
    wait_for("the cache", lambda: get(web, "/sightings/") and "cache is back" in web.log.read_text(), limit_s=30)

    # One that hangs is worse than one that is gone: each would wait for it.
    assert servers["redis"].process is not None
    os.kill(servers["redis"].process.pid, signal.SIGSTOP)
    assert get(web, "/sightings/").status_code == 200  # this one finds out
    began = time.monotonic()
    for _ in range(10):
        assert get(web, "/sightings/").status_code == 200
    assert time.monotonic() - began < 10 * PATIENCE
    began = time.monotonic()
    with ThreadPoolExecutor(8) as people:
        kept = list(people.map(lambda seed: upload(web, seed), range(100, 124)))
    assert [answer.status_code for answer in kept] == [201] * 24
    assert all("cannot be reached just now" in answer.json()["files"][0]["message"] for answer in kept)
    # Three rounds; those of the first may all find out, each with two tries, and of the others one now and then.
    assert time.monotonic() - began < 40 * PATIENCE
    began = time.monotonic()
    for seed in range(124, 134):
        assert upload(web, seed).status_code == 201
    assert time.monotonic() - began < 30, "ten with their pages, of which every third or so finds out"
    os.kill(servers["redis"].process.pid, signal.SIGCONT)
    wait_for("the queue", lambda: "Accepted." in upload(web, int(time.monotonic() * 10)).text, limit_s=30)


@pytest.mark.slow
def test_while_the_database_hangs_nobody_waits_for_ever_and_it_is_said(web: System, servers: dict[str, Server]) -> None:
    """It keeps its connections, and answers nothing: worse than one that is gone."""
    assert get(web, "/media/").status_code == 200
    wait_for("readiness", lambda: get(web, "/health/ready").status_code == 200)
    assert servers["postgres"].process is not None
    leader = psutil.Process(servers["postgres"].process.pid)
    whole = [leader, *leader.children(recursive=True)]
    for process in whole:
        process.suspend()
    try:
        with ThreadPoolExecutor(40) as people:  # more than there are threads
            pages = [people.submit(requests.get, f"{web.browser.address}/media/", timeout=150,
                                   cookies=web.browser.http.cookies.get_dict()) for _ in range(40)]  # fmt: skip
            began = time.monotonic()
            assert get(web, "/health/live").status_code == 200
            wait_for("it is not ready", lambda: get(web, "/health/ready").status_code == 503)
            assert time.monotonic() - began < 20 * PATIENCE
            words = [sys.executable, "manage.py", "health", "worker", "analyse"]
            here: dict[str, Any] = {"cwd": ROOT, "env": web.environment, "timeout": 50 * PATIENCE}
            assert subprocess.run(words, **here).returncode == 3
            assert subprocess.run([*words, "--lenient"], **here).returncode == 0
            assert {page.result().status_code for page in pages} == {503}
            assert all("The database cannot be reached just now" in page.result().text for page in pages)
    finally:
        for process in whole:
            process.resume()
    wait_for("the pages", lambda: get(web, "/media/").status_code == 200, limit_s=60)
    wait_for("readiness", lambda: get(web, "/health/ready").status_code == 200, limit_s=60)
    assert "Traceback" not in web.log.read_text()
