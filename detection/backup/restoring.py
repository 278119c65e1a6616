"""Restoring a backup into an empty system, of the same or a newer version; and checking one."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import Storage, default_storage
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import IntegrityError, connection, models, transaction

from detection.backup import BackupError, manifest, mending, rows, state
from detection.backup.files import Copied, Fate, Index, check, place, put, read_list
from detection.backup.manifest import FILES, LIST, Manifest
from detection.backup.names import named_in
from detection.disk import free_at
from detection.fields import Secret, WrongKey
from detection.models.intake import sha256_of
from detection.models.retention import size_words
from detection.storage import INCOMING, DurableFileSystemStorage
from detection.stored import BLOCK, blocks_of, files_in, location, top_folders

SAYS_EVERY_S = 10.0
Say = Callable[[str], None]

WRONG_KEY = (
    "CAMERA_KEYS is not the key that was set when this backup was made: with it the addresses of the cameras cannot be "
    "decrypted. Set the one that you kept apart from the backup (in .env), then restore again."
)


def findings(folder: Path, backup: Path, say: Say) -> Iterator[str]:
    """All that is wrong with a backup: reads everything, changes nothing, needs no database."""
    about = Manifest.read(backup)
    yield from _wrong_parts(about, backup)
    say(f"Rows: {sum(part.rows for part in about.tables.values()):,} in {len(about.tables)} tables.")
    said_at = time.monotonic()
    for count, copied in enumerate(read_list(backup / LIST), start=1):
        if copied.is_there and (wrong := check(copied, folder / FILES)):
            yield wrong
        if time.monotonic() - said_at > SAYS_EVERY_S:
            said_at = time.monotonic()
            say(f"Files: {count:,} of {about.files.rows:,} looked at.")
    say(f"Files: {about.files.rows:,}, {size_words(about.files_bytes)}.")


def _wrong_parts(about: Manifest, backup: Path) -> Iterator[str]:
    parts = {f"{table}.jsonl.gz": part for table, part in about.tables.items()}
    for name, part in {**parts, LIST: about.files}.items():
        path = place(backup, name)
        try:
            if path.stat().st_size != part.bytes or sha256_of(path) != part.sha256:
                yield f"{path} is damaged: its SHA-256 is not the one in the manifest."
                continue
            lines = sum(1 for _ in rows.read_lines(path)) - 1
        except OSError as error:
            yield f"{path} cannot be read ({error.strerror})."
        except BackupError as error:
            yield str(error)
        else:
            if lines != part.rows:
                yield f"{path} is damaged: it has {lines:,} rows instead of {part.rows:,}."


def why_not_here(about: Manifest) -> str:
    """Why this backup cannot be restored by this version with these settings; empty where it can."""
    unknown = state.unknown_to_us(about.migrations)
    if unknown:
        return (
            f"This backup was made by a newer version of Nightjar ({about.code_version}), which has {unknown}: this is "
            f"{settings.CODE_VERSION}. Install that version, or a later one, and restore with it."
        )
    if about.secrets and not set(about.keys) & {manifest.fingerprint(key) for key in settings.CAMERA_KEYS}:
        return WRONG_KEY
    return ""


class Restorer:
    """One restore. Whatever ends it, the system is either empty still, or all of the backup is in it.

    The files come first, the rows in one transaction after them: what was broken off goes on where it was.
    """

    def __init__(self, folder: Path, backup: Path, say: Say) -> None:
        self.folder, self.backup, self.say = folder, backup, say
        self.about = Manifest.read(backup)
        self.storage: Storage = default_storage
        self.lost: dict[Fate, list[str]] = {Fate.REMOVED: [], Fate.MISSING: [], Fate.DAMAGED: []}

    def run(self) -> None:
        """Raises BackupError where it cannot be."""
        if why := why_not_here(self.about):
            raise BackupError(why)
        if filled := state.what_is_in_the_database():
            raise BackupError(
                f"The database is in use: it has {filled}. A backup is restored into an empty system: set DATABASE_URL "
                "(or DATA_DIR) to a new one."
            )
        for wrong in _wrong_parts(self.about, self.backup):
            raise BackupError(wrong)
        with Index() as listed:
            listed.add(read_list(self.backup / LIST))
            self._require_storage(listed)
            self._store(listed)
            self._load(listed)
        self.say("Bringing the database up to date with this version.")
        call_command("migrate", interactive=False, verbosity=0)

    # Files

    def _require_storage(self, listed: Index) -> None:
        """Only files of this backup may lie in the storage, as where a restore was broken off."""
        there = there_bytes = 0
        for folder in top_folders(self.storage):
            if folder == INCOMING:
                continue
            for file in files_in(self.storage, folder):
                if listed.get(file.name) is None:
                    raise BackupError(
                        f"The storage {location(self.storage)} is in use: it has {file.name}, which is not of this "
                        "backup. A backup is restored into an empty system: set STORAGE_URL to a new folder or bucket."
                    )
                there += 1
                there_bytes += file.bytes
        self._require_room(self.about.files_bytes - there_bytes)
        if there:
            self.say(f"{there:,} files are in the storage already, from a restore that was broken off.")

    def _require_room(self, needed: int) -> None:
        try:
            free = free_at(Path(self.storage.path("")))
        except NotImplementedError:
            return  # a bucket takes what comes
        if free is not None and needed > free:
            raise BackupError(
                f"The files of the backup need {size_words(needed)}, and {location(self.storage)} has "
                f"{size_words(free)} left: make room, or set STORAGE_URL to another disk."
            )

    def _store(self, listed: Index) -> None:
        stored, said_at = 0, time.monotonic()
        if isinstance(self.storage, DurableFileSystemStorage):
            self.storage.incoming.mkdir(parents=True, exist_ok=True)
        for copied in listed:
            if copied.fate != Fate.FINE:
                self.lost[copied.fate].append(copied.name)
            if copied.is_there:
                self._store_one(copied)
                stored += 1
            if time.monotonic() - said_at > SAYS_EVERY_S:
                said_at = time.monotonic()
                self.say(f"Files: {stored:,} of {self.about.files.rows:,}.")
        os.sync()  # a row that names a file is never on the disk before it
        self.say(f"Files: {stored:,}, {size_words(self.about.files_bytes)}.")

    def _store_one(self, copied: Copied) -> None:
        if self._is_stored(copied):  # by a restore that was broken off
            return
        if wrong := check(copied, self.folder / FILES):
            raise BackupError(wrong)
        with place(self.folder / FILES, copied.name).open("rb") as source:
            if isinstance(self.storage, DurableFileSystemStorage):
                # Not by the storage itself, which waits for the disk with each file: all are synced at once in the end.
                target = Path(self.storage.path(copied.name))
                put(iter(partial(source.read, BLOCK), b""), target, self.storage.incoming, mode=0o640)
            else:
                self.storage.save(copied.name, File(source))

    def _is_stored(self, copied: Copied) -> bool:
        if not self.storage.exists(copied.name) or self.storage.size(copied.name) != copied.bytes:
            return False
        digest = hashlib.sha256()
        for block in blocks_of(self.storage, copied.name):
            digest.update(block)
        return digest.hexdigest() == copied.sha256

    # Rows

    def _load(self, listed: Index) -> int:
        apps = state.apps_at(self.about.migrations)
        tables = state.tables(apps)
        by_name = {model._meta.label_lower: model for model in tables}
        if strange := sorted(set(self.about.tables) ^ set(by_name)):
            raise BackupError(f"The backup is damaged: it has not the tables of its migrations ({', '.join(strange)}).")
        state.migrate_to(self.about.migrations)
        count = 0
        try:
            with transaction.atomic():
                rows.empty(tables)
                for table in self.about.tables:
                    count += self._load_table(by_name[table], listed)
                mending.free_what_was_held(apps)
                mending.forget_removed(apps, self.lost[Fate.REMOVED])
                _reset_sequences(tables)
        except IntegrityError as error:
            reason = str(error).partition("\n")[0]
            raise BackupError(f"The backup is damaged: its rows do not belong together ({reason}).") from error
        self.say(f"Rows: {count:,} in {len(tables)} tables.")
        return count

    def _load_table(self, model: type[models.Model], listed: Index) -> int:
        table, encrypted = model._meta.label_lower, rows.secrets_in(model)

        def see(row: rows.Row) -> None:
            for column in encrypted:
                try:
                    Secret(str(row[column]) if row[column] else "").reveal()
                except WrongKey:
                    raise BackupError(WRONG_KEY) from None
            for name, _ in named_in(table, row):
                if not isinstance(name, str) or listed.get(name) is None:
                    raise BackupError(f"The backup is damaged: its table {table} names a file that it does not list.")

        return rows.load(model, self.backup / f"{table}.jsonl.gz", see)


def _reset_sequences(tables: list[type[models.Model]]) -> None:
    """The next row of a table gets a number that none has."""
    with connection.cursor() as cursor:
        for sql in connection.ops.sequence_reset_sql(no_style(), tables):
            cursor.execute(sql)
