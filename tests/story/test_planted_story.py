"""Secrets are planted wherever an installation has some, everything is said that can be said, everything fails that
can fail; and not one of them is in any line of the log, or on any page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest
import requests

from project.broker import server_binary
from tests import planted
from tests.conftest import ROOT
from tests.processes import wait_for
from tests.s3 import s3_server
from tests.services import find_free_port
from tests.story.conftest import System, away

pytestmark = pytest.mark.slow
LOUD = "botocore=DEBUG,boto3=DEBUG,s3transfer=DEBUG,kombu=DEBUG,amqp=DEBUG,celery=DEBUG,PIL=DEBUG,asyncio=DEBUG"


@contextmanager
def a_broker(folder: Path, port: int) -> Iterator[str]:
    """With a password."""
    words = ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", planted.BROKER_PASSWORD, "--save", ""]
    process = subprocess.Popen([server_binary(), *words, "--dir", str(folder), "--loglevel", "warning"])
    try:
        yield planted.redis_url("127.0.0.1", port)
    finally:
        process.kill()
        process.wait()


@contextmanager
def a_talkative_camera() -> Iterator[int]:
    """It answers with what it was asked: its errors hold the whole address, and the login."""

    class Talkative(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = f"{self.path} {dict(self.headers)} {planted.CAMERA_PASSWORD}".encode()
            status = 401 if "Authorization" not in self.headers else 500
            self.send_response(status, f"asked for {self.path} with {self.headers.get('Authorization')}")
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Talkative)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class Pages:
    """Somebody who keeps all that the site answers."""

    def __init__(self, system: System) -> None:
        self.address = system.browser.address
        self.http = system.browser.http
        self.seen: list[str] = []

    def keep(self, answer: requests.Response) -> requests.Response:
        if not answer.headers.get("Content-Type", "").startswith(("image/", "video/")):
            # Django gives a visitor back the cookie that he brought along.
            headers = {name: value for name, value in answer.headers.items() if name != "Set-Cookie"}
            self.seen.append(f"{headers}\n{answer.text}")
        return answer

    def get(self, path: str, **how: object) -> requests.Response:
        return self.keep(self.http.get(self.address + path, timeout=60, **how))

    def post(self, path: str, data: dict[str, object], **how: object) -> requests.Response:
        form = {"csrfmiddlewaretoken": self.http.cookies.get("csrftoken", ""), **data}
        headers = {"Referer": self.address + path, "Accept": "text/html"}
        return self.keep(self.http.post(self.address + path, data=form, headers=headers, timeout=60, **how))


def strangers_try(pages: Pages) -> None:
    """With planted headers, as whoever has stolen or mistyped something."""
    address = pages.address
    for path in (
        "/",
        "/metrics",
        f"/no/such/page?token={planted.CAMERA_TOKEN}&password={planted.WRONG_PASSWORD}",
        "/admin/",
    ):
        pages.keep(requests.get(address + path, headers=planted.headers(), timeout=30, allow_redirects=False))
    # This page takes along, for whoever asked, where to go next.
    requests.get(f"{address}/login/?next=/x%3Ftoken%3D{planted.CAMERA_TOKEN}", timeout=30)
    login = {"username": "admin", "password": planted.WRONG_PASSWORD, "csrfmiddlewaretoken": planted.CSRF_TOKEN}
    pages.keep(requests.post(address + "/login/", data=login, headers=planted.headers(), timeout=30))
    pages.keep(requests.post(address + "/upload/", data=planted.UPLOAD, headers=planted.headers(), timeout=30))
    with requests.Session() as other:
        other.get(address + "/login/")
        login["csrfmiddlewaretoken"] = other.cookies["csrftoken"]
        assert pages.keep(other.post(address + "/login/", data=login, timeout=30)).status_code in (200, 422, 401)
    scraped = requests.get(
        address + "/metrics", headers={"Authorization": f"Bearer {planted.METRICS_TOKEN}"}, timeout=60
    )
    assert scraped.status_code == 200
    pages.keep(scraped)


def everything_is_entered(pages: Pages, camera_port: int) -> None:
    """A picture, what is none, and a camera with everything secret in its address."""
    pages.get("/upload/")
    files = [
        ("files", ("yard.png", planted.picture(), "image/png")),
        (
            "files",
            ("broken.mp4", planted.UPLOAD.encode() * 50, "video/mp4"),
        ),
    ]
    pages.post("/upload/", {}, files=files)
    entered: dict[str, object] = {
        "name": "Gate",
        "source": "http",
        "address": planted.camera_url("127.0.0.1", camera_port),
        "username": "",
        "password": "",
        "rtsp_transport": "tcp",
        "schedule": "every",
        "every_s": "2",
        "days": list("1234567"),
        "time_zone": "UTC",
        "jitter_s": "0",
        "frozen_after": "5",
        "is_analysed": "on",
    }
    pages.get("/cameras/new")
    pages.post("/cameras/new", entered | {"name": ""})
    pages.post("/cameras/trials", entered)
    added = pages.post("/cameras/new", entered)
    assert added.status_code == 200, re.findall(r'class="[^"]*error[^"]*"[^>]*>([^<]*)', added.text)
    pages.post(
        "/cameras/new",
        entered | {"name": "Street", "source": "rtsp", "address": planted.camera_url("127.0.0.1", 9, "rtsp")},
    )


def all_pages(pages: Pages) -> list[int]:
    """Asks for each of them; answers their status codes."""
    paths = ["/", "/media/", "/sightings/", "/cameras/", "/cameras/1/", "/cameras/1/edit", "/analyses/", "/upload/"]
    paths += ["/health/live", "/health/ready", "/health/system", "/health/system?format=json", "/metrics"]
    for kind in ("", "detection/camera/", "detection/media/", "detection/analysis/", "detection/notification/"):
        paths.append(f"/admin/{kind}")
    for number in re.findall(r'href="/media/(\d+)/"', "".join(pages.seen))[:2]:
        paths += [f"/media/{number}/", f"/media/{number}/file"]
    return [pages.get(path).status_code for path in paths]


def all_change_pages(pages: Pages) -> None:
    """The admin's page of one of each kind, which shows every column."""
    for kind in ("camera", "capture", "cameraevent", "notification", "media", "analysis", "chunk", "model"):
        found = re.search(rf'href="(/admin/detection/{kind}/\d+/change/)', pages.get(f"/admin/detection/{kind}/").text)
        if kind != "chunk":  # what fails before it is cut up has none
            assert found, kind
        if found:
            assert pages.get(found[1]).status_code == 200


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180
    )


