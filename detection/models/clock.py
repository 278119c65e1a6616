"""The time that counts."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connection


def now() -> datetime:
    """The database's time, as for leases: a machine whose clock is wrong must not plan captures by it."""
    if connection.vendor != "postgresql":  # SQLite has the clock of this machine
        return datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment.astimezone(UTC)
