"""The worker's side of the watchdog (project/watchdog.py): a byte for every round of the loop."""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress

from django.conf import settings

from project.watchdog import LEAVE, WHERE

log = logging.getLogger(__name__)

FIRST_PROCESS = 1  # of a container: signals from within kill it only where it has a handler of its own


class Watched:
    """Has this process watched by another, which kills it where ``tell`` is not called for WATCHDOG_S."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._watchdog: subprocess.Popen[bytes] | None = None
        os.register_at_fork(after_in_child=self._let_go)

    def tell(self) -> None:
        """Says that the loop goes round; starts the watchdog at first, and again where it is gone. Never waits."""
        if not settings.WATCHDOG_S:
            return
        if self._watchdog is None or self._watchdog.poll() is not None:
            self._start()
        if self._watchdog is not None and self._watchdog.stdin is not None:
            with suppress(BlockingIOError, BrokenPipeError):  # it is stopped, or it is gone: the next round starts one
                os.write(self._watchdog.stdin.fileno(), b".")

    def _start(self) -> None:
        script = settings.BASE_DIR / "project" / "watchdog.py"
        self._let_go()
        try:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", str(script), f"{settings.WATCHDOG_S:g}", self._name, settings.LOG_FORMAT],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
        except OSError as error:  # no memory for one just now; the next round tries again
            log.warning("the watchdog could not be started: %s", error)
            return
        assert self._watchdog.stdin is not None  # noqa: S101 (it was asked for)
        pipe = self._watchdog.stdin.fileno()
        os.set_blocking(pipe, False)
        _answer_through(pipe)

    def _let_go(self) -> None:
        """Closes the pipe: a child that keeps it would keep the watchdog from seeing that this process is gone."""
        if self._watchdog is not None and self._watchdog.stdin is not None:
            faulthandler_off()
            with suppress(OSError):
                self._watchdog.stdin.close()
            self._watchdog.stdin = None


def _answer_through(pipe: int) -> None:
    """How the watchdog's two signals are met, in C, because no Python runs in a process that is stuck.

    The first writes where the main thread stands; the second is sent to the first process of a container alone.
    """
    if WHERE is None or LEAVE is None:
        return
    faulthandler.register(WHERE, file=pipe, all_threads=False)
    if os.getpid() == FIRST_PROCESS:
        libc = ctypes.CDLL(None)
        libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
        libc.signal(LEAVE, ctypes.cast(libc._exit, ctypes.c_void_p))


def faulthandler_off() -> None:
    if WHERE is not None:
        faulthandler.unregister(WHERE)


def end_with(main: int) -> None:
    """In a process below: the kernel kills it when the worker's main process is gone, whatever it is at."""
    if sys.platform != "linux":  # elsewhere its pool's pipe says so, once it is read again
        return
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != main:  # gone in the moment between
        os._exit(1)
