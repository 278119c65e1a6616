"""Waiting for the broker, as long as it takes: a worker or beat that waits for it is not stuck, and says so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

MOST_S = 2.0  # between two tries; Celery's own are up to 30 apart


def connected(connection: Any, wait: Callable[[], None]) -> Any:
    """The connection, once it is one. ``wait`` is called between two tries; the log has a line for all of them."""
    away_since: float | None = None

    def missed(error: Exception, interval_s: float) -> None:
        nonlocal away_since
        if away_since is None:
            away_since = time.monotonic()
            where = connection.as_uri()  # with no password in it
            log.error("the broker at %s cannot be reached, and is tried until it is back: %s", where, error)

    connection = connection.ensure_connection(
        missed, callback=wait, interval_start=1, interval_step=1, interval_max=MOST_S
    )
    if away_since is not None:
        log.warning("the broker is back after %.0f s", time.monotonic() - away_since)
    return connection
