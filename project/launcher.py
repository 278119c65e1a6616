"""Runs the processes of a Procfile together: what dies is started again, and all end with the launcher.

One thread and one loop; no Django here. What a program prints goes through with its name in front. Each program leads
a process group of its own, so that Ctrl-C in the terminal reaches the launcher alone and the launcher can end a program
with all its children. After `kill -9` of the launcher the guardian (see guardian.py) ends them; on Linux the kernel
also tells each program itself, for the case that both are killed at once.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from detection.scrub import scrub
from project.folders import StartError

FIRST_RESTART_S = 0.5
LAST_RESTART_S = 30.0
TICK_S = 0.2
LINE_MAX_BYTES = 64 * 1024
COLOURS = (36, 33, 32, 35, 34, 31)
# When the launcher was killed, the broker ends with all the others, so a worker may wait for it in vain.
GUARDIAN_GRACE_S = 4.0
PR_SET_PDEATHSIG = 1
NO_PROCESS = {"release"}  # by the convention of Procfiles: what is done once, before the processes of a version start
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Program:
    """One line of the Procfile: a command for the shell, or words for no shell at all."""

    name: str
    command: str | Sequence[str]


def read_procfile(path: Path) -> list[Program]:
    """The programs of a Procfile in its order, without its release; raises StartError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise StartError(f"The Procfile {path} cannot be read ({error.strerror}).") from error
    programs: list[Program] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9_-]+):\s*(\S.*)", line.strip())
        if not match or match[1] in {program.name for program in programs}:
            raise StartError(f"Line {number} of {path} is not “name: command” with a name of its own.")
        programs.append(Program(match[1], match[2]))
    processes = [program for program in programs if program.name not in NO_PROCESS]
    if not processes:
        raise StartError(f"The Procfile {path} names no process.")
    return processes


def _end_with_parent(launcher: int) -> None:
    """In the child, before it becomes its program: the kernel sends it SIGTERM when the launcher is gone."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != launcher:  # gone in the moment between
        os._exit(1)


def _is_of_our_log(line: bytes) -> bool:
    """Whether it is one of our lines of JSON, and whole."""
    if not line.startswith(b"{"):
        return False
    try:
        return "event" in json.loads(line)
    except (ValueError, RecursionError):
        return False


@dataclass
class Child:
    """A program, and the process that runs it at the moment, if one does."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    rest: bytes = b""
    started_at: float = 0.0
    restart_at: float = 0.0
    delay_s: float = FIRST_RESTART_S


