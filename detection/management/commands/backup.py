"""`manage.py backup`: all rows and files of the system into a folder, while it runs."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from detection.backup import BackupError
from detection.backup.files import Fate
from detection.backup.making import make
from detection.models.retention import size_words

SHOWN = 20
WRONG = {
    Fate.MISSING: "is not in the storage, though a row names it",
    Fate.DAMAGED: "has other bytes in the storage than were taken in",
}


class Command(BaseCommand):
    help = (
        "Back the whole system up into a folder, while it runs: all rows as they are in one moment, and all files that "
        "they name. A further backup into the same folder copies only what is new. Not in it: .env with SECRET_KEY and "
        "CAMERA_KEYS, which must be kept apart from it; and who is signed in. Exit code 1 where the storage has lost "
        "or damaged a file; the backup holds all others then."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="where backups are kept; made where it is not there")
        parser.add_argument(
            "--keep", type=int, default=7, metavar="N", help="drop the oldest beyond so many (default: 7; 0: none)"
        )

    def handle(self, *, folder: Path, keep: int, **_: Any) -> None:
        if keep < 0:
            raise CommandError("--keep must be a number of backups, or 0 for all.")
        folder = folder.absolute()
        try:
            made = make(folder, keep, self.stdout.write)
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Files: {made.copied:,} copied ({size_words(made.copied_bytes)}), {made.there_before:,} were there."
        )
        if made.removed:
            self.stdout.write(f"{made.removed:,} more were removed with their media meanwhile.")
        for name in made.dropped:
            self.stdout.write(f"Dropped the backup {name}.")
        self.stdout.write(f"The backup {made.name} is whole, in {folder}.")
        if made.secrets:
            self.stdout.write("CAMERA_KEYS is not in it, and it cannot be restored without: keep that apart from it.")
        if made.wrong:
            for file in made.wrong[:SHOWN]:
                self.stderr.write(f"  {file.name} {WRONG[file.fate]}")
            more = f"\n  and {len(made.wrong) - SHOWN:,} more" if len(made.wrong) > SHOWN else ""
            raise CommandError(
                f"{len(made.wrong):,} files are not in the backup as they should be{more}: look into the storage with "
                "`manage.py check_storage`."
            )
