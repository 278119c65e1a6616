"""Kills the process that started it where that stands still: `python watchdog.py SECONDS NAME LOG_FORMAT`.

A worker, or beat, writes a byte to its standard input every second, from the loop that does the work. Where none comes
for SECONDS the loop is stuck, though the process lives: the watchdog asks where it stands, says so in one line, and
kills it; whoever started that process starts another. When its input ends, the process is gone, and so is the watchdog.

It is a process of its own because one that is stopped, or whose native code holds Python's lock, can do nothing for
itself. It counts its own seconds and not those of a clock: when the machine sleeps, both sleep. Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import time
from contextlib import suppress

TICK_S = 1.0
ANSWER_S = 1.0
FRAMES_SHOWN = 8
# The process answers the first with the lines it stands at, and leaves at the second (workers/watched.py). Signals that
# nobody else uses; other systems than Linux have none, and do without the answer.
WHERE = signal.SIGRTMIN + 8 if hasattr(signal, "SIGRTMIN") else None
LEAVE = signal.SIGRTMIN + 9 if hasattr(signal, "SIGRTMIN") else None
FRAME = re.compile(r'File "([^"]*)", line (\d+) in (\S+)')


def is_silent(main: int, limit: float) -> bool:
    """Waits until the process is silent for too long, or until it is gone: then false."""
    silent = 0.0
    while silent < limit:
        if _comes(TICK_S):
            if not os.read(0, 65536):
                return False
            silent = 0.0
            time.sleep(TICK_S / 10)
        else:
            silent += TICK_S
        if os.getppid() != main:
            return False
    return True


def where(main: int) -> str:
    """Where the process stands, as it says itself; one that does not even answer is stopped."""
    if WHERE is None:
        return "it is not known where"
    _send(main, WHERE)
    said = b""
    while _comes(ANSWER_S):
        data = os.read(0, 65536)
        if not data:
            break
        said += data
    frames = FRAME.findall(said.decode(errors="replace"))
    if not frames:
        return "it does not run at all, as if it were stopped"
    shown = [f"{name} ({'/'.join(path.split('/')[-2:])}:{line})" for path, line, name in frames[:FRAMES_SHOWN]]
    return "it stands at " + " < ".join(shown)


def say(text: str, form: str, name: str, watched: int) -> None:
    """As the other lines of the log (project/logs.py) of the process that it is about; to standard error always."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    told = os.environ.get("NIGHTJAR_TERMINAL")
    if form == "console" or (form == "auto" and (told == "1" if told else sys.stderr.isatty())):
        line = f"{at} [error] {text} [project.watchdog]"
    else:
        facts = {"timestamp": at, "level": "error", "event": text, "logger": "project.watchdog"}
        line = json.dumps(facts | {"process": name.partition("@")[0], "pid": watched})
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())


def kill(main: int) -> None:
    """The first process of a container cannot be killed from within; it has been told how to leave by itself."""
    _send(main, signal.SIGKILL)
    time.sleep(1.0)
    if os.getppid() == main and LEAVE is not None:
        _send(main, LEAVE)
        _send(main, signal.SIGCONT)


def _comes(within_s: float) -> bool:
    return bool(select.select([0], [], [], within_s)[0])


def _send(main: int, number: int) -> None:
    """As long as it is our parent the number is no other process's."""
    if os.getppid() == main:
        with suppress(ProcessLookupError):
            os.kill(main, number)


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_IGN)
    watched = os.getppid()
    limit, name = float(sys.argv[1]), sys.argv[2]
    if is_silent(watched, limit):
        text = f"{name} (process {watched}) has stood still for {limit:.0f} s and is killed: {where(watched)}."
        say(text, sys.argv[3], name, watched)
        kill(watched)


if __name__ == "__main__":
    main()
