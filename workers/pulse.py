"""Whether the processes of a worker get on with their work; one that does not is ended by the main process.

A process cannot tell this of itself: native code that hangs may hold Python's global lock, and then no thread of the
process runs. So each writes its signs of life into memory that it shares with the main process, which looks at them.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
import struct
import threading
import time
from dataclasses import dataclass
from typing import Any

from billiard.process import current_process
from celery.signals import worker_ready
from django.conf import settings

from workers import crash, stopping

log = logging.getLogger(__name__)

BEAT_S = 0.5
STOP_END_S = 8.0  # after the word to stop; work that was asked to come back has done so by then (workers/lease.py)
STOPPED = "Its worker was stopped; another goes on with it."
HUNG = "It hung in native code, and its process was ended."

# Forked processes share it. One slot for each process of the pool: its id, its last beat, when its work last said that
# it gets on. Times are of the clock that all processes of a machine share; 0: never.
SLOTS, _SLOT = 256, struct.Struct("qdd")
_slots = mmap.mmap(-1, SLOTS * _SLOT.size)
_mine: int | None = None  # the slot of this process, once it has worked


def working(alive_at: float) -> None:
    """Says when the work of this process last got on; infinity where it waits for others, 0 where there is none.

    Of no effect in a process that is no child of a worker.
    """
    if _mine is not None or _begin():
        struct.pack_into("d", _slots, (_mine or 0) * _SLOT.size + 16, alive_at)


def _begin() -> bool:
    global _mine
    index = getattr(current_process(), "index", None)
    if index is None or index >= SLOTS:
        return False
    _mine = index
    _SLOT.pack_into(_slots, index * _SLOT.size, os.getpid(), time.monotonic(), 0.0)
    threading.Thread(target=_beat, name="pulse", daemon=True).start()
    return True


def _beat() -> None:
    at = (_mine or 0) * _SLOT.size + 8
    while True:
        struct.pack_into("d", _slots, at, time.monotonic())
        time.sleep(BEAT_S)


@dataclass(frozen=True, slots=True)
class Sign:
    """The signs of life of one process."""

    pid: int
    beat_at: float
    alive_at: float

    def trouble(self, now: float) -> str:
        """Why the process is to be ended; empty where it is not."""
        if not self.alive_at:
            return ""
        if stopping.said_for_s() > STOP_END_S:
            return STOPPED
        if now - self.beat_at > settings.LEASE_S / 2:  # before its lease runs out, and others hang in the same way
            return HUNG
        if now - self.alive_at > settings.STALL_S:
            return f"It made no progress for {settings.STALL_S:.0f} seconds, and its process was ended."
        return ""


def signs() -> list[Sign]:
    return [Sign(*slot) for slot in _SLOT.iter_unpack(_slots[:])]


class Attendant:
    """Looks after the processes of a pool, in the worker's main process."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._suspects: set[int] = set()
        self._ended: set[int] = set()

    def look(self) -> None:
        """Ends those that were in trouble at the last look, too: one that stood still may have woken up just now."""
        ours = {process.pid for process in self._pool._pool}
        self._ended &= ours  # the pool takes a second to see that one is gone
        now = time.monotonic()
        troubles = {sign.pid: trouble for sign in signs() if sign.pid in ours and (trouble := sign.trouble(now))}
        for pid in (troubles.keys() & self._suspects) - self._ended:
            end(pid, troubles[pid])
            self._ended.add(pid)
        self._suspects = set(troubles)

    def attend(self) -> None:
        while True:
            time.sleep(BEAT_S)
            try:
                self.look()
            except Exception:  # whatever it is, the next look may find a process to end
                log.exception("could not look after the processes")


def end(pid: int, why: str) -> None:
    """The rows first, so that they tell why; then the process, which the pool replaces."""
    log.error("process %s is ended: %s", pid, why)
    crash.give_back(crash.process_name(pid), why, counted=why != STOPPED)
    os.kill(pid, signal.SIGKILL)


@worker_ready.connect
def _attend(sender: Any = None, **_: Any) -> None:
    pool = getattr(getattr(sender, "pool", None), "_pool", None)
    if hasattr(pool, "_pool"):  # a pool of processes, and not of threads
        threading.Thread(target=Attendant(pool).attend, name="attendant", daemon=True).start()
