"""`make chaos`: the whole system, with real processes, while everything it is made of is killed again and again.

See tests/chaos/run.py for one stack, tests/chaos/faults.py for what is done to it, tests/chaos/check.py for what must
hold in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from tests.chaos import media
from tests.chaos.clocks import CLOCK_OFF_S, faketime_library
from tests.chaos.installation import ROOT, environment
from tests.chaos.reference import SAMPLES, WEIGHTS
from tests.chaos.run import Order
from tests.chaos.servers import SERVERS, Missing
from tests.processes import kill_marked
from tests.services import IS_CI, find_free_port

STACKS = {"embedded": (), "redis": ("postgres", "redis"), "rabbitmq": ("postgres", "rabbitmq")}
STACK_NAMES = {
    "embedded": "SQLite and the embedded broker",
    "redis": "PostgreSQL and Redis",
    "rabbitmq": "PostgreSQL and RabbitMQ",
}
# By so many seconds beat's clock, and that of the worker that runs its sweep, are ahead from the start to the end. Not
# on SQLite, which has the clock of the process. One that is behind at the sweep only lets it clear files away a minute
# later, for which no run has the time.
CLOCKS = {
    "embedded": {},
    "redis": {"grab": CLOCK_OFF_S, "beat": -CLOCK_OFF_S},
    "rabbitmq": {"beat": CLOCK_OFF_S},
}
MEDIA, SECONDS = 200, 170.0
SHORT_MEDIA, SHORT_SECONDS, SHORT_POISONS = 20, 32.0, 5
# The short form has time for a rolling restart on one stack.
SHORT_LEFT_OUT = {
    "embedded": ["everything killed"],
    "redis": ["everything killed", "rolling restart"],
    "rabbitmq": ["everything killed", "rolling restart"],
}
LIMIT_S = 900.0  # for a stack, beside the time of its faults
ENDS_S = 60.0


def main(words: list[str] | None = None) -> int:
    options = _options(words)
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    folder = Path(tempfile.mkdtemp(prefix="nightjar-chaos-"))
    folder.chmod(0o711)  # PostgreSQL's user passes through it
    mark = uuid4().hex
    worked = False
    try:
        worked = _run_all(options, folder, mark)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    finally:
        _clear_away(mark, folder)
        if worked and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"Logs, and what else is left of it: {folder}")
    return 0 if worked else 1


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--stack", choices=[*STACKS, "all"], default="all")
    parser.add_argument("--short", action="store_true", help="three minutes in all, for every change")
    parser.add_argument("--seconds", type=float, help="of faults for each stack")
    parser.add_argument("--media", type=int, help="how many are uploaded, beside the poison")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of the files and the faults' order")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs in any case")
    options = parser.parse_args(words)
    options.seconds = options.seconds or (SHORT_SECONDS if options.short else SECONDS)
    options.media = options.media or (SHORT_MEDIA if options.short else MEDIA)
    options.poisons = SHORT_POISONS if options.short else len(media.POISONS)
    return options


def _run_all(options: argparse.Namespace, folder: Path, mark: str) -> bool:
    began = time.monotonic()
    how_many = f"{options.media} media and {options.poisons} poisons a stack"
    print(f"Chaos with seed {options.seed}: {how_many}.", flush=True)
    wanted = list(STACKS) if options.stack == "all" else [options.stack]
    stacks = {stack: reason for stack in wanted if (reason := _what_is_missing(stack)) is not None}
    for stack, reason in stacks.items():
        print(f"{STACK_NAMES[stack]}: {'FAILED' if IS_CI else 'skipped'}: {reason}")
    reference = _reference(options, folder, mark)
    wanted = [stack for stack in wanted if stack not in stacks]
    # The short form has no time for one after the other; they wait more than they work.
    together = len(wanted) if options.short else 1
    worked = not (stacks and IS_CI)
    for first in range(0, len(wanted), together or 1):
        worked &= _run_together(options, wanted[first : first + together], folder, mark)
    if reference.wait(timeout=ENDS_S):
        worked = False
        print("FAILED: the undisturbed results: " + (folder / "reference.log").read_text()[-3000:])
    print(f"{'All held' if worked else 'FAILED'} after {time.monotonic() - began:.0f} s; seed {options.seed}.")
    return worked


def _what_is_missing(stack: str) -> str | None:
    """Why this stack cannot run here, or None."""
    try:
        for name in STACKS[stack]:
            server = SERVERS[name](Path("/nowhere"), "", 0)
            server.command()
            server.user()
        if CLOCKS[stack]:
            faketime_library()
    except Missing as missing:
        return str(missing)
    return None


def _reference(options: argparse.Namespace, folder: Path, mark: str) -> subprocess.Popen[bytes]:
    """Draws the files and begins to work out their undisturbed results; answers when there is a model."""
    media.save(media.make(folder / "files", options.media, options.seed, options.poisons), folder / SAMPLES)
    place = folder / "reference"
    (place / "tmp").mkdir(parents=True)
    env = environment(place, 1, f"{mark}-harness")
    with (folder / "reference.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.reference", str(folder)], cwd=ROOT, env=env, stdout=log, stderr=log
        )
    while not (folder / WEIGHTS).exists():  # the rest is needed in the end only
        if process.poll() is not None:
            raise SystemExit((folder / "reference.log").read_text()[-3000:])
        time.sleep(0.1)
    return process


@dataclass
class Run:
    """One stack's run, in a process of its own."""

    stack: str
    folder: Path
    process: subprocess.Popen[bytes]
    limit_s: float

    def result(self) -> bool:
        """Waits for it, prints its block, and answers whether all held."""
        try:
            code: int | None = self.process.wait(timeout=self.limit_s)
        except subprocess.TimeoutExpired:
            self.end()
            code = None
        report = self.folder / "report.txt"
        print("\n" + (report if report.exists() else self.folder / "run.log").read_text()[-20_000:], flush=True)
        if not report.exists():
            how = f"broke off with exit status {code}" if code is not None else f"took more than {self.limit_s:.0f} s"
            print(f"FAILED: {STACK_NAMES[self.stack]}: the run {how}", flush=True)
        return code == 0

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=ENDS_S)


