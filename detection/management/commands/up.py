"""`manage.py up`: all processes of Nightjar under one launcher."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from detection.database import pending_migrations
from detection.keys import check_keys
from project import address, broker, folders, logs
from project.doctor.starting import require_good_settings
from project.launcher import Launcher, Program, read_procfile
from workers.stopping import GONE_AFTER_S


class Command(BaseCommand):
    help = "Runs the processes of the Procfile and the embedded broker, restarts what dies, and stops all together."
    requires_system_checks = ()  # they are among what is looked at before the start

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--procfile", type=Path, default=settings.BASE_DIR / "Procfile", help="another Procfile")
        parser.add_argument(
            "--follow-parent", action="store_true", help="stop when the process that started this one is gone (make)"
        )

    def handle(self, *, procfile: Path, follow_parent: bool, **_: Any) -> None:
        try:
            launcher = _launcher(procfile, follow_parent)
            launcher.run()
        except folders.StartError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:  # before the launcher took over the signals: nothing is running yet
            raise CommandError("Stopped before it had started.", returncode=130) from None


def _launcher(procfile: Path, follow_parent: bool) -> Launcher:
    """The launcher, when all that must hold before anything is started holds; raises StartError."""
    data_dir: Path = folders.data_folder(settings.DATA_DIR)
    programs = read_procfile(procfile)
    require_good_settings(sys.stderr.write)
    lock = folders.hold(data_dir)
    address.require_free(settings.HOST, settings.PORT)
    _require_migrated_database()
    check_keys()
    run_dir = folders.private_folder(folders.run_dir(data_dir))
    embedded = settings.BROKER_IS_EMBEDDED
    return Launcher(
        programs,
        cwd=settings.BASE_DIR,
        env=_environment(data_dir, run_dir),
        broker=Program("broker", broker.command(data_dir)) if embedded else None,
        broker_answers=lambda: broker.answers(broker.socket_path(data_dir)),
        web_answers=lambda: address.answers(settings.HOST, settings.PORT),
        greeting=f"Nightjar is at {address.url(settings.HOST, settings.PORT)} (Ctrl-C stops it)",
        # Longer than a worker may take to finish or hand back what it is doing.
        grace_s=max(GONE_AFTER_S, settings.CELERY["worker_soft_shutdown_timeout"]) + 2,
        json=not logs.is_in_words(settings.LOG_FORMAT),
        lock=lock,
        follow_parent=follow_parent,
    )


def _environment(data_dir: Path, run_dir: Path) -> dict[str, str]:
    """What the Procfile's lines may name, on top of the environment, into which the settings have read `.env`."""
    return os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "HOST": settings.HOST,
        "PORT": str(settings.PORT),
        "DATA_DIR": str(data_dir),
        "RUN_DIR": str(run_dir),
        logs.TERMINAL: "1" if sys.stdout.isatty() else "0",
    }


def _require_migrated_database() -> None:
    try:
        pending = pending_migrations()
    except DatabaseError as error:
        reason = str(error).strip().splitlines()[0]
        raise folders.StartError(f"The database cannot be reached ({reason}): check DATABASE_URL.") from error
    finally:
        connection.close()
    if pending:
        raise folders.StartError("The database is not up to date with this version: run `make setup` first.")
