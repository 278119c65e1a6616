"""Whether the broker was away a moment ago: then nobody waits for it again, and the sweep sends what was not sent.

Of all threads of a process one at a time finds out whether it is back: where it hangs, each of them would wait.
"""

from __future__ import annotations

import threading
import time

FOR_S = 2.0
FINDS_OUT_S = 15.0  # who finds out takes no longer; a thread that died of it would be followed by another


class Away:
    """What this process knows of the broker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: float | None = None  # away till then; then one finds out

    def is_so(self) -> bool:
        """False as well for the one who is to find out, and has to ``note`` what came of it."""
        if self._until is None:
            return False
        with self._lock:
            moment = time.monotonic()
            if self._until is None:
                return False
            if moment < self._until:
                return True
            self._until = moment + FINDS_OUT_S
            return False

    def note(self) -> None:
        """A message could not be sent."""
        with self._lock:
            self._until = time.monotonic() + FOR_S

    def is_over(self) -> None:
        """A message was sent, or came."""
        with self._lock:
            self._until = None