def _run_together(options: argparse.Namespace, stacks: list[str], folder: Path, mark: str) -> bool:
    runs: list[Run] = []
    try:
        for stack in stacks:
            runs.append(_start(options, stack, folder, f"{mark}-{stack}"))  # noqa: PERF401 (each must be ended)
        results = [run.result() for run in runs]
        return all(results)
    finally:
        for run in runs:
            run.end()


def _start(options: argparse.Namespace, stack: str, folder: Path, mark: str) -> Run:
    place = folder / stack
    (place / "tmp").mkdir(parents=True)
    place.chmod(0o711)
    servers = {name: SERVERS[name](place / name, "", find_free_port()) for name in STACKS[stack]}
    order = Order(
        stack=STACK_NAMES[stack],
        folder=str(place),
        common=str(folder),
        mark=mark,
        seconds=options.seconds,
        seed=options.seed,
        short=options.short,
        left_out=SHORT_LEFT_OUT[stack if options.stack == "all" else "embedded"] if options.short else [],
        ports={name: server.port for name, server in servers.items()},
        clocks=CLOCKS[stack],
    )
    urls = {server.setting: server.url for server in servers.values()}
    env = environment(place, find_free_port(), f"{mark}-harness", **urls)
    words = [sys.executable, "-m", "tests.chaos.run", json.dumps(asdict(order))]
    if os.geteuid() == 0 and shutil.which("unshare") and not subprocess.run(["unshare", "--mount", "true"]).returncode:
        # What it mounts is seen by its own processes only, and is gone with them, however they end.
        words = ["unshare", "--mount", "--propagation", "private", *words]
    with (place / "run.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
    return Run(stack, place, process, options.seconds + LIMIT_S)


def _clear_away(mark: str, folder: Path) -> None:
    """Ends what a run that was itself killed has left: all that carry the mark, and PostgreSQL, which hides it."""
    for each in (mark, *(f"{mark}-{stack}" for stack in STACKS)):
        for name in (f"{each}-harness", each, f"{each}-servers"):
            kill_marked(name)
    for file in folder.rglob("postmaster.pid"):
        with suppress(OSError, ValueError):
            pid = int(file.read_text().split()[0])
            if str(folder) in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGQUIT)


if __name__ == "__main__":
    raise SystemExit(main())
