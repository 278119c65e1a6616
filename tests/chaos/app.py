"""The Celery application of the chaos test's workers: the project's own, but poison works in it.

`celery -A tests.chaos.app worker`. There is no hook for this in the product: the functions of the vision code that open
a media are wrapped here, once in each process, and what they do for a file that is poison is what broken files do to
native libraries: crash, eat memory, never return.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

from celery.signals import task_prerun, worker_init

from project.celery import app
from tests.chaos.media import poison_of

__all__ = ["app"]

MEMORY_BYTES = 300 * 1024**2


def crash() -> None:
    ctypes.string_at(0)


def eat_memory() -> None:
    """As if the kernel had chosen this process when memory ran out."""
    eaten = bytearray(MEMORY_BYTES)
    for page in range(0, len(eaten), 4096):
        eaten[page] = 1
    os.kill(os.getpid(), signal.SIGKILL)


def hang(library: ctypes.CDLL) -> NoReturn:
    """Waits in native code for a lock that this thread holds itself; no signal's handler in Python gets a turn."""
    lock = ctypes.create_string_buffer(128)  # all zeros is an unlocked mutex of glibc's plain kind
    while True:
        library.pthread_mutex_lock(lock)


def leave() -> None:
    os._exit(3)


# CDLL lets other threads run while it calls, PyDLL does not.
WAYS: dict[str, Callable[[], object]] = {
    "crash": crash,
    "memory": eat_memory,
    "endless": lambda: hang(ctypes.CDLL(None)),
    "greedy": lambda: hang(ctypes.PyDLL(None)),
    "exit": leave,
    "crash-plan": crash,
    "crash-finish": crash,
    "crash-copy": crash,
}
LOOKING = ("crash", "memory", "endless", "greedy", "exit")
TASKS = ("analyse", "analyse_chunk", "finish", "make_proxy")
_armed: list[bool] = []


@worker_init.connect
def load_libraries(sender: Any = None, **_: Any) -> None:
    """In the main process already, so that processes that are killed every few seconds die at work, not at imports."""
    if not str(sender).startswith("proxy@"):
        import trackers  # noqa: F401 (it brings most of what takes time)


@task_prerun.connect
def arm(sender: Any = None, **_: Any) -> None:
    """Lets poison work in this process, before its first task of the kinds that open a media."""
    if _armed or sender is None or sender.name.rpartition(".")[2] not in TASKS:
        return
    _armed.append(True)
    from detection.vision import pipeline
    from workers import steps

    _poisonous(pipeline, "detect", LOOKING)
    _poisonous(pipeline, "thumbnails", ("crash-finish",))
    _poisonous(steps, "plan_spans", ("crash-plan",))
    _poisonous(steps, "make_proxy", ("crash-copy",))


def _poisonous(module: Any, name: str, poisons: tuple[str, ...]) -> None:
    works = getattr(module, name)

    @wraps(works)
    def wrapped(path: Path, *args: Any, **kwargs: Any) -> Any:
        poison = poison_of(path)
        if poison in poisons:
            WAYS[poison]()
        return works(path, *args, **kwargs)

    setattr(module, name, wrapped)
