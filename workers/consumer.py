"""The part of a worker that takes its messages, in Celery's words its consumer: its loop is what must go round."""

from __future__ import annotations

import os
from typing import Any

from celery.signals import worker_process_init, worker_shutdown
from celery.worker.consumer import Consumer as CelerysConsumer
from celery.worker.state import maybe_shutdown

from detection.models import Heartbeat
from workers.heartbeat import TICK_S, Life
from workers.reconnect import connected
from workers.watched import end_with

_life: Life | None = None  # of this worker
_main_pid = 0  # of its main process, which is that of this module when it makes its consumer


class Consumer(CelerysConsumer):  # type: ignore[misc]
    """Celery's, which says at every round that it goes round, and comes back soon after the broker has."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        global _life, _main_pid
        _main_pid = os.getpid()
        queues = sorted(self.app.amqp.queues.consume_from)
        _life = self._life = Life(self.hostname, Heartbeat.Kind.WORKER, queues, self._slots())
        self._life.begin()

    def _slots(self) -> int:
        return int(getattr(self.controller, "concurrency", 0) or 0)

    def register_with_event_loop(self, hub: Any) -> None:
        """A pool of processes: called at each connection, because a lost one clears the loop's timers."""
        super().register_with_event_loop(hub)
        self._life.tick()
        hub.timer.call_repeatedly(TICK_S, self._life.tick)

    def perform_pending_operations(self) -> None:
        """A pool of threads: called at every round of its loop, every two seconds at least."""
        if self.hub is None:
            self._life.tick()
        super().perform_pending_operations()

    def ensure_connected(self, conn: Any) -> Any:
        conn = connected(conn, self._wait)
        self.first_connection_attempt = False
        self.broker_connection_retry_attempt = 0
        return conn

    def _wait(self) -> None:
        maybe_shutdown()
        self._life.tick(has_broker=False)


@worker_shutdown.connect
def _say_goodbye(**_: Any) -> None:
    if _life is not None:
        _life.end()


@worker_process_init.connect
def _end_with_the_main_process(**_: Any) -> None:
    if _main_pid:
        end_with(_main_pid)
