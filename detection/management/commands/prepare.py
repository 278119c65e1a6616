"""`manage.py prepare`: everything between an installed Nightjar and one that can run; harmless to repeat."""

from __future__ import annotations

import hashlib
import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from detection.keys import check_keys
from project import folders
from project.doctor.starting import require_good_settings

ADMINISTRATOR = "admin"


class Command(BaseCommand):
    help = "Makes the database, the pages' files, the first administrator, the first model and the example ready."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-example", action="store_true", help="store no example clip")
        parser.add_argument(
            "--release",
            action="store_true",
            help="for a new version on many machines, once before its processes start: checks, the database, the "
            "pages' files; no first administrator, model and example",
        )

    def handle(self, *, no_example: bool = False, release: bool = False, **_: Any) -> None:
        try:
            folders.data_folder(settings.DATA_DIR)
            folders.private_folder(folders.run_dir(settings.DATA_DIR))
            if settings.CAMERA_FILES_DIR.is_relative_to(settings.DATA_DIR):  # one elsewhere is the operator's
                settings.CAMERA_FILES_DIR.mkdir(parents=True, exist_ok=True)
            if release:
                require_good_settings(self.stderr.write)
        except folders.StartError as error:
            raise CommandError(str(error)) from error
        check_keys()  # before anything is touched
        self._migrate()
        self._collect_static()
        is_first = not get_user_model().objects.filter(is_superuser=True).exists()
        if release:
            if is_first:
                self.stdout.write("Nobody is administrator yet: `manage.py prepare` makes one, and the first model.")
        elif is_first:
            self._first_run(with_example=not no_example)
            # Last, so that the password stands at the end of what was printed, and a first start that was interrupted
            # is still the first one.
            self._make_administrator()

    def _migrate(self) -> None:
        try:
            call_command("migrate", interactive=False, verbosity=0)
        except DatabaseError as error:
            reason = str(error).strip().splitlines()[0]
            raise CommandError(f"The database cannot be made ready ({reason}): check DATABASE_URL.") from error

    def _collect_static(self) -> None:
        """Collects the pages' files where one has changed since the last time; compressing them takes seconds."""
        folder = Path(settings.STATIC_ROOT)
        stamp = folder / ".collected"
        if (folder / "staticfiles.json").exists() and not os.access(folder, os.W_OK):
            return  # part of an image, which was built with them
        state = _static_state()
        if not stamp.exists() or stamp.read_text() != state:
            call_command("collectstatic", interactive=False, verbosity=0)
            stamp.write_text(state)

    def _first_run(self, *, with_example: bool) -> None:
        """The first model and the example; not tried again on each start, because without a network it takes time."""
        from workers import first_run

        first_run.fetch_general_model(self.stdout)
        if with_example:
            first_run.store_example(self.stdout)

    def _make_administrator(self) -> None:
        users = get_user_model().objects
        if users.filter(username=ADMINISTRATOR).exists():
            self.stdout.write("Nobody is administrator: make one with `.venv/bin/python manage.py createsuperuser`.")
            return
        password = secrets.token_urlsafe(12)
        users.create_superuser(ADMINISTRATOR, password=password)
        self.stdout.write(
            f"\nThe first administrator is made. Write this down, it is shown only now:\n"
            f"    user name  {ADMINISTRATOR}\n"
            f"    password   {password}\n"
            f"Lost it? `.venv/bin/python manage.py changepassword {ADMINISTRATOR}` sets another.\n"
        )


def _static_state() -> str:
    """Changes when any of the pages' files does."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            status = Path(storage.path(name)).stat()
            digest.update(f"{name}|{status.st_size}|{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
