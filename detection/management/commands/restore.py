"""`manage.py restore`: a backup into an empty system, or a check of one."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from detection.backup import BackupError, manifest
from detection.backup.files import Fate
from detection.backup.manifest import Manifest
from detection.backup.restoring import Restorer, findings, why_not_here
from detection.storage import is_of_bucket
from project import folders

SHOWN = 20


class Command(BaseCommand):
    help = (
        "Restore what `manage.py backup` has written into an empty system: any database, any storage, the same version "
        "or a newer one. CAMERA_KEYS must be what it was. Restore only backups that you trust: accounts and models "
        "come with them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="where the backups are")
        parser.add_argument("--backup", default="", metavar="NAME", help="which one (default: the newest)")
        parser.add_argument("--list", action="store_true", help="say which there are, and change nothing")
        parser.add_argument("--check", action="store_true", help="read all of it, compare, and change nothing")

    def handle(self, *, folder: Path, backup: str, **options: Any) -> None:
        folder = folder.absolute()
        try:
            if options["list"]:
                self._list(folder)
            elif options["check"]:
                self._check(folder, manifest.chosen(folder, backup))
            else:
                self._restore(folder, manifest.chosen(folder, backup))
        except (BackupError, folders.StartError) as error:
            raise CommandError(str(error)) from error

    def _list(self, folder: Path) -> None:
        for name in manifest.backups(folder):
            about = Manifest.read(folder / name)
            count = sum(part.rows for part in about.tables.values())
            self.stdout.write(f"{name}  {count:,} rows, {about.files.rows:,} files, by {about.code_version}")

    def _check(self, folder: Path, backup: Path) -> None:
        count = 0
        for finding in findings(folder, backup, self.stdout.write):
            count += 1
            if count <= SHOWN:
                self.stderr.write(f"  {finding}")
        if count:
            raise CommandError(f"The backup {backup.name} is damaged in {count:,} places: use another one.")
        self.stdout.write(f"The backup {backup.name} is whole.")
        if why := why_not_here(Manifest.read(backup)):
            raise CommandError(f"It could not be restored here: {why}")

    def _restore(self, folder: Path, backup: Path) -> None:
        with _nobody_else_starts(settings.DATA_DIR):
            restorer = Restorer(folder, backup, self.stdout.write)
            try:
                restorer.run()
            except DatabaseError as error:
                reason = str(error).strip().partition("\n")[0]
                raise BackupError(f"The database cannot be restored ({reason}): check DATABASE_URL.") from error
            except Exception as error:
                if not isinstance(error, OSError) and not is_of_bucket(error):
                    raise
                what = getattr(error, "filename", None) or "The storage"
                raise BackupError(
                    f"{what} cannot be read or written ({getattr(error, 'strerror', None) or error}). Put that right "
                    "and restore again: it goes on where it was."
                ) from error
        self._tell_lost(restorer)
        self.stdout.write(
            f"The backup {backup.name} is restored. Start with `make run`; what was being worked on then goes on."
        )

    def _tell_lost(self, restorer: Restorer) -> None:
        missing, damaged = restorer.lost[Fate.MISSING], restorer.lost[Fate.DAMAGED]
        for name in (missing + damaged)[:SHOWN]:
            self.stderr.write(f"  {name}")
        if missing or damaged:
            self.stderr.write(
                f"The storage had lost {len(missing):,} and damaged {len(damaged):,} files when the backup was made; "
                "`manage.py check_storage` says what can be made again."
            )


@contextmanager
def _nobody_else_starts(data_dir: Path) -> Iterator[None]:
    """Nightjar does not run on this data folder, and is not started meanwhile."""
    descriptor = folders.hold(folders.data_folder(data_dir), wait_s=0)
    try:
        yield
    finally:
        os.close(descriptor)
