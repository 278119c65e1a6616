"""Keeping a lease while a worker works."""

from __future__ import annotations

import contextvars
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connection

from detection.models import LeaseLost, Work
from workers import pulse, stopping
from workers.crash import process_name

log = logging.getLogger(__name__)

# After the word to stop: work that ends within this is finished, the rest is handed back.
STOP_WORK_S = 4.0


def worker_name() -> str:
    """Which process on which machine."""
    return process_name(os.getpid())


class Keeper:
    """Renews a lease from a thread of its own for as long as the work goes on, whatever the work waits for.

    ``check`` is called by the work at every step; it raises LeaseLost once the row is no longer this worker's (it was
    cancelled, or removed, or the lease ran out while the machine slept), and WorkerStops where the worker is to stop
    and the work did not end in time.

    What the work says here is also what the worker's main process looks at (workers/pulse.py).
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._began_at = time.monotonic()
        self._progress: dict[str, Any] = {}
        self._over_for: LeaseLost | None = None
        self._over = threading.Event()
        # In a copy of the context: what it logs has the correlation id of the work.
        keep = partial(contextvars.copy_context().run, self._keep)
        self._thread = threading.Thread(target=keep, name=f"lease-{work.pk}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pulse.working(0)
        self._over.set()
        self._thread.join()

    @property
    def age_s(self) -> float:
        """How long the work has gone on."""
        return time.monotonic() - self._began_at

    def check(self, **progress: Any) -> None:
        """Notes the progress for the next renewal. Raises LeaseLost or WorkerStops when the work is to be dropped."""
        self._progress = progress
        pulse.working(time.monotonic())
        if self._over_for is not None:
            raise self._over_for
        if stopping.said_for_s() > STOP_WORK_S:
            raise stopping.WorkerStops

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what may take long with no sign of life and does not hang: a file on its way from or to a bucket."""
        pulse.working(float("inf"))
        try:
            yield
        finally:
            self.check(**self._progress)

    def _keep(self) -> None:
        try:
            while not self._over.wait(settings.RENEW_S):
                try:
                    self._work.renew(**self._progress)
                except LeaseLost as lost:
                    self._over_for = lost
                    return
                except DatabaseFault:
                    # Away for a moment, perhaps: the work goes on, and its last write decides whether it counts. A
                    # connection that broke stays broken; the next renewal makes a new one.
                    log.warning("could not renew the lease of %s", self._work.pk, exc_info=True)
                    connection.close()
        finally:
            connection.close()
