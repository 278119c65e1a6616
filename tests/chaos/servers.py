"""Servers of the test's own, in its folder, on free ports: to be killed and started again as often as it likes."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from project.broker import server_binary
from tests.processes import MARK
from tests.services import find_free_port

LOCALHOST = "127.0.0.1"
START_S = 120.0  # RabbitMQ, where the machine has much else to do


class Missing(Exception):
    """Something this machine would need is not there."""


class DidNotStart(Exception):
    """A server of ours did not come up; the message is the tail of its log."""


@dataclass
class Server:
    """A server that is one process, or one that leads all its own."""

    setting: ClassVar[str] = "BROKER_URL"  # that names it to an installation

    folder: Path
    mark: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        self.folder.mkdir(parents=True)

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def user(self) -> str | None:
        """Whom it runs as, where that is somebody else."""
        return None

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                list(self.command()),
                cwd=self.folder,
                env={**os.environ, **self.environment(), MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                user=self.user(),
                group=self.user(),
                extra_groups=[] if self.user() else None,
            )
        deadline = time.monotonic() + START_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise DidNotStart(f"{type(self).__name__}: {self.log.read_text(errors='replace')[-1500:]}")
            time.sleep(0.05)

    def answers(self) -> bool:
        raise NotImplementedError

    def kill(self) -> None:
        """kill -9 of the server and all its children."""
        if self.process is None:
            return
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)
        self.process = None

    def stop(self) -> None:
        self.kill()


class Postgres(Server):
    """Run by the user postgres where we are root, because it refuses root."""

    setting = "DATABASE_URL"

    @staticmethod
    def program(name: str) -> str:
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: path.parts[-3])
        program = str(found[-1]) if found else shutil.which(name)
        if not program:
            raise Missing("There is no PostgreSQL server here (initdb, postgres).")
        return program

    def user(self) -> str | None:
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam("postgres").pw_name
        except KeyError:
            raise Missing("There is no user postgres, and PostgreSQL does not run as root.") from None

    @property
    def url(self) -> str:
        return f"postgres://chaos@{LOCALHOST}:{self.port}/postgres"

    def prepare(self) -> None:
        super().prepare()
        if user := self.user():
            shutil.chown(self.folder, user, user)
        words = ["-D", str(self.folder / "data"), "-U", "chaos", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        subprocess.run(
            [self.program("initdb"), *words],
            cwd=self.folder,
            check=True,
            capture_output=True,
            user=self.user(),
            group=self.user(),
            extra_groups=[] if self.user() else None,
        )

    def command(self) -> Sequence[str]:
        # What a restart in immediate mode must not lose is in the kernel by then: only a power cut needs fsync.
        options = {
            "port": self.port,
            "listen_addresses": LOCALHOST,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 200,
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [self.program("postgres"), "-D", str(self.folder / "data"), *words]

    def answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True

    def stop(self) -> None:
        """In immediate mode, as after a crash: the start recovers from the log."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(timeout=30)
        self.process = None


class Redis(Server):
    """Keeps nothing on disk: what dies with it is gone."""

    @property
    def url(self) -> str:
        return f"redis://{LOCALHOST}:{self.port}/0"

    def command(self) -> Sequence[str]:
        options = {
            "port": str(self.port),
            "bind": LOCALHOST,
            "save": "",
            "appendonly": "no",
            "dir": str(self.folder),
            "set-proc-title": "no",
        }
        program = shutil.which("redis-server") or shutil.which("valkey-server") or server_binary()
        return [program, *(word for name, value in options.items() for word in (f"--{name}", value))]

    def answers(self) -> bool:
        return talks(self.port, b"PING\r\n", lambda answer: answer.startswith(b"+PONG"))


class RabbitMQ(Server):
    """A node of its own, with an epmd of its own, so that the machine's is not touched."""

    PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/local/sbin/rabbitmq-server")

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{LOCALHOST}:{self.port}//"

    def prepare(self) -> None:
        super().prepare()
        (self.folder / "plugins").write_text("[].\n")
        (self.folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = {LOCALHOST}:{self.port}\n")
        self.dist_port, self.epmd_port = find_free_port(), find_free_port()

    def command(self) -> Sequence[str]:
        # Not the wrapper on the PATH of Debian, which takes no other settings than the machine's.
        found = next((path for path in self.PROGRAMS if Path(path).exists()), None) or shutil.which("rabbitmq-server")
        if not found:
            raise Missing("There is no RabbitMQ server here (rabbitmq-server).")
        return [found]

    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),  # where its cookie lies
            "RABBITMQ_NODENAME": f"chaos{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": LOCALHOST,
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
        }

    def answers(self) -> bool:
        return talks(self.port, b"AMQP\0\0\x09\x01", lambda answer: len(answer) > 7 and answer[0] == 1)


SERVERS: dict[str, type[Server]] = {"postgres": Postgres, "redis": Redis, "rabbitmq": RabbitMQ}


def talks(port: int, question: bytes, understood: Callable[[bytes], bool]) -> bool:
    try:
        with socket.create_connection((LOCALHOST, port), timeout=2) as connection:
            connection.sendall(question)
            return understood(connection.recv(64))
    except OSError:
        return False
