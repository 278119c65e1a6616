"""Looking at the real processes that a test started."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

MARK = "NIGHTJAR_TEST_MARK"


def marked(mark: str) -> dict[int, str]:
    """The command line of each living process that has this mark in its environment, by process id."""
    found: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                if words != [b""]:  # a zombie has none
                    found[int(folder.name)] = b" ".join(words).decode()
    return found


def kill_marked(mark: str) -> None:
    for pid in marked(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_for(what: str, holds: Callable[[], object], limit_s: float = 10.0) -> float:
    """Waits until something holds and returns how many seconds that took; fails where it takes too long."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < limit_s, f"not within {limit_s} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - started
