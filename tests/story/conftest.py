"""An installation of its own, with real processes, and a person with a browser before it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import requests

from detection.vision.draw import draw_scene, write_clip
from tests.conftest import ROOT
from tests.processes import MARK, answers, kill_marked, marked, wait_for


@dataclass
class Browser:
    """A person with a browser that runs no JavaScript."""

    address: str
    http: requests.Session

    def get(self, path: str) -> requests.Response:
        answer = self.http.get(self.address + path, timeout=30)
        assert answer.status_code < 500, answer.text[:2000]
        return answer

    def submit(self, path: str, data: dict[str, str], **more: object) -> requests.Response:
        """Posts a form as the browser would, with the token the page's cookie holds."""
        token = self.http.cookies.get("csrftoken", "")
        form = {"csrfmiddlewaretoken": token, **data}
        answer = self.http.post(
            self.address + path, data=form, headers={"Referer": self.address + path}, timeout=120, **more
        )
        assert answer.status_code < 500, answer.text[:2000]
        return answer

    def sign_in(self, password: str) -> None:
        self.get("/login/")
        assert "Log out" in self.submit("/login/", {"username": "admin", "password": password}).text


@dataclass
class System:
    """An installation of its own, running."""

    launcher: subprocess.Popen[bytes]
    log: Path
    mark: str
    browser: Browser
    environment: dict[str, str]

    def processes(self, words: str) -> list[int]:
        return [pid for pid, command in marked(self.mark).items() if words in command]

    def wait_answers(self) -> None:
        """Until its first page is there; fails at once where it has ended, and says in any case what it said last."""

        def is_there() -> bool:
            assert self.launcher.poll() is None, f"it ended with {self.launcher.returncode}"
            return answers(f"{self.browser.address}/login/")

        try:
            wait_for("the first page", is_there, limit_s=90)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.log.read_text()[-3000:]}") from None


def start(
    environment: dict[str, str], log: Path, *options: str, procfile: Path = ROOT / "Procfile"
) -> tuple[subprocess.Popen[bytes], str]:
    """Prepares and starts an installation; answers its launcher and the administrator's password."""
    prepared = subprocess.run(
        [sys.executable, "manage.py", "prepare", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    password = re.search(r"password\s+(\S+)", prepared.stdout)
    with log.open("wb") as output:
        launcher = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--procfile", str(procfile)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
        )
    return launcher, password[1] if password else ""


@pytest.fixture
def system(tmp_path, installation) -> Iterator[Callable[..., System]]:
    started: list[System] = []

    def begin(*options: str, procfile: Path = ROOT / "Procfile", **settings: str) -> System:
        mark = uuid4().hex
        environment = installation(WEIGHTS_URL="http://127.0.0.1:9", **{MARK: mark}, **settings)
        launcher, password = start(environment, tmp_path / "up.log", *options, procfile=procfile)
        address = f"http://127.0.0.1:{environment['PORT']}"
        system = System(launcher, tmp_path / "up.log", mark, Browser(address, requests.Session()), environment)
        started.append(system)
        system.wait_answers()
        system.browser.sign_in(password)
        return system

    yield begin
    for system in started:
        system.launcher.send_signal(signal.SIGTERM)
        try:
            system.launcher.wait(timeout=40)
        finally:
            kill_marked(system.mark)
            print(system.log.read_text())  # shown where the test failed


@contextmanager
def second_beat(system: System, folder: Path) -> Iterator[None]:
    """Another beat beside the one that runs, twenty times as busy, so that sweeps meet."""
    words = ["-m", "celery", "-q", "-A", "project", "beat", "--schedule", str(folder / "second-schedule")]
    beat = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=system.environment | {"SWEEP_S": "0.05"})
    try:
        yield
        assert beat.poll() is None
    finally:
        beat.terminate()
        beat.wait()


@contextmanager
def away(database_url: str, server_url: str) -> Iterator[None]:
    """A PostgreSQL database to which nobody is connected, and nobody can connect."""
    name = database_url.rpartition("/")[2]
    with psycopg.connect(server_url, autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "morning.mp4"
    write_clip(path, draw_scene(11, width=480, height=270, seconds=12, fps=10, parked=False), fps=10)
    return path
