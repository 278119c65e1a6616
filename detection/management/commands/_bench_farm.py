"""An installation of its own for a bench: real processes on a data folder and a database that are gone afterwards."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from argparse import SUPPRESS, ArgumentParser
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from project.launcher import read_procfile

Say = Callable[[str], object]
PROGRAMS = ("grab", "probe", "beat")  # those that take pictures; nothing is analysed, and nobody looks
OWN_OPTIONS = (
    "cameras", "every", "minutes", "dead", "slow", "kill", "kind", "width", "log", "due", "history",
    "images", "seconds", "bulk", "rows", "rate", "path", "processes", "uploads", "megabytes",
)  # fmt: skip
START_S = 60.0
STOP_S = 60.0


def settings_for(folder: Path, database_url: str) -> dict[str, str]:
    """The environment of an installation in this folder, with nothing of this machine's own installation in it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "NIGHTJAR_ENV_FILE": os.devnull,
        "PYTHONUNBUFFERED": "1",
        "DATA_DIR": str(folder),
        "SECRET_KEY": secrets.token_urlsafe(50),
        "CAMERA_KEYS": urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("="),
        "CAMERA_ALLOW_LOOPBACK": "true",
        "PORT": str(free_port()),
        **({"DATABASE_URL": database_url} if database_url else {}),
    }


def add_server_arguments(parser: ArgumentParser) -> None:
    """For a bench that measures on the database server of DATABASE_URL, or another."""
    parser.add_argument("--database-url", default="", help="another server than that of DATABASE_URL")
    parser.add_argument("--inside", type=Path, help=SUPPRESS)


def folder_inside(bench: str, options: Mapping[str, Any], say: Say) -> Path | None:
    """The folder of the installation that a bench is to measure in.

    None where there was none yet: then one was made, and the bench is done with it.
    """
    folder: Path | None = options["inside"]
    if folder is None:
        url = options["database_url"] or os.environ.get("DATABASE_URL", "")
        run_inside(bench, {**options, "database_url": url}, say)
    return folder


def run_inside(bench: str, options: Mapping[str, Any], say: Say) -> None:
    """Runs a bench once more with the settings of an installation that is made for it, and passes on what it prints.

    It is told its folder by ``--inside``. Raises CommandError where it fails.
    """
    given = {name: value for name, value in options.items() if name in OWN_OPTIONS and value not in (None, False, "")}
    words = [f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items()]
    with tempfile.TemporaryDirectory(prefix="nightjar-bench-") as folder:
        command = [sys.executable, "manage.py", "bench", bench, *words, "--inside", folder]
        environment = settings_for(Path(folder), options["database_url"])
        with subprocess.Popen(
            command, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.PIPE, text=True
        ) as itself:
            try:
                for line in itself.stdout or ():
                    say(line.rstrip("\n"))
            finally:  # Ctrl-C reached it too, and it has things to put away
                itself.wait()
        if itself.returncode:
            raise CommandError(f"The bench ended with exit status {itself.returncode}.")


@contextmanager
def temporary_database(folder: Path) -> Iterator[str]:
    """An empty, migrated database beside that of the settings, on the same server, as a DATABASE_URL.

    The default connection leads to it meanwhile. For SQLite it is a file in the folder.
    """
    old_name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        name = str(folder / "bench.sqlite3")
        connection.settings_dict["NAME"] = name
        call_command("migrate", verbosity=0)
        try:
            yield f"sqlite:///{name}"
        finally:
            connection.close()
            connection.settings_dict["NAME"] = old_name
        return
    name = f"nightjar_bench_{secrets.token_hex(4)}"
    connection.settings_dict["TEST"]["NAME"] = name
    connection.creation.create_test_db(verbosity=0, serialize=False)
    try:
        yield urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()
    finally:
        connection.creation.destroy_test_db(old_name, verbosity=0)


@contextmanager
def running(folder: Path, environment: Mapping[str, str], programs: Sequence[str] = PROGRAMS) -> Iterator[Processes]:
    """The broker and these processes under the launcher, from their start to their end."""
    wanted = [program for program in read_procfile(settings.BASE_DIR / "Procfile") if program.name in programs]
    procfile = folder / "Procfile"
    procfile.write_text("".join(f"{program.name}: {program.command}\n" for program in wanted))
    command = [sys.executable, "manage.py", "up", "--follow-parent", "--procfile", str(procfile)]
    log = folder / "up.log"
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches the bench alone, which then stops this.
        up = subprocess.Popen(
            command, cwd=settings.BASE_DIR, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        processes = Processes(up, log)
        wait_for("the processes", lambda: set(programs) <= set(processes.pids()), START_S, processes)
        yield processes
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(timeout=STOP_S)


class Processes:
    """What runs under the launcher."""

    def __init__(self, up: subprocess.Popen[bytes], log: Path) -> None:
        self._up = up
        self._log = log

    def check(self) -> None:
        """Raises CommandError with the log's last lines where the launcher has ended."""
        if self._up.poll() is not None:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
            raise CommandError(f"`manage.py up` has ended with exit status {self._up.returncode}:\n{tail}")

    def pids(self) -> dict[str, int]:
        """The process id of each program and of the broker, by name; empty where there is no /proc."""
        found: dict[str, int] = {}
        for pid in children(self._up.pid):
            words = _command_line(pid)
            node = next((word.partition("@")[0] for word in words if word.endswith("@%h")), "")
            others = {"beat": "beat", "--unixsocket": "broker", "gunicorn": "web"}
            name = node or next((other for word, other in others.items() if word in words), "")
            if name:
                found[name] = pid
        return found

    def cpu_s(self) -> dict[str, float]:
        """The processor seconds that each program has used so far, with those of its children."""
        return {name: cpu_s(pid) for name, pid in self.pids().items()} | {"launcher": _own_cpu_s(self._up.pid)}

    def troubles(self) -> list[str]:
        """The lines of the log that speak of errors, and of programs that were started again."""
        lines = self._log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(word in line for word in (" ERROR ", "Traceback", "starting it again"))]


class Webhook:
    """Receives notifications on a port of its own, while the ``with`` lasts."""

    def __init__(self) -> None:
        self.received: list[tuple[datetime, str]] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
                received.append((datetime.now(UTC), body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """The bench prints what matters."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Webhook:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def told_of(self, *words: str, since: datetime) -> datetime | None:
        """When the first notification with all these words came, from then on."""
        found = (at for at, body in self.received if at >= since and all(word in body for word in words))
        return next(found, None)


def wait_for(what: str, holds: Callable[[], object], limit_s: float, processes: Processes) -> float:
    """Waits until something holds and answers how many seconds that took; raises CommandError where it takes longer."""
    began = time.monotonic()
    while not holds():
        processes.check()
        if time.monotonic() - began > limit_s:
            raise CommandError(f"Not within {limit_s:.0f} s: {what}.")
        time.sleep(0.1)
    return time.monotonic() - began


def children(pid: int) -> list[int]:
    """The processes that a process has started, by any of its threads."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # that thread has ended meanwhile
            found += map(int, path.read_text().split())
    return found


def resident_mb(pid: int) -> float:
    """The memory of a process, 0 where it has ended meanwhile."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def cpu_s(pid: int) -> float:
    """The processor seconds of a process, of those that it has started and of those that have ended already."""
    return _own_cpu_s(pid) + sum(cpu_s(child) for child in children(pid))


def _own_cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
