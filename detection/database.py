"""What the database's own errors mean, and whether it is up to date."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from detection import disk

# SQLite says this, too, with the exception of a database that is away; but nobody can wait for it to pass.
NOT_MIGRATED = ("no such table", "no such column", "has no column named")


def is_away(error: BaseException) -> bool:
    """Whether it says that the database cannot be reached, or is too busy to answer: it may be asked again later."""
    if not isinstance(error, OperationalError | InterfaceError) or disk.says_full(error):
        return False
    return not any(words in str(error) for words in NOT_MIGRATED)


def pending_migrations() -> int:
    """How many migrations of this version the database lacks. Raises DatabaseError where it cannot be asked."""
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
