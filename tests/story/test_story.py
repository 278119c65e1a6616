"""The whole road with real processes: upload, queue, worker, sightings, review; on the embedded defaults and on the
real things. Nothing is faked, nothing is called directly: what happens here is what a person's browser does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from detection.vision.draw import draw_scene, write_clip
from project.folders import run_dir
from tests.conftest import ROOT
from tests.processes import PATIENCE, marked, wait_for
from tests.story.conftest import Browser, System, answers

pytestmark = pytest.mark.slow


def upload(browser: Browser, clip: Path, name: str = "morning.mp4") -> str:
    """Uploads through the plain form; answers the address of the media's page."""
    browser.get("/upload/")
    with clip.open("rb") as file:
        page = browser.submit("/upload/", {}, files=[("files", (name, file, "video/mp4"))])
    assert page.status_code in (200, 201)
    found = re.search(rf'href="(/media/\d+/)"[^>]*>[^<]*{re.escape(name)}', page.text) or re.search(
        r'href="(/media/\d+/)"', page.text
    )
    assert found, page.text
    return found[1]


def until_analysed(browser: Browser, page: str, limit_s: float = 90) -> str:
    """Reloads the page until its analysis is over; answers the page."""
    deadline = time.monotonic() + limit_s * PATIENCE
    while time.monotonic() < deadline:
        text = browser.get(page).text
        if re.search(r"\d+ sightings?, <span id=\"to-review\">\d+", text):
            return text
        assert "progress is-failed" not in text, text
        time.sleep(0.3)
    raise AssertionError(f"not analysed within {limit_s * PATIENCE} s")


def review(browser: Browser, page: str) -> None:
    """Confirms the first sighting, gives it another label, and takes that back."""
    verdict = re.search(r'action="(/sightings/\d+/verdict)"', browser.get(page).text)
    assert verdict
    browser.submit(verdict[1], {"kind": "confirmed"})
    sighting = f'action="{verdict[1]}"'
    assert sighting in browser.get("/sightings/?review=confirmed").text
    browser.submit(verdict[1], {"kind": "relabelled", "label": "badger"})
    assert sighting in browser.get("/sightings/?label=badger").text
    browser.submit(verdict[1].replace("verdict", "undo"), {})
    assert sighting not in browser.get("/sightings/?label=badger").text
    assert sighting in browser.get("/sightings/?review=confirmed").text


def empty_the_broker(system: System) -> None:
    socket = run_dir(Path(system.environment["DATA_DIR"])) / "broker.sock"
    redis.Redis(unix_socket_path=str(socket)).flushall()


def nothing_ugly_in(system: System) -> None:
    log = system.log.read_text()
    assert "Traceback" not in log
    assert system.environment["SECRET_KEY"] not in log
    assert system.environment["FLOWER_PASSWORD"] not in log


def test_a_clip_goes_in_and_reviewed_sightings_come_out(system, clip):
    """On the embedded defaults, with the worker killed in between and everything restarted after."""
    ours = system()
    browser = ours.browser
    assert "Example" in browser.get("/").text
    page = upload(browser, clip)
    until_analysed(browser, page)
    review(browser, page)
    # The same bytes again lead to what is there.
    assert upload(browser, clip, "again.mp4") == page

    # kill -9 of everything that analyses, in the middle of a chunk, and the broker loses all its messages: what was
    # accepted is analysed all the same.
    long = clip.parent / "long.mp4"
    frames = list(draw_scene(12, width=480, height=270, seconds=12, fps=10, parked=False))
    write_clip(long, (frame for _ in range(6) for frame in frames), fps=10)
    page_of_long = upload(browser, long, "long.mp4")
    under_way = re.compile(r"[1-9]\d* of 720 frames")
    wait_for("the analysis to be under way", lambda: under_way.search(browser.get(page_of_long).text), limit_s=60)
    for pid in ours.processes("-Q analyse"):
        os.kill(pid, signal.SIGKILL)
    empty_the_broker(ours)
    until_analysed(browser, page_of_long, limit_s=150)
    assert "worker lost" not in browser.get(page_of_long).text
    nothing_ugly_in(ours)

    # Ctrl-C ends it all within seconds; a second start keeps everything.
    began = time.monotonic()
    ours.launcher.send_signal(signal.SIGINT)
    ours.launcher.wait(timeout=30 * PATIENCE)
    assert time.monotonic() - began < 20 * PATIENCE
    wait_for("no process left", lambda: not marked(ours.mark), limit_s=10)
    with ours.log.open("ab") as output:
        ours.launcher = subprocess.Popen(
            [sys.executable, "manage.py", "up"], cwd=ROOT, env=ours.environment, stdout=output, stderr=output
        )
    wait_for("the first page again", lambda: answers(f"{browser.address}/login/"), limit_s=60)
    until_analysed(browser, page, limit_s=1)


def test_the_same_on_postgresql_redis_and_s3(system, clip, postgres, redis_url, s3_url):
    ours = system("--no-example", DATABASE_URL=postgres, BROKER_URL=redis_url, STORAGE_URL=s3_url)
    page = upload(ours.browser, clip)
    until_analysed(ours.browser, page)
    review(ours.browser, page)
    assert not ours.processes("broker.sock")
    nothing_ugly_in(ours)


def test_the_same_on_postgresql_and_rabbitmq(system, clip, postgres, rabbitmq_url):
    ours = system("--no-example", DATABASE_URL=postgres, BROKER_URL=rabbitmq_url)
    page = upload(ours.browser, clip)
    until_analysed(ours.browser, page)
    review(ours.browser, page)
    nothing_ugly_in(ours)
