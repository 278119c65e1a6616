"""Everything a fault may need: what runs, who watches, and where it is written down."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connection

from detection.management.commands._bench_farm import children
from tests.chaos.installation import Installation
from tests.chaos.servers import Postgres, Server
from tests.chaos.watch import Held, Watch, holding, running_workers

BACK_OFF_S = 31.0  # the launcher waits longer and longer for what dies again within so many seconds


class NotNow(Exception):
    """The fault cannot be injected at this moment; it is tried again in the next."""


@dataclass
class Scene:
    """A stack under its faults."""

    installation: Installation
    watch: Watch
    rng: random.Random
    log: Path
    short: bool
    left_out: frozenset[str] = frozenset()  # kinds of fault for which the short form has no time on this stack
    broker: Server | None = None  # none: the embedded one, which the launcher runs
    postgres: Postgres | None = None
    disk: Path | None = None  # the small disk that the storage is on
    poison: set[str] = field(default_factory=set)  # by hash
    injected: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    longest_stop_s: float = 0.0
    kept_until: float | None = None  # when housekeeping was last seen to have nothing more to do
    last_killed: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{time.monotonic() - self.began:8.2f} s  {text}\n")

    def main(self, name: str) -> int:
        """The main process of this name. Raises NotNow while there is none."""
        pid = self.installation.mains().get(name)
        if pid is None:
            raise NotNow(f"{name} does not run")
        return pid

    def kill(self, pids: Iterable[int], how: str) -> None:
        """kill -9 of these processes; what they were working on is watched from here on."""
        pids = list(pids)
        below = [child for pid in pids for child in children(pid)]
        killed = 0
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        if not killed:
            raise NotNow("it was gone already")
        held = held_by([*pids, *below])
        self.watch.killed(held, how)
        self.say(f"{how}: {pids}, at work on {[f'{one.rows._meta.verbose_name} {one.pk}' for one in held]}")

    def busy(self, mains: Iterable[str], wait_s: float = 1.0) -> dict[int, int]:
        """The processes of these workers that are at work, each with its main process; waits for some."""
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            running = set(running_workers(at_most=settings.MAX_ATTEMPTS - 1))
            there = self.installation.mains()
            found = {
                child: there[name]
                for name in mains
                if name in there
                for child in children(there[name])
                if child in running
            }
            if found:
                return found
            time.sleep(0.1)
        return {}


def held_by(pids: list[int]) -> list[Held]:
    """What these processes hold, or nothing while the database does not say."""
    try:
        return holding(pids)
    except DatabaseFault:
        connection.close()
        return []
