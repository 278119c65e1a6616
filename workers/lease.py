"""Keeping a lease while a worker works."""

from __future__ import annotations

import logging
import os
import socket
import threading
from types import TracebackType
from typing import Any, Self

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connection

from detection.models import LeaseLost, Work

log = logging.getLogger(__name__)


def worker_name() -> str:
    """Which process on which machine."""
    return f"{socket.gethostname()}:{os.getpid()}"[:100]


class Keeper:
    """Renews a lease from a thread of its own for as long as the work goes on, whatever the work waits for.

    ``check`` is called by the work at every step; it raises LeaseLost once the row is no longer this worker's: it was
    cancelled, or removed, or the lease ran out while the machine slept.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._progress: dict[str, Any] = {}
        self._lost: LeaseLost | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease-{work.pk}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def check(self, **progress: Any) -> None:
        """Notes the progress for the next renewal. Raises LeaseLost when the work is to be dropped."""
        self._progress = progress
        if self._lost is not None:
            raise self._lost

    def _renew(self) -> None:
        try:
            while not self._over.wait(settings.RENEW_S):
                try:
                    self._work.renew(**self._progress)
                except LeaseLost as lost:
                    self._lost = lost
                    return
                except DatabaseFault:
                    # Away for a moment, perhaps: the work goes on, and its last write decides whether it counts. A
                    # connection that broke stays broken; the next renewal makes a new one.
                    log.warning("could not renew the lease of %s", self._work.pk, exc_info=True)
                    connection.close()
        finally:
            connection.close()
