"""Signs of life of this process: a byte to its watchdog each second, a row (`Heartbeat`) every HEARTBEAT_S.

Both come from the loop that does the work, so that a process whose loop is stuck gives none, however alive its threads
are. The row is written by a thread, because the loop must not wait for a database that is away; but the thread writes
only what the loop has said since.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil
from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connections

from detection.models import Heartbeat
from detection.models.heartbeat import Sign
from workers.watched import Watched

log = logging.getLogger(__name__)

TICK_S = 1.0  # how often the loop says so
FORK_WAITS_S = 0.5
GOODBYE_S = 2.0


class Life:
    """The signs of life of one process."""

    def __init__(self, name: str, kind: str, queues: Sequence[str] = (), slots: int = 0) -> None:
        self.name = name
        self.queues = list(queues)
        self.slots = slots
        self._kind = kind
        self._held = False
        self._began_at = time.monotonic()
        self._watched = Watched(name)
        self._noted_at = 0.0
        self._has_broker: bool | None = None
        self._said = threading.Event()
        self._is_over = False
        self._is_away = False  # the database
        self._has_failed = False  # which nobody expected
        self._writes = threading.Lock()
        self._thread: threading.Thread | None = None
        # A fork in the middle of a connection would leave its locks taken in the child for ever.
        os.register_at_fork(before=self._wait_a_moment, after_in_parent=self._go_on, after_in_child=self._forked)

    def begin(self) -> None:
        """From here on it is expected to tick."""
        self._watched.tell()

    def tick(self, *, has_broker: bool = True) -> None:
        """The loop went round. Quick, and never waits."""
        self._watched.tell()
        moment = time.monotonic()
        if moment - self._noted_at >= settings.HEARTBEAT_S or has_broker != self._has_broker:
            self._noted_at, self._has_broker = moment, has_broker
            self._said.set()
        if not self._is_over and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._write, name="heartbeat", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """The process stops because it was told to: nobody is to miss it."""
        self._is_over = True
        self._said.set()
        if self._thread is not None:
            self._thread.join(GOODBYE_S)

    def sign(self) -> Sign:
        memory = memory_bytes()
        return Sign(
            name=self.name[:200],
            kind=self._kind,
            host=socket.gethostname()[:150],
            pid=os.getpid(),
            version=settings.CODE_VERSION,
            queues=self.queues,
            slots=self.slots,
            memory_bytes=sum(memory),
            largest_bytes=max(memory, default=0),
            has_broker=bool(self._has_broker),
            up_s=int(time.monotonic() - self._began_at),
        )

    def _write(self) -> None:
        is_over = False
        while not is_over:
            self._said.wait()
            self._said.clear()
            is_over = self._is_over  # which may change while the sign before is written
            with self._writes:
                try:
                    if is_over:
                        Heartbeat.goodbye(self.name[:200], os.getpid())
                    else:
                        Heartbeat.beat(self.sign())
                except DatabaseFault as error:
                    self._note_away(error)
                except Exception as error:  # noqa: BLE001 (whatever it is, the next sign may be written)
                    self._note_failed(error)
                else:
                    self._note_back()
                finally:
                    connections.close_all()  # of this thread; processes that are forked must not share it

    def _note_away(self, error: DatabaseFault) -> None:
        if not self._is_away:
            log.warning("the sign of life of %s could not be written, and is tried again: %s", self.name, error)
        self._is_away = True

    def _note_failed(self, error: Exception) -> None:
        if not self._has_failed:
            log.error("the sign of life of %s could not be written, and is tried again", self.name, exc_info=error)
        self._has_failed = True

    def _note_back(self) -> None:
        if self._is_away or self._has_failed:
            log.info("the signs of life of %s are written again", self.name)
        self._is_away = self._has_failed = False

    def _wait_a_moment(self) -> None:
        self._held = self._writes.acquire(timeout=FORK_WAITS_S)

    def _go_on(self) -> None:
        if self._held:
            self._writes.release()

    def _forked(self) -> None:
        """The child gives no signs of life of its own; see workers/pulse.py for those."""
        self._is_over = True
        self._writes = threading.Lock()


def memory_bytes() -> list[int]:
    """What this process and each of those below it have of the memory; shared pages count for each."""
    this = psutil.Process()
    found = []
    with suppress(psutil.Error):  # one that ends in this moment
        for process in [this, *this.children(recursive=True)]:
            with suppress(psutil.Error):
                found.append(int(process.memory_info().rss))
    return found
