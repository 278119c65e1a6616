"""Processes whose clock is wrong, by libfaketime."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.chaos.servers import Missing

CLOCK_OFF_S = 60


def faketime_library() -> str:
    """Raises Missing."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise Missing("There is no libfaketime here (apt-get install faketime).")
    return str(found[0])


def with_clock_off(command: str, ahead_s: int, folder: Path) -> str:
    """A command of a Procfile as it must read for its clock to be so many seconds ahead, or behind where negative.

    What it needs for that is put into the folder. Raises Missing.
    """
    settings = {
        "LD_PRELOAD": faketime_library(),
        "FAKETIME": f"{ahead_s:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # or threads that wait for Python's lock spin
        "PYTHONPATH": str(_python_of_that_process(folder / "clock")),
    }
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in settings.items()), command])


def ahead_in_words(ahead_s: int) -> str:
    return f"{abs(ahead_s)} s {'ahead' if ahead_s > 0 else 'behind'}"


def _python_of_that_process(folder: Path) -> Path:
    """A folder for PYTHONPATH, in which Python sleeps as it did before 3.11, and starts others without libfaketime.

    The call it sleeps by now is answered with “invalid argument” by a libfaketime that leaves the monotonic clock
    alone; and one that fakes that clock, too, breaks the waiting for locks. A program that reads no PYTHONPATH, as the
    watchdog, would end at its first sleep, and be started again every second.
    """
    folder.mkdir(exist_ok=True)
    lines = [
        "import os",
        "import select",
        "import time",
        "time.sleep = lambda seconds: select.select([], [], [], seconds) and None",
        'os.environ.pop("LD_PRELOAD", None)',
    ]
    (folder / "sitecustomize.py").write_text("\n".join([*lines, ""]))
    return folder
