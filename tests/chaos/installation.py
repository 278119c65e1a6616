"""An installation of its own, run by the product's launcher, and its processes by their names."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from detection.management.commands._bench_farm import children
from project.launcher import NO_PROCESS
from tests import processes
from tests.chaos.clocks import with_clock_off
from tests.chaos.media import CHUNK_S
from tests.processes import MARK, marked

ROOT = Path(__file__).resolve().parent.parent.parent
PROCFILE = "Procfile"
LEFT_OUT = NO_PROCESS | {"flower"}  # which shows Celery to people; nothing depends on it
SECOND = "analyse2"  # as if a second machine analysed as well
START_S = 90.0
STOP_S = 60.0
STALL_S = 6
RESERVE_BYTES = 8 * 1024**2  # the disk of this test is small


def environment(folder: Path, port: int, mark: str, **more: str) -> dict[str, str]:
    """The environment of an installation in this folder, and of whoever looks into its database."""
    settings = {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "TMPDIR": str(folder / "tmp"),
        "WEIGHTS_URL": "http://127.0.0.1:9",  # nobody is there
        "ANALYSE_FPS": "10",
        "CHUNK_S": str(CHUNK_S),
        "STALL_S": str(STALL_S),
        "ANALYSE_CONCURRENCY": "2",  # of two workers each: one that hangs, or is started again, leaves others
        "DISK_RESERVE_BYTES": str(RESERVE_BYTES),
        MARK: mark,
    }
    return processes.environment(folder / "data", port, **settings, **more)


def procfile(text: str, folder: Path, clocks: Mapping[str, int]) -> str:
    """The project's Procfile for this test: its workers know poison, a second one analyses, and some clocks are off.

    By how many seconds these are ahead is told by name; what that takes is put into the folder.
    """
    lines = []
    for line in text.splitlines():
        name, _, command = line.partition(": ")
        if line.startswith("#") or name in LEFT_OUT:
            continue
        if " worker " in command and "--pool threads" not in command:
            command = command.replace("-A project", "-A tests.chaos.app")
        if name in clocks:
            command = with_clock_off(command, clocks[name], folder)
        lines.append(f"{name}: {command}")
        if name == "analyse":
            lines.append(f"{SECOND}: " + command.replace("-n analyse@", f"-n {SECOND}@"))
    return "\n".join([*lines, ""])


def command_of(pid: int) -> str:
    """Its command line; empty where it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


@dataclass
class Installation:
    """A running Nightjar. Its environment is that of the process that makes this."""

    folder: Path
    mark: str
    clocks: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.launcher: subprocess.Popen[bytes] | None = None
        self.log = self.folder / "up.log"
        self.address = f"http://127.0.0.1:{os.environ['PORT']}"
        self.environment = {**os.environ, MARK: self.mark}
        text = procfile((ROOT / PROCFILE).read_text(), self.folder, self.clocks)
        (self.folder / PROCFILE).write_text(text)
        self.names = re.findall(r"^([\w-]+):", text, re.MULTILINE)

    def command(self, name: str) -> str:
        """What the Procfile says of this name."""
        lines = (self.folder / PROCFILE).read_text().splitlines()
        return next(line for line in lines if line.startswith(f"{name}: ")).partition(": ")[2]

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.launcher = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--follow-parent", "--procfile", str(self.folder / PROCFILE)],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.wait("the first page", self.answers, START_S)

    def answers(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"{self.address}/login/", timeout=3).status_code == 200
        return False

    def wait(self, what: str, holds: Callable[[], object], limit_s: float) -> float:
        """Waits until something holds; answers how long that took, and raises where the launcher is gone first."""
        began = time.monotonic()
        while not holds():
            waited = time.monotonic() - began
            if waited > limit_s or (self.launcher is not None and self.launcher.poll() is not None):
                raise TimeoutError(f"not within {waited:.0f} of {limit_s:.0f} s: {what}")
            time.sleep(0.05)
        return time.monotonic() - began

    def stop(self) -> bool:
        """Ends all of it as a person does; answers whether nothing was left."""
        if self.launcher is None:
            return True
        self.launcher.send_signal(signal.SIGTERM)
        try:
            self.launcher.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.kill_all()
            return False
        self.launcher = None
        deadline = time.monotonic() + 5
        while marked(self.mark) and time.monotonic() < deadline:
            time.sleep(0.1)
        left = bool(marked(self.mark))
        self.kill_all()
        return not left

    def kill_all(self) -> None:
        """As a power cut does: all at once, the launcher and its guardian too."""
        while pids := list(marked(self.mark)):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
            if self.launcher is not None:
                self.launcher.poll()
        self.launcher = None

    # ---- its processes

    def mains(self) -> dict[str, int]:
        """The process that the launcher started under each name, where it lives, and the embedded broker."""
        launched = children(self.launcher.pid) if self.launcher else []
        return {name: pid for pid in launched if (name := self._name(command_of(pid)))}

    def _name(self, command: str) -> str:
        if match := re.search(r" -n ([\w-]+)@", command):
            return match[1]
        words = {"gunicorn": "web", " beat": "beat", "broker.sock": "broker"}
        return next((name for word, name in words.items() if word in command), "")


def group(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *(below for child in children(pid) for below in group(child))]
