"""The embedded broker, as a real process."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from celery import Celery

from project import broker
from project.folders import SOCKET_PATH_MAX_BYTES, StartError, private_folder, run_dir
from tests.processes import PATIENCE


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def _start(data_dir: Path) -> subprocess.Popen[bytes]:
        data_dir.mkdir(exist_ok=True, parents=True)
        process = subprocess.Popen(broker.command(data_dir))
        started.append(process)
        deadline = time.monotonic() + 10 * PATIENCE
        while not broker.answers(broker.socket_path(data_dir)):
            assert process.poll() is None, (data_dir / "broker" / "broker.log").read_text()
            assert time.monotonic() < deadline, "the broker does not answer"
            time.sleep(0.05)
        return process

    yield _start
    for process in started:
        process.kill()
        process.wait()


def queue(data_dir: Path) -> Celery:
    app = Celery(broker=broker.embedded_url(data_dir), set_as_current=False)
    app.conf.task_default_queue = "work"
    return app


def messages(app: Celery) -> list[str]:
    """The names of the tasks in the queue, the next one first."""
    with app.connection_for_read() as connection:
        simple = connection.SimpleQueue("work")
        names: list[str] = []
        with suppress(simple.Empty):
            while True:
                message = simple.get(timeout=0.5)
                names.append(message.headers["task"])
                message.ack()
        return names


def test_it_passes_messages_on_and_writes_nothing_to_the_disk(tmp_path: Path, start: Callable) -> None:
    start(tmp_path)
    app = queue(tmp_path)
    for number in range(3):
        app.send_task(f"task-{number}")
    assert messages(app) == ["task-0", "task-1", "task-2"]
    time.sleep(1.2)
    assert [path.name for path in (tmp_path / "broker").rglob("*") if path.name != "broker.log"] == []


def test_only_its_owner_can_reach_it(tmp_path: Path, start: Callable) -> None:
    start(tmp_path)
    for folder in (tmp_path / "run", tmp_path / "broker"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(broker.socket_path(tmp_path).stat().st_mode) == 0o600


def test_it_opens_no_port(tmp_path: Path, start: Callable) -> None:
    process = start(tmp_path)
    sockets = set()
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed while we looked
            sockets.add(os.readlink(descriptor))
    assert any(name.startswith("socket:") for name in sockets)
    inodes = {
        line.split()[9] for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    }
    assert not sockets & {f"socket:[{inode}]" for inode in inodes}


@pytest.mark.parametrize("name", ["a space, 100% & more?#", "ünïcode", "x" * 150])
def test_any_name_of_the_data_folder_works(tmp_path: Path, start: Callable, name: str) -> None:
    data_dir = tmp_path / name
    start(data_dir)
    assert len(os.fsencode(broker.socket_path(data_dir))) <= SOCKET_PATH_MAX_BYTES
    assert stat.S_IMODE(run_dir(data_dir).stat().st_mode) == 0o700
    app = queue(data_dir)
    app.send_task("arrives")
    assert messages(app) == ["arrives"]
    if run_dir(data_dir).parent == Path("/tmp"):
        broker.socket_path(data_dir).unlink()
        run_dir(data_dir).rmdir()


def test_two_folders_with_long_names_have_two_sockets(tmp_path: Path) -> None:
    assert run_dir(tmp_path / ("x" * 150)) != run_dir(tmp_path / ("x" * 151))


def test_it_starts_over_a_socket_that_a_killed_one_left(tmp_path: Path, start: Callable) -> None:
    process = start(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert broker.socket_path(tmp_path).exists()
    assert not broker.answers(broker.socket_path(tmp_path))
    start(tmp_path)


def test_a_link_in_place_of_the_private_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartError, match="belongs to another user or is a link"):
        private_folder(tmp_path / "run")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_private_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 12345, 12345)
    with pytest.raises(StartError, match="belongs to another user"):
        private_folder(tmp_path / "run")


def test_without_any_server_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(StartError, match=r"install Valkey or Redis .* or set BROKER_URL"):
        broker.server_binary()


@pytest.mark.parametrize("there", ["valkey-server", "redis-server"])
def test_a_server_on_the_path_is_taken_where_pip_brought_none(monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    monkeypatch.setattr(broker, "find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if name == there else None)
    assert broker.server_binary() == f"/usr/bin/{there}"