def set_password(environment: dict[str, str]) -> None:
    code = (
        "import os; from django.contrib.auth.models import User; user = User.objects.get(username='admin');"
        " user.set_password(os.environ['ADMIN_PASSWORD']); user.save()"
    )
    done = run(environment | {"ADMIN_PASSWORD": planted.ADMIN_PASSWORD}, "shell", "-v0", "-c", code)
    assert done.returncode == 0, done.stderr


def test_no_planted_secret_is_in_any_line_or_page_whatever_fails(system, tmp_path, postgres, postgres_url) -> None:
    name, server = postgres.rpartition("/")[2], re.search(r"@([^:/]+):(\d+)", postgres_url)
    assert server
    database_url = planted.database_url(server[1], int(server[2]), name)
    port = find_free_port()
    with ExitStack() as bucket, a_talkative_camera() as camera_port:
        settings = planted.settings(
            DATABASE_URL=database_url,
            BROKER_URL=planted.redis_url("127.0.0.1", port),
            STORAGE_URL=bucket.enter_context(s3_server(key=planted.S3_KEY, secret=planted.S3_SECRET)),
            SENTRY_DSN=planted.sentry_dsn("127.0.0.1", 9),
            CAMERA_ALLOW_LOOPBACK="true",
            CAMERA_OFFLINE_AFTER_S="1",
            LOG_LEVEL="DEBUG",
            LOG_LEVELS=LOUD,
            LOG_FORMAT="json",
            SLOW_QUERY_S="0.000001",
            SLOW_REQUEST_S="0.000001",
            SLOW_STAGE_S="0.000001",
        )
        with a_broker(tmp_path, port):
            ours = system("--no-example", **settings)
            set_password(ours.environment)
            pages = Pages(ours)
            pages.http.cookies.clear()
            pages.get("/login/")
            logged_in = pages.post("/login/", {"username": "admin", "password": planted.ADMIN_PASSWORD})
            assert "Log out" in logged_in.text
            strangers_try(pages)
            everything_is_entered(pages, camera_port)
            failed = "detection_capture WHERE state = 'failed'"
            wait_for("a capture that failed", lambda: is_there(postgres, failed), limit_s=60)
            tried = "detection_notification WHERE attempts > 0 AND error_detail <> ''"
            wait_for("a notification that was tried", lambda: is_there(postgres, tried), limit_s=60)
            failed = "detection_analysis WHERE state = 'failed' AND error_detail <> ''"
            wait_for("an analysis that failed", lambda: is_there(postgres, failed), limit_s=60)
            assert set(all_pages(pages)) == {200}
            (media,) = first(postgres, f"SELECT media_id FROM {failed}")
            assert "Technical detail" in pages.get(f"/media/{media}/").text
            all_change_pages(pages)
            with away(postgres, postgres_url):
                for path in ("/", "/media/", "/health/ready", "/metrics"):
                    pages.get(path)
                wait_for("a worker that misses the database", lambda: a_worker_misses_the_database(ours), limit_s=60)
            bucket.close()
            all_pages(pages)
        # The broker is gone, and so is the bucket.
        pages.get("/upload/")
        pages.post("/upload/", {}, files=[("files", ("again.png", planted.picture(), "image/png"))])
        pages.post("/cameras/1/capture", {})
        all_pages(pages)
        wait_for("workers that miss the broker", lambda: "cannot be reached" in ours.log.read_text(), limit_s=60)
        for words in (("check_storage",), ("notify", "--test"), ("doctor",), ("capture", "1")):
            done = run(ours.environment, *words)
            pages.seen.append(f"{words} {done.stdout} {done.stderr}")
    log = ours.log.read_text()
    assert log.count("\n") > 500, "everything was said"
    for spoken in ("botocore", "celery.beat", "detection.requests", "workers.trail", "detection.slow", "•••"):
        assert spoken in log, spoken
    assert planted.found_in(log) == [], leaks(log)
    for page in pages.seen:
        assert planted.found_in(page) == [], leaks(page)


def first(database_url: str, query: str) -> tuple[int, ...]:
    with psycopg.connect(database_url) as database:
        row = database.execute(query).fetchone()
    assert row is not None
    return row


def is_there(database_url: str, rows: str) -> bool:
    return first(database_url, f"SELECT count(*) FROM {rows}")[0] > 0


def a_worker_misses_the_database(system: System) -> bool:
    lines = (json.loads(line) for line in system.log.read_text().splitlines() if line.startswith("{") and "}" in line)
    workers = ("grab", "probe", "analyse")
    return any(line.get("process") in workers and "OperationalError" in str(line) for line in lines)


def leaks(text: str) -> str:
    """The lines that have one, cut to what is around it."""
    found = []
    for line in text.splitlines():
        for name in planted.found_in(line):
            shape = next(shape for shape in planted.shapes(planted.SECRETS[name]) if shape in line)
            at = line.index(shape)
            found.append(f"{name}: {line[max(0, at - 300) : at + 100]}")
    return "\n".join(dict.fromkeys(found))[:6000]
