"""What goes wrong in a running installation is seen, said, and mended by itself."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.chaos.servers import Redis
from tests.conftest import ROOT
from tests.processes import wait_for
from tests.services import find_free_port
from tests.story.conftest import System
from tests.story.test_story import until_analysed, upload

pytestmark = pytest.mark.slow


def odd_procfile(folder: Path, program: str) -> Path:
    """The Procfile, with one of its workers run by the odd application."""
    text, count = re.subn(
        rf"^({program}: .*celery -q -A) project ",
        r"\1 tests.story.odd_app ",
        (ROOT / "Procfile").read_text(),
        flags=re.M,
    )
    assert count == 1
    path = folder / "Procfile"
    path.write_text(text)
    return path


def mains(system: System, words: str) -> list[int]:
    """The main processes of a program: they lead a group of their own."""
    return [pid for pid in system.processes(words) if os.getpgid(pid) == pid]


def seen(system: System) -> dict[str, object]:
    found: dict[str, object] = system.browser.get("/health/system?format=json").json()
    return found


def state_of(system: System) -> str:
    return str(seen(system)["state"])


def column(system: System, query: str) -> list[object]:
    path = Path(system.environment["DATA_DIR"]) / "nightjar.sqlite3"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20) as rows:
        return [row[0] for row in rows.execute(query)]


def test_processes_that_stand_still_are_replaced_and_their_work_is_done(system, clip):
    ours = system(WATCHDOG_S="12", HEARTBEAT_S="1")
    wait_for("all is well", lambda: state_of(ours) == "ok", limit_s=60)
    before: dict[str, int] = {}
    for words in ("-n analyse@", "-n grab@", "-A project beat"):
        (before[words],) = mains(ours, words)
    below = set(ours.processes("-n analyse@")) - set(before.values())
    assert below
    for pid in before.values():
        os.kill(pid, signal.SIGSTOP)
    page = upload(ours.browser, clip)
    for words, pid in before.items():
        wait_for(f"another {words}", lambda words=words, pid=pid: set(mains(ours, words)) - {pid}, limit_s=90)
    until_analysed(ours.browser, page, limit_s=120)
    assert not below & set(ours.processes("-n analyse@")), "the processes below one that was killed are gone, too"
    wait_for("all is well again", lambda: state_of(ours) == "ok", limit_s=60)
    log = ours.log.read_text()
    assert (
        len(re.findall(r"(?:analyse|grab|beat)@\S+ \(process \d+\) has stood still for 12 s and is killed", log)) == 3
    )
    assert len(re.findall("has stood still", log)) == 3, "and nobody else was killed"


def test_a_worker_of_threads_whose_loop_is_blocked_is_replaced(system, tmp_path):
    """Its threads, among them the one that writes its signs of life, are as alive as ever."""
    ours = system(procfile=odd_procfile(tmp_path, "grab"), ODD="stuck", WATCHDOG_S="12", HEARTBEAT_S="1")
    wait_for("it is found", lambda: "has stood still for 12 s" in ours.log.read_text(), limit_s=90)
    (line,) = [line for line in ours.log.read_text().splitlines() if "has stood still" in line]
    assert "grab@" in line
    assert "it stands at wait (" in line
    wait_for("all is well again", lambda: state_of(ours) == "ok", limit_s=90)


def test_a_worker_that_leaks_is_replaced_between_two_chunks_and_nothing_is_done_twice(system, tmp_path, clip):
    ours = system(
        procfile=odd_procfile(tmp_path, "analyse"), ODD="leaks", WORKER_MAX_MEMORY_BYTES="400000000", CHUNK_S="1"
    )
    pages = [upload(ours.browser, clip)]
    media = column(ours, "SELECT id FROM detection_media WHERE kind = 'clip'")
    until_analysed(ours.browser, pages[0], limit_s=180)
    assert media
    chunks = column(ours, "SELECT attempts FROM detection_chunk")
    assert len(chunks) >= 10
    assert set(chunks) == {1}
    assert set(column(ours, "SELECT state FROM detection_chunk")) == {"done"}
    assert set(column(ours, "SELECT lapses FROM detection_chunk")) == {0}
    log = ours.log.read_text()
    assert len(re.findall("more than WORKER_MAX_MEMORY_BYTES .400 MB.: another takes its place", log)) >= 1, log
    assert "died" not in log, "it left by itself, and is no crash"


def test_the_broker_goes_away_and_comes_back(system, tmp_path, clip):
    """Uploads go on, every page says so, and all is analysed when it is back."""
    server = Redis(tmp_path / "redis", "", find_free_port())
    server.prepare()
    server.start()
    try:
        ours: System = system(BROKER_URL=server.url, CACHE_URL="local", HEARTBEAT_S="2")
        wait_for("all is well", lambda: state_of(ours) == "ok", limit_s=60)
        time.sleep(25)  # the first half minute of a web process nobody is missed
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        within(lambda: state_of(ours) == "degraded")
        within(lambda: ready(ours)["status"] == "degraded")
        assert "The broker cannot be reached" in str(seen(ours)["reasons"])
        wait_for("pages say so", lambda: "the queue cannot be reached" in ours.browser.get("/media/").text, limit_s=20)
        page = upload(ours.browser, clip)
        time.sleep(20)  # long enough for Celery's own pauses between two tries to have grown
        server.start()
        within(lambda: ready(ours)["status"] == "ok")
        within(lambda: state_of(ours) == "ok")
        until_analysed(ours.browser, page, limit_s=60)
        assert "health-notice" not in ours.browser.get("/media/").text
        assert "has stood still" not in ours.log.read_text()
    finally:
        server.stop()


def ready(system: System) -> dict[str, str]:
    answer = requests.get(f"{system.browser.address}/health/ready", timeout=30)
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()
    return found


def within(holds: Callable[[], object]) -> None:
    wait_for("it is noticed", holds, limit_s=30)  # 10 s on a machine with nothing else to do: `bench outage` tells
