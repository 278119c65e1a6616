"""Cameras with real processes: entered through the form, grabbed on schedule, dead, told of, and back.

Under them the broker is killed, the database goes away, and a second beat runs: every planned time has its record once.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
import requests

from detection.management.commands._simulated import SimulatedCameras
from project.folders import run_dir
from project.launcher import read_procfile
from tests.cast import TYPED
from tests.conftest import ROOT
from tests.grab.conftest import RtspServer
from tests.processes import wait_for
from tests.receivers import Hook
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


@pytest.fixture
def webhook() -> Iterator[Hook]:
    with Hook() as hook:
        yield hook


ENTERED = TYPED | {"username": "", "password": "", "every_s": "2"}


def enter(system: System, name: str, address: str, **more: str) -> str:
    """Adds a camera through the plain form; answers the address of its page."""
    system.browser.get("/cameras/new")
    answer = system.browser.submit("/cameras/new", {**ENTERED, "name": name, "address": address, **more})
    found = re.search(r"/cameras/\d+/", answer.url)
    assert found, answer.text
    return found[0]


def metrics(system: System) -> str:
    return requests.get(
        f"{system.browser.address}/metrics", headers={"Authorization": "Bearer for-this-test"}, timeout=30
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


def keep_broker_away(system: System, seconds: float, meanwhile: Callable[[], None]) -> None:
    """Kills it as often as it comes back, for longer than a camera may be silent until it is offline."""
    killed: set[int] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for pid in set(system.processes("broker.sock")) - killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        meanwhile()
        time.sleep(0.1)
    wait_for("another broker", lambda: set(system.processes("broker.sock")) - killed, limit_s=40)


def ask_flower(system: System, path: str) -> str:
    """What Flower shows of the tasks, over its socket, with its password."""
    environment = system.environment
    login = b64encode(f"nightjar:{environment['FLOWER_PASSWORD']}".encode()).decode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as flower:
        flower.settimeout(20)
        flower.connect(str(run_dir(Path(environment["DATA_DIR"])) / "flower.sock"))
        flower.sendall(f"GET /flower/{path} HTTP/1.0\r\nAuthorization: Basic {login}\r\n\r\n".encode())
        return b"".join(iter(lambda: flower.recv(65536), b"")).decode()


def no_secret_is_in_flower(system: System) -> None:
    tasks = ask_flower(system, "api/tasks")
    assert '"workers.tasks.grab"' in tasks, tasks[:500]
    assert '"workers.tasks.try_source"' in tasks
    for shown in (tasks, ask_flower(system, "tasks"), ask_flower(system, "api/workers")):
        assert PASSWORD not in shown
        assert "/cameras/" not in shown


@pytest.fixture
def settings_of(webhook: Hook) -> dict[str, str]:
    return {
        "CAMERA_ALLOW_LOOPBACK": "true",
        "CAMERA_OFFLINE_AFTER_S": "4",
        "CAMERA_FROZEN_AFTER_S": "6",
        "NOTIFY_HOLD_OFF_S": "0.1",  # whatever is an event is told
        "GRAB_FIRST_FRAME_S": "2",
        "GRAB_TOTAL_S": "3",
        "NOTIFY_WEBHOOK_URL": f"http://127.0.0.1:{webhook.port}/hook",
        "METRICS_TOKEN": "for-this-test",
    }


def events(webhook: Hook) -> list[tuple[str, str]]:
    return sorted((post.json["event"], post.json["camera"]["name"]) for post in webhook.posts)


def try_it(system: System, **entered: str) -> None:
    """Presses “Try it now”, and looks again until the picture is there."""
    page = system.browser.submit("/cameras/trials", {**ENTERED, "name": "", **entered}).text
    found = re.search(r'name="trial" value="(\d+)"', page)
    assert found, page
    seen = lambda: system.browser.get(f"/cameras/trials/{found[1]}").text  # noqa: E731
    wait_for("the picture of a trial", lambda: "It works" in seen(), limit_s=20)
    picture = system.browser.get(f"/cameras/trials/{found[1]}/picture")
    assert picture.content.startswith(b"\xff\xd8"), picture.status_code


def capture_now(system: System, page: str) -> None:
    """Asks for a picture by hand, and waits for it."""
    system.browser.submit(f"{page}capture", {})
    by_hand = re.compile(r"took [\d.]+ s, asked for by admin")
    wait_for("a picture by hand", lambda: by_hand.search(system.browser.get(page).text), limit_s=20)


def follow(system: System, cameras: SimulatedCameras, road: Road, webhook: Hook) -> list[tuple[str, str]]:
    """From the form to a picture; dead or frozen, told of, and back. Answers all that was told."""
    cameras.behave(1, "digest")
    try_it(system, address=cameras.address(0))
    gate = enter(system, "Gate", cameras.address(0))
    enter(system, "Yard", cameras.address(1).replace("http://", f"http://camera:{PASSWORD}@"))
    # Its scene begins anew with each client, so that its pictures are alike.
    login = {"username": "camera", "password": f"{PASSWORD} @:/?#%"}
    try_it(system, source="rtsp", address=road.address, **login)
    enter(system, "Road", road.address, source="rtsp", frozen_after="0", **login)
    wait_for_all_up(system)
    capture_now(system, gate)
    page = system.browser.get(gate)
    assert "/preview" in page.text
    assert PASSWORD not in page.text
    cameras.behave(0, "silent")
    road.die()
    gone = [("camera.offline", "Gate"), ("camera.offline", "Road")]
    wait_for("the webhook", lambda: events(webhook) == gone, limit_s=30)
    assert [state_of(system, name) for name in NAMES] == ["down", "down", "up"]
    cameras.behave(0, "ok")
    road.come_back()
    back = [("camera.back", "Gate"), ("camera.back", "Road")]
    wait_for("the word that they are back", lambda: events(webhook) == back + gone, limit_s=30)
    cameras.behave(1, "frozen")
    frozen = [("camera.frozen", "Yard")]
    wait_for("the word that one is frozen", lambda: events(webhook) == back + frozen + gone, limit_s=40)
    cameras.behave(1, "digest")
    back.append(("camera.back", "Yard"))
    wait_for("the word that it is back", lambda: events(webhook) == back + frozen + gone, limit_s=30)
    wait_for_all_up(system)
    return back + frozen + gone


def every_time_has_its_record(captures: list[tuple]) -> None:
    """No planned time is left out, and none is there twice."""
    for name in NAMES:
        spans = [(first, last, times) for camera, first, last, times, *_ in captures if camera == name]
        assert len(spans) > 5
        for first, last, times in spans:
            assert last - first == (times - 1) * EVERY
        gaps = [following[0] - before[1] for before, following in pairwise(spans)]
        assert gaps == [EVERY] * len(gaps), f"{name}: {spans}"


def from_sqlite(data_dir: str, query: str) -> list[tuple]:
    with sqlite3.connect(f"file:{Path(data_dir) / 'nightjar.sqlite3'}?mode=ro", uri=True, timeout=20) as database:
        return database.execute(query).fetchall()


def nothing_has_failed(data_dir: str) -> None:
    failing = from_sqlite(data_dir, "SELECT name, why FROM detection_camera WHERE failures > 0")
    # A picture that is under way when the machine is busy may come too late; that camera was called, and was slow.
    failing = [(name, why) for name, why in failing if " seconds" not in why]
    assert failing == [], "a broker that is away is no fault of a camera"


def of_sqlite(data_dir: str) -> list[tuple]:
    rows = from_sqlite(data_dir, CAPTURES)
    return [(name, *map(datetime.fromisoformat, (first, last)), *rest) for name, first, last, *rest in rows]


def of_postgres(url: str) -> list[tuple]:
    with psycopg.connect(url) as database:
        return database.execute(CAPTURES).fetchall()


def test_cameras_are_entered_grabbed_lost_told_of_and_back(system, cameras, road, webhook, settings_of, tmp_path):
    running = system("--no-example", **settings_of)
    told = follow(running, cameras, road, webhook)
    no_secret_is_in_flower(running)
    data_dir = running.environment["DATA_DIR"]
    with second_beat(running, tmp_path):
        keep_broker_away(running, 7, meanwhile=lambda: nothing_has_failed(data_dir))
        wait_for_new_pictures(running)
        time.sleep(5)
    every_time_has_its_record(of_sqlite(data_dir))
    wait_for_all_up(running)
    assert events(webhook) == told, "a broker that was away is no fault of a camera"
    assert 'nightjar_camera_events_total{kind="offline"} 2.0' in metrics(running)
    log = running.log.read_text()
    assert "had a record of" not in log, "two sweeps planned the same time"
    assert PASSWORD not in log


def test_on_postgresql_and_redis_as_well_and_without_the_database_for_a_while(
    system, cameras, road, webhook, settings_of, postgres, postgres_url, redis_url
):
    running = system("--no-example", DATABASE_URL=postgres, BROKER_URL=redis_url, **settings_of)
    told = follow(running, cameras, road, webhook)
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
    assert events(webhook) == told, "a database that was away is no fault of a camera"
    assert 'nightjar_camera_events_total{kind="offline"} 2.0' in metrics(running)
    for program in read_procfile(ROOT / "Procfile"):
        assert running.processes(WORDS.get(program.name, f"{program.name}@")), program.name
    assert PASSWORD not in running.log.read_text()
