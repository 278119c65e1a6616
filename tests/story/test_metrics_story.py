"""Metrics of a running installation: several web processes, workers of both kinds, and what dies in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests

from detection.vision.draw import draw_scene, write_clip
from tests.conftest import ROOT
from tests.counting import Series, series
from tests.processes import answers, wait_for
from tests.services import find_free_port
from tests.story.conftest import System
from tests.story.test_story import until_analysed, upload

pytestmark = pytest.mark.slow
TOKEN = "for-this-test"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def running(system) -> System:
    return system(METRICS_TOKEN=TOKEN, METRICS_PORT=str(find_free_port()), WEB_PROCESSES="3", ANALYSE_CONCURRENCY="2")


def scraped(address: str) -> str:
    answer = requests.get(f"{address}/metrics", headers=AUTHORIZATION, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.text


def counted(system: System, name: str) -> Series:
    return series(scraped(system.browser.address), name)


@pytest.fixture
def beside(running) -> Iterator[str]:
    """The address of the server for a machine that has no web process."""
    server = subprocess.Popen(
        [sys.executable, "manage.py", "metrics", "--serve"], cwd=ROOT, env=running.environment, stdout=subprocess.PIPE
    )
    assert server.stdout
    assert b"/metrics" in server.stdout.readline()
    yield f"http://127.0.0.1:{running.environment['METRICS_PORT']}"
    server.terminate()
    assert server.wait(timeout=30) == 0


def test_all_processes_are_added_up_and_no_sum_falls_when_they_die(running, beside, clip, tmp_path):
    page = upload(running.browser, clip)
    until_analysed(running.browser, page)

    # The web: whichever process answers tells of all.
    for _ in range(60):
        assert requests.get(f"{running.browser.address}/no/such/page", timeout=30).status_code == 404
    scrapes = [counted(running, "nightjar_requests_total") for _ in range(10)]
    assert {scrape["GET", "4xx", "no route"] for scrape in scrapes} == {60}

    # The workers: processes that are forked, and threads.
    ended = counted(running, "nightjar_tasks_total")
    assert ended["done", "analyse"] >= 1
    assert ended["done", "sweep"] >= 1
    frames = counted(running, "nightjar_frames_total")
    assert frames["read",] > frames["sampled",] >= frames["inferred",] > 0
    assert sum(counted(running, "nightjar_sightings_total").values()) >= 1
    assert counted(running, "nightjar_uploads_total")["accepted", ""] == 1
    assert counted(running, "nightjar_build_info")
    assert counted(running, "nightjar_database_up") == {(): 1}
    wait_for("signs of life", lambda: counted(running, "nightjar_workers")["analyse",] == 1, limit_s=30)

    # The same is told beside the web, and to nobody without the token.
    told = series(scraped(beside), "nightjar_tasks_total")
    assert told["done", "analyse"] == counted(running, "nightjar_tasks_total")["done", "analyse"]
    assert requests.get(f"{beside}/metrics", timeout=30).status_code == 401
    assert requests.get(f"{beside}/", headers=AUTHORIZATION, timeout=30).status_code == 404
    assert "nightjar_cameras" not in scraped(beside)  # the rows are the same on every machine: told by the web alone

    # What dies takes nothing with it.
    kept = {name: counted(running, name) for name in ("nightjar_frames_total", "nightjar_uploads_total")}
    for words in ("-n analyse@", "gunicorn"):
        for pid in running.processes(words):
            os.kill(pid, signal.SIGKILL)
    wait_for("the pages", lambda: answers(f"{running.browser.address}/login/"), limit_s=60)
    for name, then in kept.items():
        now = counted(running, name)
        assert {values: now[values] for values in then} == then
    write_clip(tmp_path / "other.mp4", draw_scene(12, width=320, height=180, seconds=6, fps=10, parked=False), fps=10)
    other = upload(running.browser, tmp_path / "other.mp4", "evening.mp4")
    until_analysed(running.browser, other)
    assert counted(running, "nightjar_frames_total")["read",] > frames["read",]
    assert counted(running, "nightjar_uploads_total")["accepted", ""] == 2
