"""The tables as the migrations left them: in this database now, or in another when a backup of it was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from django.db import connection, models, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import StateApps

from detection.backup import BackupError

Migration: TypeAlias = tuple[str, str]

# What is of no use elsewhere or later: who is signed in, wrong log-ins that are counted, files that are being written,
# pictures of minutes, processes that live.
LEFT_OUT = {"detection.loosefile", "detection.trial", "detection.heartbeat"}
LEFT_OUT_APPS = {"sessions", "axes"}
# A system with none of these is empty, whatever the migrations have put into it.
FILLED = {"auth_user": "accounts", "detection_media": "media", "detection_camera": "cameras"}


def applied() -> list[Migration]:
    """The migrations that this database has, in order; raises BackupError where it has some of a newer version."""
    loader = MigrationLoader(connection)
    of_ours = {node for node in loader.applied_migrations if node[0] in loader.migrated_apps}
    unknown = sorted(of_ours - set(loader.graph.nodes))
    if unknown:
        raise BackupError(
            f"The database was set up by a newer version of Nightjar, which has {_listed(unknown)}: use that version."
        )
    if not of_ours:
        raise BackupError("The database is empty: there is nothing to back up. Check DATABASE_URL.")
    return sorted(of_ours)


def unknown_to_us(migrations: Sequence[Migration]) -> str:
    """Which of these migrations this version has not; empty where it has all."""
    return _listed(sorted(set(migrations) - set(MigrationLoader(None).graph.nodes)))


def apps_at(migrations: Sequence[Migration]) -> StateApps:
    """The models as these migrations describe them."""
    return MigrationLoader(None).project_state(_last_of_each_app(migrations)).apps


def tables(apps: StateApps) -> list[type[models.Model]]:
    """The models whose rows are backed up, those behind many-to-many fields as well."""
    return sorted(
        (
            model
            for model in apps.get_models(include_auto_created=True)
            if model._meta.managed
            and not model._meta.proxy
            and model._meta.label_lower not in LEFT_OUT
            and model._meta.app_label not in LEFT_OUT_APPS
        ),
        key=lambda model: model._meta.label_lower,
    )


def what_is_in_the_database() -> str:
    """What makes this database one that is in use, in words; empty where it is not."""
    there = set(connection.introspection.table_names())
    found = []
    for table, words in FILLED.items():
        if table in there:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")  # noqa: S608 (a name above)
                count = cursor.fetchone()[0]
            if count:
                found.append(f"{words} ({count:,})")
    return " and ".join(found)


def migrate_to(migrations: Sequence[Migration]) -> None:
    """Makes the tables of an empty database as they were with these migrations."""
    beyond = sorted(set(MigrationRecorder(connection).applied_migrations()) - set(migrations))
    known = [node for node in beyond if node[0] in MigrationLoader(None).migrated_apps]
    if known:
        raise BackupError(
            f"The database was set up by this version already ({_listed(known)}), and the backup is of an older one: "
            "restore it into a database without tables, which is then brought up to date."
        )
    executor = MigrationExecutor(connection)
    executor.migrate(_last_of_each_app(migrations))


@contextmanager
def snapshot() -> Iterator[None]:
    """All that is read in here is of one moment; nobody who writes waits for it."""
    mode = getattr(connection, "transaction_mode", None)
    if connection.vendor == "sqlite":
        # The usual mode takes the lock of whoever writes. In the write-ahead log a reader needs none.
        connection.transaction_mode = "DEFERRED"  # type: ignore[attr-defined]
    try:
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
    finally:
        if connection.vendor == "sqlite":
            connection.transaction_mode = mode  # type: ignore[attr-defined]


def _last_of_each_app(migrations: Sequence[Migration]) -> list[Migration]:
    """Those of these migrations that no other of the same app follows."""
    graph = MigrationLoader(None).graph
    there = set(migrations)
    followed = {
        parent.key
        for node in there
        for parent in graph.node_map[node].parents
        if parent.key[0] == node[0] and parent.key in there
    }
    return sorted(there - followed)


def _listed(migrations: Sequence[Migration]) -> str:
    names = [f"{app}.{name}" for app, name in migrations]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
