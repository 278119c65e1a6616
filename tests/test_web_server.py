"""How the pages stop: not ready first, what is asked is answered, uploads are whole or gone."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import pytest
import requests

from project.launcher import read_procfile
from project.web_patience import BODY_MOST, READ_S, WAITING_MOST
from tests.conftest import ROOT
from tests.processes import MARK, answers, environment, kill_marked, wait_for
from tests.services import find_free_port
from tests.views.files import a_jpeg

pytestmark = pytest.mark.slow
BOUNDARY = "a-boundary-between-the-parts"


@dataclass
class Pages:
    """The web process of an installation of its own, by the Procfile's own line."""

    process: subprocess.Popen[bytes]
    address: str
    folder: Path
    person: requests.Session

    def get(self, path: str) -> int:
        return requests.get(self.address + path, timeout=30).status_code

    def ask_to_stop(self, how: signal.Signals) -> None:
        self.process.send_signal(how)

    def connect(self, said: bytes) -> socket.socket:
        """A connection that has said so much, and says no more."""
        where = urlsplit(self.address)
        connection = socket.create_connection((where.hostname or "", where.port or 0), timeout=30)
        connection.sendall(said)
        return connection

    def media(self) -> list[tuple[str]]:
        with sqlite3.connect(self.folder / "nightjar.sqlite3") as database:
            return database.execute("SELECT sha256 FROM detection_media").fetchall()

    def files(self) -> list[str]:
        return [path.name for path in (self.folder / "media").rglob("*") if path.is_file()]

    def begin_upload(self, size: int) -> tuple[http.client.HTTPConnection, bytes]:
        """Sends the head and half the body of an upload; answers the connection and the other half."""
        picture = a_jpeg(seed=size)
        token = self.person.cookies["csrftoken"]
        content = picture + b"\0" * (size - len(picture))
        parts = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n{token}\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="yard.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        body = parts.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=30)
        connection.putrequest("POST", "/upload/")
        cookies = "; ".join(f"{name}={value}" for name, value in self.person.cookies.items())
        for name, value in (
            ("Cookie", cookies),
            ("Referer", f"{self.address}/upload/"),
            ("Accept", "application/json"),
            ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}"),
            ("Content-Length", str(len(body))),
        ):
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(body[: len(body) // 2])
        return connection, body[len(body) // 2 :]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], str]:
    folder = tmp_path_factory.mktemp("web") / "data"
    given = environment(folder, find_free_port(), WEIGHTS_URL="http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "manage.py", "prepare", "--no-example"],
        cwd=ROOT, env=given, check=True, capture_output=True, text=True,
    )  # fmt: skip
    password = re.search(r"password\s+(\S+)", done.stdout)
    assert password
    return given, password[1]


@pytest.fixture
def pages(prepared: tuple[dict[str, str], str], tmp_path: Path) -> Iterator[Pages]:
    given, password = prepared
    mark = uuid4().hex
    (line,) = [program.command for program in read_procfile(ROOT / "Procfile") if program.name == "web"]
    assert isinstance(line, str)
    path = f"{Path(sys.executable).parent}:{given['PATH']}"
    with (tmp_path / "web.log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", line],
            cwd=ROOT,
            env=given | {MARK: mark, "PATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{given['PORT']}"
    person = requests.Session()
    one = Pages(process, address, Path(given["DATA_DIR"]), person)
    try:
        wait_for("the pages", lambda: answers(f"{address}/health/live"), limit_s=60)
        person.get(f"{address}/login/", timeout=30)
        form = {"username": "admin", "password": password, "csrfmiddlewaretoken": person.cookies["csrftoken"]}
        assert person.post(f"{address}/login/", form, headers={"Referer": address}, timeout=30).status_code == 200
        yield one
    finally:
        kill_marked(mark)
        process.wait()
        print((tmp_path / "web.log").read_text())  # shown where the test failed


POST = (
    b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Cookie: csrftoken=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nContent-Length: %d\r\n\r\nusername=a"
)


def test_who_says_half_a_sentence_keeps_nobody_out(pages: Pages) -> None:
    """More of them than there are threads, whatever it is that they do not say."""
    halves = [b"GET /login/ HTTP/1.1\r\nHost: localhost\r\nX", POST % (b"/login/", 20), POST % (b"/login/", 100_000)]
    halves += [b"", POST % (b"/upload/", 10**9), b"GET /login/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]
    held = [pages.connect(half) for half in halves for _ in range(40)]
    for _ in range(5):
        assert pages.get("/health/live") == 200
        assert pages.get("/login/") == 200
    wait_for("they are sent away", lambda: all(_is_closed(one) for one in held), limit_s=90)
    assert pages.process.poll() is None


def test_while_all_threads_wait_for_uploads_that_do_not_come_it_lives_and_says_so(pages: Pages) -> None:
    held = [pages.begin_upload(1_000_000)[0] for _ in range(34)]
    wait_for("the parts", lambda: len([name for name in pages.files() if "upload-" in name]) >= 32, limit_s=30)
    assert pages.get("/health/live") == 200
    wait_for("readiness", lambda: pages.get("/health/ready") == 200)
    wait_for("a page", lambda: answers(f"{pages.address}/login/"), limit_s=90)  # they are not waited for for ever
    for one in held:
        one.close()


def test_one_who_is_given_up_in_the_moment_in_which_they_speak_harms_nobody(pages: Pages) -> None:
    """Both are seen in one round of the loop: somebody new, for whom the oldest has to go, and what the oldest says."""
    held = [pages.connect(b"") for _ in range(WAITING_MOST + 10)]
    assert pages.get("/health/live") == 200, "all were let in before it"
    oldest = next(one for one in held if not _is_closed(one))
    (worker,) = psutil.Process(pages.process.pid).children()
    worker.suspend()
    held.append(pages.connect(b""))
    oldest.sendall(b"G")
    worker.resume()
    wait_for("it is closed", lambda: _is_closed(oldest))
    assert pages.get("/health/live") == 200
    assert psutil.Process(pages.process.pid).children() == [worker]


def test_an_upload_through_a_slow_line_is_taken(pages: Pages) -> None:
    there = len(pages.media())
    connection, rest = pages.begin_upload(BODY_MOST * 4)
    for at in range(0, len(rest), len(rest) // 6 + 1):
        time.sleep(3)
        connection.send(rest[at : at + len(rest) // 6 + 1])
    answer = connection.getresponse()
    assert answer.status in (200, 201, 302), answer.read()
    assert len(pages.media()) == there + 1


@pytest.mark.parametrize("cut", [1, 20, 60, -30, -1])
def test_a_request_that_comes_in_pieces_is_answered_and_the_next_one_on_its_connection_too(
    pages: Pages, cut: int
) -> None:
    body = b"username=a&password=b"
    one = (
        b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    connection = pages.connect((one + b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" + one)[:cut])
    time.sleep(0.3)
    connection.sendall((one + b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" + one)[cut:])
    said = b""
    while said.count(b"HTTP/1.1 ") < 3 or not said.rstrip().endswith(b"</html>"):
        more = connection.recv(65536)
        assert more, said
        said += more
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"403", b"200", b"403"]  # no token was sent


def test_a_head_without_end_is_refused(pages: Pages) -> None:
    connection = pages.connect(b"GET / HTTP/1.1\r\n" + b"X-More: and more\r\n" * 5000)
    assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@pytest.mark.parametrize("reaches_all", [False, True])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_says_first_that_it_is_not_ready_and_still_answers(
    pages: Pages, how: signal.Signals, reaches_all: bool
) -> None:
    wait_for("readiness", lambda: pages.get("/health/ready") == 200)
    seen: list[list[tuple[int, int]]] = [[], [], []]

    def look(seen: list[tuple[int, int]]) -> None:
        while True:
            try:
                seen.append((pages.get("/health/ready"), pages.get("/login/")))
            except requests.RequestException:
                return

    looking = [threading.Thread(target=look, args=(one,)) for one in seen]
    for one in looking:
        one.start()
    wait_for("answers", lambda: all((200, 200) in one for one in seen))
    if reaches_all:  # as Ctrl-C at a terminal, or a supervisor that tells each process
        os.killpg(pages.process.pid, how)
    else:
        pages.ask_to_stop(how)
    assert pages.process.wait(timeout=30) == 0
    for one in looking:
        one.join()
    assert any((503, 200) in one for one in seen), "not ready, and answering"
    for one in seen:
        told = [ready for ready, _ in one]
        assert set(told) <= {200, 503}
        assert told == sorted(told), "never ready again"


def test_an_upload_that_is_under_way_is_finished(pages: Pages) -> None:
    there = len(pages.media())
    connection, rest = pages.begin_upload(8_000_000)
    pages.ask_to_stop(signal.SIGTERM)
    time.sleep(2.5)  # after it has stopped to take connections
    with pytest.raises(requests.ConnectionError):
        pages.get("/login/")
    connection.send(rest)
    answer = connection.getresponse()
    assert answer.status in (200, 201, 302), answer.read()
    assert pages.process.wait(timeout=30) == 0
    assert len(pages.media()) == there + 1


def test_an_upload_that_takes_too_long_is_cut_off_and_nothing_of_it_is_kept(pages: Pages) -> None:
    there = pages.media()
    connection, _ = pages.begin_upload(9_000_000)
    wait_for("the part", lambda: any("upload-" in name for name in pages.files()))
    pages.ask_to_stop(signal.SIGTERM)
    pages.process.wait(timeout=READ_S - 5)  # it is not waited for like one of a process that goes on
    connection.close()
    assert pages.media() == there
    # A part that it left is nobody's any more: the next tidying removes it (tests/workers/test_tidying.py).
    assert len([name for name in pages.files() if name.startswith("media.")]) == len(there)
