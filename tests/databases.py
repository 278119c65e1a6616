"""For tests that need a database which several connections share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from django.db import connection

on_postgresql = pytest.mark.skipif(
    connection.vendor == "sqlite",
    reason="Threads share one SQLite database in memory in tests; CI runs this on PostgreSQL.",
)


class Beside:
    """Does something in another thread and connection, and knows whether it has to wait for this one."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.came_of_it: object = None
        self._act = act
        self._thread = threading.Thread(target=self._run)
        self._pid: int | None = None
        self._thread.start()

    def _run(self) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                self._pid = cursor.fetchone()[0]
            self.came_of_it = self._act()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to see it
            self.came_of_it = error
        finally:
            connection.close()

    def wait_until_it_waits(self) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s", [self._pid or 0])
                if cursor.fetchone()[0]:
                    return
            time.sleep(0.01)
        raise AssertionError("it does not wait for the lock")

    def join(self) -> object:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.came_of_it
