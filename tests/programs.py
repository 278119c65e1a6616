"""Single programs of the real Procfile, for tests that need some of them and not the whole system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from project import broker
from project.folders import private_folder, run_dir
from project.launcher import read_procfile
from tests.conftest import ROOT
from tests.processes import wait_for


class Programs:
    """Programs of one installation; each writes a log of its own."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        data_dir = Path(environment["DATA_DIR"])
        self.folder = folder
        self.run_dir = private_folder(run_dir(data_dir))
        self.environment = {**environment, "RUN_DIR": str(self.run_dir), "PYTHONUNBUFFERED": "1"}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str, **more: str) -> None:
        """By their names in the Procfile, with what else is to be in their environment."""
        lines = {program.name: str(program.command) for program in read_procfile(ROOT / "Procfile")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{self.environment.get('PATH', '')}"
        for name in names:
            self._start(name, ["/bin/sh", "-c", lines[name]], {**self.environment, "PATH": path, **more})

    def start_broker(self) -> None:
        """The embedded one."""
        data_dir = Path(self.environment["DATA_DIR"])
        self._start("broker", broker.command(data_dir), self.environment)
        wait_for("the broker answers", lambda: broker.answers(broker.socket_path(data_dir)), 30)

    def _start(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        with self.log(name).open("ab") as out:
            self.running[name] = subprocess.Popen(
                command, cwd=ROOT, env=dict(environment), stdout=out, stderr=out, start_new_session=True
            )

    def manage(self, *words: str) -> str:
        """What a command of manage.py prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def said(self) -> str:
        """All that was logged."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    def wait(self, what: str, holds: Callable[[], object], limit_s: float = 60.0) -> float:
        """As ``wait_for``; fails with the logs, and at once where a program has ended."""

        def looked() -> object:
            for name, process in self.running.items():
                assert process.poll() is None, f"{name} ended:\n{self.said()[-4000:]}"
            return holds()

        try:
            return wait_for(what, looked, limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()[-4000:]}") from None

    def stop(self, name: str, how: int = signal.SIGTERM) -> None:
        process = self.running.pop(name)
        with suppress(ProcessLookupError):
            process.send_signal(how)
        try:
            process.wait(timeout=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def kill_all(self) -> None:
        for process in self.running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)
        self.running.clear()


@contextmanager
def programs(environment: Mapping[str, str], folder: Path) -> Iterator[Programs]:
    """Ends, with the block, whatever was started in it."""
    folder.mkdir(parents=True, exist_ok=True)
    held = Programs(environment, folder)
    try:
        yield held
    finally:
        held.kill_all()
