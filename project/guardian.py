"""Stops what the launcher leaves behind when it is killed: `python guardian.py SECONDS GROUP…`.

It is born knowing the process groups that live; the launcher tells it, line by line on its standard input, which are
new (`+123`) and which are gone (`-123`). When that input ends, the launcher is gone: every group still there is asked
to stop, and after SECONDS it is killed. It is a process of its own because nobody can do anything after `kill -9` of
himself, and it is told of groups, not only of processes, because their children must go too. Standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # macOS answers with the second for a group of zombies
        return False
    return True


def stop(groups: Iterable[int], grace_s: float) -> None:
    """Asks the leader of each group to stop, waits, and kills what is left of the groups."""
    groups = set(groups)
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(group, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while any(alive(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.1)
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups = {int(group) for group in sys.argv[2:]}
    for line in sys.stdin:
        (groups.add if line.startswith("+") else groups.discard)(int(line[1:]))
    stop(groups, float(sys.argv[1]))


if __name__ == "__main__":
    main()
