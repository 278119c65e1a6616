"""With the reference that a page shows, an operator finds every line of it with one grep, from the request on."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from detection.vision.draw import draw_scene, write_clip
from tests.processes import wait_for
from tests.story.conftest import System
from tests.story.test_story import empty_the_broker, until_analysed

pytestmark = pytest.mark.slow


def grep(system: System, word: str) -> list[dict[str, Any]]:
    """``grep WORD`` over all that all processes wrote."""
    return [json.loads(line) for line in system.log.read_text().splitlines() if word in line]


def upload(system: System, clip: Path, reference: str) -> str:
    """Uploads as a program behind a proxy does, which gives each request an id; answers the address of its page."""
    system.browser.get("/upload/")
    token = system.browser.http.cookies.get("csrftoken", "")
    with clip.open("rb") as file:
        answer = system.browser.http.post(
            system.browser.address + "/upload/",
            data={"csrfmiddlewaretoken": token},
            files=[("files", (clip.name, file, "video/mp4"))],
            headers={"X-Request-ID": reference, "Accept": "application/json", "Referer": system.browser.address},
            timeout=120,
        )
    assert answer.status_code == 201, answer.text
    assert answer.headers["X-Request-ID"] == reference
    return answer.json()["files"][0]["url"]


def references(system: System) -> dict[str, set[str]]:
    """What the rows of analyses and of their chunks have."""
    path = Path(system.environment["DATA_DIR"]) / "nightjar.sqlite3"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20) as database:
        found: dict[str, set[str]] = {}
        query = (
            "SELECT a.correlation_id, c.correlation_id FROM detection_analysis a"
            " JOIN detection_chunk c ON c.analysis_id = a.id"
        )
        for analysis, chunk in database.execute(query):
            found.setdefault(analysis, set()).add(chunk)
        return found


@contextmanager
def stopped(system: System, words: str) -> Iterator[None]:
    """These processes take nothing, for a while."""
    pids = system.processes(words)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def tasks_of(lines: list[dict[str, Any]]) -> set[str]:
    return {line["task"] for line in lines if line.get("outcome") == "done"}


def test_every_line_of_an_upload_is_found_by_its_reference_also_when_its_messages_were_lost(system, clip, tmp_path):
    ours = system("--no-example", CHUNK_S="4", LOG_FORMAT="json")
    page = upload(ours, clip, "upload-from-proxy-1")
    shown = until_analysed(ours.browser, page)
    assert "<code>upload-from-proxy-1</code>" in shown, "the page names its reference"
    lines = grep(ours, "upload-from-proxy-1")
    assert {line["correlation_id"] for line in lines} == {"upload-from-proxy-1"}
    assert {line["process"] for line in lines} == {"web", "analyse"}
    assert {"analyse", "analyse_chunk"} <= tasks_of(lines)
    (request,) = [line for line in lines if line["logger"] == "detection.requests"]
    assert (request["method"], request["path"], request["status"]) == ("POST", "/upload/", 201)
    assert request["user_id"] == 1

    # Taken in while no worker looks; then the broker forgets everything. The sweep sends it again, from the row.
    other = tmp_path / "evening.mp4"
    write_clip(other, draw_scene(12, width=480, height=270, seconds=8, fps=10, parked=False), fps=10)
    with stopped(ours, "-Q again,analyse"):
        page = upload(ours, other, "upload-from-proxy-2")
        empty_the_broker(ours)
    assert "<code>upload-from-proxy-2</code>" in until_analysed(ours.browser, page, limit_s=120)
    wait_for(
        "the line of its task", lambda: {"analyse", "analyse_chunk"} <= tasks_of(grep(ours, "upload-from-proxy-2"))
    )
    assert {"web", "analyse"} == {line["process"] for line in grep(ours, "upload-from-proxy-2")}

    found = references(ours)
    assert found["upload-from-proxy-1"] == {"upload-from-proxy-1"}
    assert found["upload-from-proxy-2"] == {"upload-from-proxy-2"}
    # Each process of ours writes nothing but such lines; Celery's last words go past every log.
    whole = [line for line in ours.log.read_text().splitlines() if line.startswith("{")]
    assert all(json.loads(line)["event"] for line in whole)
    assert {"web", "grab", "probe", "analyse", "proxy", "beat"} <= {json.loads(line)["process"] for line in whole}
