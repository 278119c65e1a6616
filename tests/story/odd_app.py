"""The project's Celery application, for workers that go wrong: `celery -A tests.story.odd_app worker`.

There is no hook for this in the product. With ODD=leaks, each look at a chunk keeps 60 MB for ever; with ODD=stuck, the
loop of the worker's main process waits for ever, once in the life of the installation. With ODD=holds, each process of
the pool comes to stand in native code that keeps the lock of Python, so that it reads and hears nothing any more.
"""

from __future__ import annotations

import ctypes
import os
import threading
from functools import wraps
from pathlib import Path
from typing import Any

from celery.signals import worker_process_init, worker_ready

from project.celery import app

__all__ = ["app"]

LEAK_BYTES = 60_000_000
kept: list[bytes] = []


@worker_process_init.connect
def leak(**_: Any) -> None:
    from workers import steps

    if os.environ.get("ODD") != "leaks":
        return
    look = steps.detect

    @wraps(look)
    def look_and_leak(pk: int) -> Any:
        kept.append(os.urandom(1) * LEAK_BYTES)
        return look(pk)

    steps.detect = look_and_leak


@worker_process_init.connect
def hold(**_: Any) -> None:
    if os.environ.get("ODD") == "holds":  # a moment later, when the main process knows that it has come up
        threading.Timer(2.0, stand_in_native_code).start()


def stand_in_native_code() -> None:
    """Takes a lock of the system's twice, without giving up Python's: no signal gets it out of there."""
    mutex = ctypes.create_string_buffer(64)  # zeros: one that nobody has
    lock = ctypes.PyDLL(None).pthread_mutex_lock
    lock(mutex)
    lock(mutex)


@worker_ready.connect
def stand_still(sender: Any, **_: Any) -> None:
    was_here = Path(os.environ["DATA_DIR"]) / "was-stuck"
    if os.environ.get("ODD") == "stuck" and not was_here.exists():
        was_here.touch()
        sender.call_soon(threading.Event().wait)
