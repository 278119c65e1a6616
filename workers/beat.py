"""Celery's beat, which gives signs of life: it is one loop, which sends what is due and sleeps."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from celery.beat import PersistentScheduler, SchedulingError
from celery.signals import beat_init

from detection.models import Heartbeat
from workers.heartbeat import TICK_S, Life
from workers.reconnect import connected

log = logging.getLogger(__name__)


class Scheduler(PersistentScheduler):  # type: ignore[misc]
    """Celery's, which says at every tick that it ticks."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._life: Life | None = None
        self._has_broker = True
        super().__init__(*args, **options)

    def begin(self) -> None:
        """From here on it is expected to tick."""
        self._life = Life(f"beat@{socket.gethostname()}", Heartbeat.Kind.BEAT)
        self._life.begin()

    def tick(self, *args: Any, **options: Any) -> float:
        """Sends what is due; answers for how long to sleep, which is never longer than the watchdog's second."""
        interval_s = float(super().tick(*args, **options))
        self._say()
        return min(interval_s, TICK_S)

    def apply_async(self, *args: Any, **options: Any) -> Any:
        try:
            sent = super().apply_async(*args, **options)
        except SchedulingError:
            self._has_broker = False
            raise
        self._has_broker = True
        return sent

    def close(self) -> None:
        super().close()
        if self._life is not None:
            self._life.end()
            self._life = None

    def _say(self) -> None:
        if self._life is not None:
            self._life.tick(has_broker=self._has_broker)

    def _ensure_connected(self) -> Any:
        return connected(self.connection, self._wait)

    def _wait(self) -> None:
        self._has_broker = False
        self._say()


@beat_init.connect
def _begin(sender: Any, **_: Any) -> None:
    begin = getattr(sender.scheduler, "begin", None)
    if begin is not None:
        begin()
    log.debug("beat is process %s", os.getpid())
