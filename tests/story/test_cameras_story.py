"""Cameras with real processes: entered through the form, grabbed on schedule, dead, told of, and back.

Under them the broker is killed, the database goes away, and a second beat runs: every planned time has its record once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
import requests

from detection.management.commands._simulated import SimulatedCameras
from project.launcher import read_procfile
from tests.conftest import ROOT
from tests.grab.conftest import RtspServer
from tests.processes import wait_for
from tests.services import absent
from tests.story.conftest import System, away, second_beat

pytestmark = pytest.mark.slow

PASSWORD = "s3cret"  # what the simulated cameras ask for, and how that of the RTSP server begins
NAMES = ("Gate", "Road", "Yard")
EVERY = timedelta(seconds=2)
# By these words each process of the Procfile is known.
WORDS = {"web": "gunicorn", "beat": " beat", "flower": "flower.sock"}
CAPTURES = """
SELECT camera.name, planned_at, COALESCE(last_at, planned_at), times, capture.state, kind
FROM detection_capture AS capture JOIN detection_camera AS camera ON camera.id = camera_id
WHERE NOT is_manual ORDER BY planned_at
"""


@pytest.fixture
def cameras() -> Iterator[SimulatedCameras]:
    with SimulatedCameras(count=2, process=True) as simulated:
        yield simulated


class Road:
    """A camera with a password on a real RTSP server, which dies and comes back on its port."""

    def __init__(self) -> None:
        self.server = RtspServer("--digest")

    @property
    def address(self) -> str:
        return self.server.address("mjpeg")

    def die(self) -> None:
        self.server.kill()

    def come_back(self) -> None:
        self.server = RtspServer("--digest", port=self.server.port)


@pytest.fixture
def road() -> Iterator[Road]:
    try:
        camera = Road()
    except OSError as error:
        absent(f"No RTSP server can be started (gir1.2-gst-rtsp-server-1.0 and GStreamer's plugins): {error}")
    yield camera
    camera.die()


class Receiver(BaseHTTPRequestHandler):
    """A webhook that keeps what it is told."""

    told: list[dict]

    def do_POST(self) -> None:
        self.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict]]]:
    told: list[dict] = []
    handler = type("Receiver", (Receiver,), {"told": told})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", told
        server.shutdown()


ENTERED = {
    "source": "http",
    "rtsp_transport": "tcp",
    "verify_tls": "on",
    "is_analysed": "on",
    "schedule": "every",
    "every_s": "2",
    "days": ["1", "2", "3", "4", "5", "6", "7"],
    "jitter_s": "0",
    "time_zone": "Europe/Berlin",
    "frozen_after": "5",
}


def enter(system: System, name: str, address: str, **more: str) -> str:
    """Adds a camera through the plain form; answers the address of its page."""
    system.browser.get("/cameras/new")
    answer = system.browser.submit("/cameras/new", {**ENTERED, "name": name, "address": address, **more})
    found = re.search(r"/cameras/\d+/", answer.url)
    assert found, answer.text
    return found[0]


def metrics(system: System) -> str:
    return requests.get(
        f"{system.browser.address}/metrics", headers={"Authorization": "Bearer for-this-test"}, timeout=10
    ).text


def state_of(system: System, name: str) -> str:
    up = re.search(rf'nightjar_camera_up{{camera="{name}"}} (\S+)', metrics(system))
    return "" if up is None else ("up" if float(up[1]) else "down")


def age_s(system: System, name: str) -> float:
    age = re.search(rf'nightjar_camera_last_picture_age_seconds{{camera="{name}"}} (\S+)', metrics(system))
    assert age
    return float(age[1])


def wait_for_all_up(system: System) -> None:
    for name in NAMES:
        wait_for(f"{name} to be up", lambda name=name: state_of(system, name) == "up", limit_s=30)


def wait_for_new_pictures(system: System) -> None:
    """Of each camera one that is taken from now on."""
    since = time.monotonic()
    for name in NAMES:
        wait_for(f"a picture of {name}", lambda name=name: age_s(system, name) < time.monotonic() - since, limit_s=40)


def kill_broker(system: System) -> None:
    killed = set(system.processes("broker.sock"))
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_for("another broker", lambda: set(system.processes("broker.sock")) - killed, limit_s=20)


@pytest.fixture
def settings_of(webhook) -> dict[str, str]:
    return {
        "CAMERA_ALLOW_LOOPBACK": "true",
        "CAMERA_OFFLINE_AFTER_S": "4",
        "GRAB_FIRST_FRAME_S": "2",
        "GRAB_TOTAL_S": "3",
        "NOTIFY_WEBHOOK_URL": webhook[0],
        "METRICS_TOKEN": "for-this-test",
    }


def events(told: list[dict]) -> list[tuple[str, str]]:
    return sorted((event["event"], event["camera"]["name"]) for event in told)


def follow(system: System, cameras: SimulatedCameras, road: Road, told: list[dict]) -> None:
    """From the form to a picture; two of three dead, told of, and back."""
    cameras.behave(1, "digest")
    gate = enter(system, "Gate", cameras.address(0))
    enter(system, "Yard", cameras.address(1).replace("http://", f"http://camera:{PASSWORD}@"))
    # Its scene begins anew with each client, so that its pictures are alike.
    login = {"username": "camera", "password": f"{PASSWORD} @:/?#%"}
    enter(system, "Road", road.address, source="rtsp", frozen_after="0", **login)
    wait_for_all_up(system)
    page = system.browser.get(gate)
    assert "/preview" in page.text
    assert PASSWORD not in page.text
    cameras.behave(0, "silent")
    road.die()
    gone = [("camera.offline", "Gate"), ("camera.offline", "Road")]
    wait_for("the webhook", lambda: events(told) == gone, limit_s=30)
    assert [state_of(system, name) for name in NAMES] == ["down", "down", "up"]
    cameras.behave(0, "ok")
    road.come_back()
    back = [("camera.back", "Gate"), ("camera.back", "Road")]
    wait_for("the word that they are back", lambda: events(told) == back + gone, limit_s=30)
    wait_for_all_up(system)


def every_time_has_its_record(captures: list[tuple]) -> None:
    """No planned time is left out, and none is there twice."""
    for name in NAMES:
        spans = [(first, last, times) for camera, first, last, times, *_ in captures if camera == name]
        assert len(spans) > 5
        for first, last, times in spans:
            assert last - first == (times - 1) * EVERY
        gaps = [following[0] - before[1] for before, following in pairwise(spans)]
        assert gaps == [EVERY] * len(gaps), f"{name}: {spans}"


def of_sqlite(data_dir: str) -> list[tuple]:
    with sqlite3.connect(f"file:{Path(data_dir) / 'nightjar.sqlite3'}?mode=ro", uri=True, timeout=20) as database:
        rows = database.execute(CAPTURES).fetchall()
    return [(name, *map(datetime.fromisoformat, (first, last)), *rest) for name, first, last, *rest in rows]


def of_postgres(url: str) -> list[tuple]:
    with psycopg.connect(url) as database:
        return database.execute(CAPTURES).fetchall()


def test_cameras_are_entered_grabbed_lost_told_of_and_back(system, cameras, road, webhook, settings_of, tmp_path):
    _, told = webhook
    running = system("--no-example", **settings_of)
    follow(running, cameras, road, told)
    with second_beat(running, tmp_path):
        kill_broker(running)
        wait_for_new_pictures(running)
        time.sleep(5)
    every_time_has_its_record(of_sqlite(running.environment["DATA_DIR"]))
    wait_for_all_up(running)
    assert len(told) == 4, "a broker that was away is no fault of a camera"
    log = running.log.read_text()
    assert "had a record of" not in log, "two sweeps planned the same time"
    assert PASSWORD not in log


def test_on_postgresql_and_redis_as_well_and_without_the_database_for_a_while(
    system, cameras, road, webhook, settings_of, postgres, postgres_url, redis_url
):
    _, told = webhook
    running = system("--no-example", DATABASE_URL=postgres, BROKER_URL=redis_url, **settings_of)
    follow(running, cameras, road, told)
    with away(postgres, postgres_url):
        time.sleep(6)
    since = datetime.now().astimezone()
    wait_for_new_pictures(running)
    time.sleep(3)
    captures = of_postgres(postgres)
    every_time_has_its_record(captures)
    assert any(kind == "standstill" for *_, kind in captures)
    after = [(name, state, kind) for name, first, *_, state, kind in captures if first > since - 3 * EVERY]
    failed = [(name, kind) for name, state, kind in after if state == "failed"]
    assert {kind for _, kind in failed} <= {"timeout"}, "that one is of a busy machine"
    wait_for_all_up(running)
    assert len(told) == 4, "a database that was away is no fault of a camera"
    for program in read_procfile(ROOT / "Procfile"):
        assert running.processes(WORDS.get(program.name, f"{program.name}@")), program.name
    assert PASSWORD not in running.log.read_text()
