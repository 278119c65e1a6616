"""Making a backup: the rows as they were in one moment, then the files that they name."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.core.files.storage import Storage, default_storage
from django.db import connection
from django.db.migrations.state import StateApps

from detection.backup import BackupError, manifest, rows, state
from detection.backup.files import COLUMNS, Copied, Fate, Index, batched, check, place, put, read_list
from detection.backup.manifest import FILES, LIST, NAME, UNFINISHED, Manifest, Part
from detection.backup.names import NAMING, is_safe, named_in
from detection.storage import is_of_bucket
from detection.stored import blocks_of

SAYS_EVERY_S = 10.0
AT_ONCE = 500
Say = Callable[[str], None]


@dataclass
class Made:
    """What came of it; ``wrong`` are files that the storage has lost or damaged, ``secrets`` what is encrypted."""

    name: str
    secrets: int = 0
    copied: int = 0
    copied_bytes: int = 0
    there_before: int = 0
    removed: int = 0
    wrong: list[Copied] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def make(folder: Path, keep: int, say: Say) -> Made:
    """Makes a backup in this folder and drops the oldest, so that ``keep`` are left (0: all). Raises BackupError."""
    with manifest.held(folder), _plainly(folder):
        left_behind = [entry for entry in folder.iterdir() if entry.name.startswith(UNFINISHED)]
        for unfinished in left_behind:
            shutil.rmtree(unfinished)
        name = _new_name(folder)
        unfinished = folder / f"{UNFINISHED}{name}"
        unfinished.mkdir(mode=0o700)
        try:
            made = _Maker(folder, unfinished, name, say).make()
            os.sync()  # once for all files: what has its name after a power cut is whole
            unfinished.rename(folder / name)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        made.dropped = manifest.backups(folder)[:-keep] if keep else []
        manifest.remove(folder, made.dropped)
        if made.dropped or left_behind:
            _drop_files_of_none(folder)
    return made


def _new_name(folder: Path) -> str:
    """The time; with a number where two are made in one second."""
    name = stamp = f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}"
    number = 1
    while (folder / name).exists():
        number += 1
        name = f"{stamp}-{number}"
    if not NAME.fullmatch(name):
        raise BackupError("The clock of this machine is wrong: set it, then make the backup again.")
    return name


class _Maker:
    def __init__(self, folder: Path, unfinished: Path, name: str, say: Say) -> None:
        self.folder, self.unfinished, self.name, self.say = folder, unfinished, name, say
        self.storage: Storage = default_storage
        self.incoming = unfinished / "incoming"
        self.said_at = time.monotonic()

    def make(self) -> Made:
        migrations = state.applied()
        apps = state.apps_at(migrations)
        made = Made(self.name)
        with Index() as named, Index() as known, Index() as copied:
            tables, made.secrets, made_at = self._dump(apps, named)
            self.say(f"Rows: {sum(part.rows for part in tables.values()):,} in {len(tables)} tables.")
            self._learn(known)
            self.incoming.mkdir()
            for some in batched(named, AT_ONCE):
                copied.add(list(self._copied(some, known, made, apps)))
            self.incoming.rmdir()
            files = rows.write_lines(self.unfinished / LIST, _list_of(copied))
            files_bytes = sum(file.bytes for file in copied)
        Manifest(
            made_at=made_at,
            code_version=settings.CODE_VERSION,
            database=connection.vendor,
            migrations=migrations,
            keys=[manifest.fingerprint(key) for key in settings.CAMERA_KEYS],
            secrets=made.secrets,
            tables=tables,
            files=files,
            files_bytes=files_bytes,
        ).write(self.unfinished)
        return made

    def _dump(self, apps: StateApps, named: Index) -> tuple[dict[str, Part], int, str]:
        """Writes all tables; answers them, how many values are encrypted, and the moment all this is of."""
        parts: dict[str, Part] = {}
        secrets = 0
        with state.snapshot():
            made_at = datetime.now(UTC).isoformat(timespec="seconds")
            for model in state.tables(apps):
                table, encrypted = model._meta.label_lower, rows.secrets_in(model)

                def see(row: rows.Row, table: str = table, encrypted: list[str] = encrypted) -> None:
                    nonlocal secrets
                    secrets += sum(1 for column in encrypted if row[column])
                    named.add(Copied(name, sha256=sha256) for name, sha256 in named_in(table, row))

                parts[table] = rows.dump(model, self.unfinished / f"{table}.jsonl.gz", see)
        return parts, secrets, made_at

    def _learn(self, known: Index) -> None:
        """What the latest backup in this folder has need not be copied again: no file ever changes."""
        earlier = manifest.backups(self.folder)
        if earlier:
            known.add(file for file in read_list(self.folder / earlier[-1] / LIST) if file.fate == Fate.FINE)

    def _copied(self, some: list[Copied], known: Index, made: Made, apps: StateApps) -> Iterator[Copied]:
        gone: list[Copied] = []
        for file in some:
            if not is_safe(file.name):
                raise BackupError(f"A row names the file {file.name!r}, which leads out of the storage: correct it.")
            copied = self._known(file, known)
            if copied is not None:
                made.there_before += 1
            elif (copied := self._copy(file)) is not None:
                made.copied += 1
                made.copied_bytes += copied.bytes
            else:
                gone.append(file)
                continue
            if copied.fate == Fate.DAMAGED:
                made.wrong.append(copied)
            self._say_how_far(made)
            yield copied
        named_still = _named_now(apps, {file.name for file in gone})
        for file in gone:
            copied = Copied(file.name, fate=Fate.MISSING if file.name in named_still else Fate.REMOVED)
            if copied.fate == Fate.MISSING:
                made.wrong.append(copied)
            else:
                made.removed += 1
            yield copied

    def _known(self, file: Copied, known: Index) -> Copied | None:
        """The file, where the folder has it from an earlier backup, or from one of a media that was broken off."""
        path = place(self.folder / FILES, file.name)
        earlier = known.get(file.name)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return None
        if earlier is not None:
            return earlier if earlier.bytes == size else None
        found = Copied(file.name, size, file.sha256)
        return found if file.sha256 and not check(found, self.folder / FILES) else None

    def _copy(self, file: Copied) -> Copied | None:
        """Copies a file out of the storage; None where it is not there."""
        try:
            blocks = blocks_of(self.storage, file.name)
            size, sha256 = put(blocks, place(self.folder / FILES, file.name), self.incoming)
        except FileNotFoundError:
            return None
        is_fine = not file.sha256 or file.sha256 == sha256
        return Copied(file.name, size, sha256, Fate.FINE if is_fine else Fate.DAMAGED)

    def _say_how_far(self, made: Made) -> None:
        if time.monotonic() - self.said_at > SAYS_EVERY_S:
            self.said_at = time.monotonic()
            self.say(f"Files: {made.copied:,} copied, {made.there_before:,} were there.")


def _list_of(copied: Index) -> Iterator[list[object]]:
    yield [*COLUMNS]
    for file in copied:
        yield file.as_line()


def _named_now(apps: StateApps, names: set[str]) -> set[str]:
    """Which of these files the rows name at this moment."""
    found: set[str] = set()
    if not names:
        return found
    for table, columns in NAMING.items():
        for column in columns:
            values = apps.get_model(table)._base_manager.values_list(column, flat=True)
            if table == "detection.model":
                found.update(name for files in values for name in files)
            else:
                found.update(values.filter(**{f"{column}__in": names}))
    return names & found


def _drop_files_of_none(folder: Path) -> None:
    """Deletes the files that no backup in this folder lists."""
    with Index() as listed:
        for name in manifest.backups(folder):
            listed.add(read_list(folder / name / LIST))
        root = folder / FILES
        for parent, _, files in os.walk(root, topdown=False):
            for file in files:
                path = Path(parent) / file
                if listed.get(path.relative_to(root).as_posix()) is None:
                    path.unlink()
            if Path(parent) != root and not os.listdir(parent):
                Path(parent).rmdir()


@contextmanager
def _plainly(folder: Path) -> Iterator[None]:
    """What the disks have to say, in words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BackupError(
                f"There is no room left in {folder}: make some, or give it another folder. What was copied so far is "
                "kept for the next time."
            ) from error
        what = error.filename or "The storage"
        raise BackupError(f"{what} cannot be read or written ({error.strerror or error}).") from error
    except Exception as error:
        if not is_of_bucket(error):
            raise
        raise BackupError(f"The storage does not answer as it should ({error}): try again when it does.") from error
