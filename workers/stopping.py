"""The word that this worker is to stop, from its main process to the processes that do its work.

Celery's own stop waits for what is running, without a limit and without telling it. So the work looks at this word at
every sign of life, and hands back what it will not finish in time.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import threading
import time
from typing import Any

from celery.signals import worker_shutting_down

# Memory that a process shares with those it forks: when the word was said, by a clock that they share, too; 0 before.
_said_at = mmap.mmap(-1, 8)


# By then all work is done, handed back or ended (workers/lease.py).
GONE_AFTER_S = 10.0


def say() -> None:
    """Tells all processes of this worker to stop."""
    _said_at[:] = struct.pack("d", time.monotonic())


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    """Celery's stop may wait for ever where one of its processes was killed before; then the main process just goes."""
    say()
    leaving = threading.Timer(GONE_AFTER_S, os.kill, (os.getpid(), signal.SIGKILL))
    leaving.daemon = True
    leaving.start()


def said_for_s() -> float:
    """How long ago this worker was told to stop, in seconds; 0 where it was not."""
    (said_at,) = struct.unpack("d", _said_at[:])
    return time.monotonic() - said_at if said_at else 0.0


def is_said() -> bool:
    """Whether this worker is to stop."""
    return said_for_s() > 0


def unsay() -> None:
    """For tests."""
    _said_at[:] = bytes(8)


class WorkerStops(Exception):
    """The work is handed back, because its worker stops."""
