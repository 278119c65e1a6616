"""`manage.py up` as a person meets it: what it says when it cannot start, and the real Procfile under it."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from project.launcher import read_procfile
from tests.conftest import ROOT
from tests.processes import MARK, kill_marked, marked, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

SLEEPER = "one: echo ready; exec sleep 1001\n"


def manage(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an empty database of this version."""
    folder = tmp_path_factory.mktemp("migrated") / "data"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = manage(
        environment
        | {
            "NIGHTJAR_ENV_FILE": os.devnull,
            "SECRET_KEY": "for-one-test-" + "0123456789abcdefghijklmnopqrstuvwxyz0123456789",
            "DATA_DIR": str(folder),
        },
        "migrate",
    )
    assert done.returncode == 0, done.stderr
    return folder


class Up:
    """One `manage.py up` and all that runs under it."""

    def __init__(self, environment: dict[str, str], log: Path, *words: str) -> None:
        self.mark = uuid.uuid4().hex
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", *words],
                cwd=ROOT,
                env=environment | {MARK: self.mark},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_said(self, text: str, limit_s: float = 20.0) -> float:
        return wait_for(f"“{text}” in {self.log}", lambda: text in self.log.read_text(), limit_s)

    def pids(self, words: str) -> set[int]:
        return {pid for pid, line in marked(self.mark).items() if words in line}


@pytest.fixture
def up(tmp_path: Path, migrated: Path, installation: Callable[..., dict[str, str]]) -> Iterator[Callable[..., Up]]:
    shutil.copytree(migrated, tmp_path / "data")
    (tmp_path / "Procfile").write_text(SLEEPER)
    started: list[Up] = []

    def _up(*words: str, **more: str) -> Up:
        procfile = words or ("--procfile", str(tmp_path / "Procfile"))
        started.append(Up(installation(**more), tmp_path / f"log{len(started)}", *procfile))
        return started[-1]

    yield _up
    for one in started:
        kill_marked(one.mark)
        one.process.wait()
        kill_marked(one.mark)


def refuses(one: Up, sentence: str) -> None:
    """It ends with a failure and says one sentence and nothing else."""
    assert one.process.wait(timeout=30) == 1
    said = one.log.read_text()
    assert sentence in said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1
    assert not marked(one.mark)


def test_a_taken_port_is_refused_with_its_sentence(up: Callable[..., Up], free_port: int) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        refuses(up(), f"Nothing can be served on 127.0.0.1:{free_port} (Address already in use)")


def test_a_data_folder_that_cannot_be_written_to_is_refused_with_its_sentence(
    up: Callable[..., Up], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    refuses(up(DATA_DIR=str(tmp_path / "file" / "data")), "cannot be written to (Not a directory)")


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/sys").exists(), reason="needs a folder closed to root, too")
def test_a_data_folder_closed_even_to_root_is_refused_with_its_sentence(up: Callable[..., Up]) -> None:
    refuses(up(DATA_DIR="/proc/sys"), "The data folder /proc/sys cannot be written to")


def test_a_database_that_was_never_migrated_is_refused_with_its_sentence(up: Callable[..., Up], tmp_path: Path) -> None:
    refuses(up(DATA_DIR=str(tmp_path / "fresh")), "The database is not up to date with this version: run `make setup`")


def test_a_database_that_is_not_there_is_refused_with_its_sentence(up: Callable[..., Up]) -> None:
    one = up(DATABASE_URL="postgres://nobody:secret-word@127.0.0.1:1/none")
    refuses(one, "The database cannot be reached")
    assert "secret-word" not in one.log.read_text()


def test_a_second_one_on_the_same_data_is_refused_with_its_sentence(up: Callable[..., Up]) -> None:
    first = up()
    first.wait_said("one      | ready")
    refuses(up(), f"already runs on the data folder {first.log.parent / 'data'} (process {first.process.pid})")
    assert first.process.poll() is None


def test_one_that_was_killed_is_followed_at_once_by_another(up: Callable[..., Up]) -> None:
    first = up()
    first.wait_said("one      | ready")
    first.process.kill()
    first.process.wait()
    second = up()
    second.wait_said("one      | ready")
    assert not marked(first.mark)


def test_the_broker_runs_under_it_and_comes_back_when_it_is_killed(up: Callable[..., Up]) -> None:
    one = up()
    one.wait_said("one      | ready")
    (broker,) = one.pids("broker.sock")
    os.kill(broker, signal.SIGKILL)
    wait_for("another broker", lambda: one.pids("broker.sock") - {broker})


def test_with_a_broker_of_ones_own_none_is_started(up: Callable[..., Up]) -> None:
    one = up(BROKER_URL="redis://127.0.0.1:1/0")
    one.wait_said("one      | ready")
    assert not one.pids("broker.sock")


def test_the_real_procfile_answers_heals_and_ends_within_seconds(
    up: Callable[..., Up], free_port: int, installation: Callable[..., dict[str, str]]
) -> None:
    assert manage(installation(), "collectstatic", "--no-input").returncode == 0
    one = up("--procfile", str(ROOT / "Procfile"))
    one.wait_said(f"Nightjar is at http://127.0.0.1:{free_port}/", limit_s=40)
    connection = http.client.HTTPConnection("127.0.0.1", free_port, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().status in {200, 302}
    connection.close()

    assert {program.name for program in read_procfile(ROOT / "Procfile")} == {
        "web",
        "grab",
        "probe",
        "analyse",
        "proxy",
        "beat",
        "flower",
    }
    names = {name: f"{name}@" for name in ("grab", "probe", "analyse", "proxy")}
    names |= {"web": "gunicorn", "beat": " beat", "flower": "flower.sock"}
    wait_for("the workers", lambda: one.log.read_text().count(" ready.") == 4, 60)
    for name, words in names.items():
        wait_for(name, lambda words=words: one.pids(words))
        before = one.pids(words)
        os.kill(min(before), signal.SIGKILL)
        wait_for(f"another {name}", lambda words=words, before=before: one.pids(words) - before, 20)
    assert "for-one-test" not in " ".join(marked(one.mark).values()), "a secret is in a command line"

    wait_for("all workers again", lambda: one.log.read_text().count(" ready.") == 8, 60)
    one.process.terminate()
    assert one.process.wait(timeout=15) == 0
    assert not marked(one.mark)
    assert "Traceback" not in one.log.read_text()