@dataclass
class Launcher:
    """Runs programs until `stop` is called or a signal says so.

    ``broker`` starts first, is waited for (``broker_answers``), and ends last, because the others hand back to it what
    they have not finished. ``web_answers`` is asked until it says yes, then ``greeting`` is printed.
    """

    programs: Sequence[Program]
    cwd: Path
    env: Mapping[str, str]
    broker: Program | None = None
    broker_answers: Callable[[], bool] = lambda: True
    web_answers: Callable[[], bool] = lambda: True
    greeting: str = ""
    grace_s: float = 12.0
    broker_wait_s: float = 60.0
    lock: int | None = None
    follow_parent: bool = False
    out: BinaryIO = field(default_factory=lambda: sys.stdout.buffer)
    json: bool = False  # whether its own words are lines of JSON, too
    colour: bool = field(default_factory=lambda: sys.stdout.isatty() and "NO_COLOR" not in os.environ)

    def __post_init__(self) -> None:
        self.stops = 0  # how often somebody asked to stop; from the second time on nothing is waited for
        self.children: list[Child] = []
        self.guardian: subprocess.Popen[bytes] | None = None
        self.selector = selectors.DefaultSelector()
        self.parent = os.getppid()
        self.names = ["nightjar", "broker", *(program.name for program in self.programs)]
        self.width = max(len(name) for name in self.names)

    def run(self) -> None:
        """Runs until asked to stop; raises StartError where the broker does not start."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stop())
        try:
            self._guard()
            self._start_all()
            greeted = not self.greeting
            while not self.stops:
                self._tick()
                if not greeted and self.web_answers():
                    self.say(self.greeting)
                    greeted = True
        finally:
            self._end_all()

    def stop(self) -> None:
        self.stops += 1

    def say(self, text: str) -> None:
        if self.json:
            moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            facts = {"timestamp": moment, "level": "info", "event": text, "logger": "launcher", "process": "nightjar"}
            text = json.dumps(facts, ensure_ascii=False)
        self._print("nightjar", text.encode())

    # ---- starting

    def _start_all(self) -> None:
        if self.broker:
            broker = self._add(self.broker)
            self._wait(lambda: broker.process is None or self.broker_answers(), self.broker_wait_s)
            if not self.stops and not self.broker_answers():
                raise StartError("The broker did not start: its own words are in broker/broker.log of the data folder.")
        if self.stops:
            return
        for program in self.programs:
            self._add(program)

    def _add(self, program: Program) -> Child:
        child = Child(program)
        self.children.append(child)
        self._start(child)
        return child

    def _start(self, child: Child) -> None:
        command = child.program.command
        launcher = os.getpid()
        child.started_at = time.monotonic()
        try:
            child.process = process = subprocess.Popen(
                ["/bin/sh", "-c", command] if isinstance(command, str) else list(command),
                cwd=self.cwd,
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: _end_with_parent(launcher),
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._plan_restart(child, f"could not start ({error})")
            return
        self._tell_guardian(f"+{process.pid}")
        if process.stdout:
            os.set_blocking(process.stdout.fileno(), False)
            self.selector.register(process.stdout, selectors.EVENT_READ, (child, process))

    def _plan_restart(self, child: Child, what: str) -> None:
        if time.monotonic() - child.started_at > LAST_RESTART_S:
            child.delay_s = FIRST_RESTART_S
        child.restart_at = time.monotonic() + child.delay_s
        if not self.stops:
            self.say(f"{child.program.name} {what}; starting it again in {child.delay_s:g} s.")
        child.delay_s = min(child.delay_s * 2, LAST_RESTART_S)

    # ---- the loop

    def _tick(self) -> None:
        for key, _ in self.selector.select(TICK_S):
            self._read(*key.data)
        for child in self.children:
            if child.process and child.process.poll() is not None:
                self._bury(child, child.process)
            if child.process is None and not self.stops and time.monotonic() >= child.restart_at:
                self._start(child)
        if self.guardian and self.guardian.poll() is not None:
            self._guard()
        if self.follow_parent and os.getppid() != self.parent:
            self.stop()

    def _wait(self, done: Callable[[], bool], limit_s: float) -> None:
        """Keeps the loop going until something holds, for so long at most, or until somebody is in a hurry to stop."""
        stops = self.stops
        deadline = time.monotonic() + limit_s
        while not done() and time.monotonic() < deadline and self.stops == stops:
            self._tick()

    def _bury(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # the children that a killed parent left
        self._read(child, process, all_of_it=True)
        if child.rest:
            self._print(child.program.name, child.rest)
            child.rest = b""
        if process.stdout and not process.stdout.closed:
            self.selector.unregister(process.stdout)
            process.stdout.close()
        self._tell_guardian(f"-{process.pid}")
        child.process = None
        code = process.returncode
        self._plan_restart(child, f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code}")

    # ---- stopping

    def _end_all(self) -> None:
        self.stops = max(self.stops, 1)
        if any(child.process for child in self.children):
            self.say("Stopping. A second Ctrl-C stops without waiting.")
        split = 1 if self.broker else 0
        for group in (self.children[split:], self.children[:split]):
            self._end([child for child in reversed(group) if child.process])
        if self.guardian and self.guardian.stdin:
            with suppress(BrokenPipeError):
                self.guardian.stdin.close()
            self.guardian.wait()

    def _end(self, children: list[Child]) -> None:
        for child in children:
            if child.process:
                child.process.terminate()
        self._wait(lambda: not any(child.process for child in children), self.grace_s if self.stops < 2 else 0.0)
        for child in children:
            if child.process:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.process.pid, signal.SIGKILL)
                child.process.wait()
                self._bury(child, child.process)

    # ---- the guardian

    def _guard(self) -> None:
        """Starts the guardian, again if it is gone; it holds the lock, too, until it has ended what we left.

        Whom it guards stands in its command line: told afterwards, it would know nobody if we were killed in between.
        """
        self.guardian = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                str(Path(__file__).with_name("guardian.py")),
                f"{min(self.grace_s, GUARDIAN_GRACE_S):g}",
                *(str(child.process.pid) for child in self.children if child.process),
            ],
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=() if self.lock is None else (self.lock,),
        )

    def _tell_guardian(self, line: str) -> None:
        if self.guardian and self.guardian.stdin:
            with suppress(BrokenPipeError):  # it is gone; the loop starts another, which is told of all
                self.guardian.stdin.write(f"{line}\n".encode())
                self.guardian.stdin.flush()

    # ---- output

    def _read(self, child: Child, process: subprocess.Popen[bytes], *, all_of_it: bool = False) -> None:
        """Passes on what the program has printed; one portion, so that a chatty one does not hold up the loop."""
        if process.stdout is None or process.stdout.closed:
            return
        try:
            data = os.read(process.stdout.fileno(), LINE_MAX_BYTES)
            while data:
                *lines, child.rest = (child.rest + data).split(b"\n")
                if len(child.rest) > LINE_MAX_BYTES:
                    lines, child.rest = [*lines, child.rest], b""
                for line in lines:
                    self._print(child.program.name, line)
                if not all_of_it:
                    return
                data = os.read(process.stdout.fileno(), LINE_MAX_BYTES)
        except BlockingIOError:
            return
        self.selector.unregister(process.stdout)  # the program has closed it
        process.stdout.close()

    def _print(self, name: str, line: bytes) -> None:
        if not self.colour and _is_of_our_log(line):
            label = ""  # it says itself who wrote it, is scrubbed, and must stay JSON
        else:
            # What was not made by our log, such as the last words of a native library, may hold anything.
            line = scrub(line.decode("utf-8", "replace")).encode()
            label = f"{name:<{self.width}} | "
        if self.colour:
            label = f"\x1b[{COLOURS[self.names.index(name) % len(COLOURS)]}m{label}\x1b[0m"
        try:
            self.out.write(label.encode() + line.rstrip(b"\r") + b"\n")
            self.out.flush()
        except (OSError, ValueError):  # the terminal is gone: there is nobody to tell, and the work goes on
            self._tell_nobody()

    def _tell_nobody(self) -> None:
        """From here on what is printed goes nowhere: Python, too, would try once more at its end, and fail over it."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.out.fileno())
            os.close(nowhere)
