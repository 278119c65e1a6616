"""What is looked at. None of it touches a camera."""

from __future__ import annotations

import os
import socket

from celery import current_app
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection

from detection import disk
from detection.database import pending_migrations
from detection.health.probing import Probe, Unwell
from detection.health.records import read_records
from detection.health.roles import ALL_QUEUES
from detection.storage import INCOMING, part_in


def _database() -> str:
    """Which it is, such as PostgreSQL 15.6."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return f"{connection.display_name} {'.'.join(map(str, connection.get_database_version()))}"


def _migrations() -> None:
    if pending := pending_migrations():
        raise Unwell(f"The database is not up to date ({pending} migrations): run `manage.py prepare`.")


def _broker() -> None:
    with current_app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=0)


def _queues() -> dict[str, int]:
    """How many messages wait in each queue that there is."""
    waiting: dict[str, int] = {}
    with current_app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=0)
        for queue in ALL_QUEUES:
            try:
                with broker.channel() as channel:
                    waiting[queue] = int(channel.queue_declare(queue, passive=True).message_count)
            except broker.channel_errors:
                continue  # nothing was ever sent there
    return waiting


def _storage() -> None:
    """Writes and deletes a byte the way an upload is written, where check_storage does not look."""
    with part_in(settings.INCOMING_DIR) as part:
        part.write(b"1")
        part.flush()
    try:
        default_storage.path("")
    except NotImplementedError:  # a bucket
        name = f"{INCOMING}/health-{socket.gethostname()}-{os.getpid()}"
        default_storage.delete(default_storage.save(name, ContentFile(b"1")))


def _disk() -> dict[str, int]:
    free = disk.free_bytes()
    if not free:
        raise Unwell("How much room the disk has cannot be told.")
    if disk.is_nearly_full():
        raise Unwell("The disk is nearly full, and new files are refused: make room on it, or remove media.", free)
    return free


DATABASE = Probe("database", _database, "The database cannot be reached")
MIGRATIONS = Probe("migrations", _migrations, "Whether the database is up to date cannot be told")
BROKER = Probe("broker", _broker, "The broker cannot be reached")
STORAGE = Probe("storage", _storage, "The storage cannot be written to")
DISK = Probe("disk", _disk, "How much room the disk has cannot be told")
QUEUES = Probe("queues", _queues, "The broker does not tell its queues")
RECORDS = Probe("records", read_records, "The records cannot be read")

READY = (DATABASE, MIGRATIONS, BROKER, STORAGE, DISK)
SYSTEM = (*READY, QUEUES, RECORDS)
# Without these no page can be answered. With the others away it can, and another process would be no better off.
NEEDED = ("database", "migrations")
