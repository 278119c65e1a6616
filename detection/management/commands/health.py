"""`manage.py health`: how the system is, or one process of it; the exit code is for scripts and containers."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from detection import health
from detection.health.probing import Probe, look_at
from detection.health.snapshot import stale_after_s
from detection.health.told import as_json
from detection.models import Heartbeat
from detection.views.health import READINESS
from project.address import reachable

EXIT_CODES = {health.State.OK: 0, health.State.FAILING: 1, health.State.DEGRADED: 2}
NOT_KNOWN = 3
ANSWERS_S = 5.0


class Command(BaseCommand):
    help = (
        "Tell how the system is. Exit code 0: ok, 1: failing, 2: degraded. Or of one process: “worker analyse”, “worker"
        " analyse@host” and “beat” tell whether it gave a sign of life lately, “web” whether the web server here is "
        "ready. Exit code 0: it is so, 1: it is not, 3: the database is away, so it is not known."
    )
    requires_system_checks = []  # it is asked again and again, and is to be quick

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("of", nargs="?", choices=("system", "worker", "beat", "web"), default="system")
        parser.add_argument("name", nargs="?", default="", help="of a worker: its name, without a host for one here")
        parser.add_argument("--lenient", action="store_true", help="exit code 0 also where it is not known")
        parser.add_argument("--json", action="store_true", help="the whole as JSON, as /health/system has it")

    def handle(self, *, of: str, name: str, **options: Any) -> None:
        if of == "worker" and not name:
            raise CommandError("Which worker? For example: manage.py health worker analyse")
        if of == "system":
            self._system(as_json_too=options["json"])
        elif of == "web":
            self._web()
        else:
            self._process(name or of, is_lenient=options["lenient"])

    def _system(self, *, as_json_too: bool) -> None:
        snapshot = health.take()
        verdict = health.judge(snapshot)
        if as_json_too:
            self.stdout.write(json.dumps(as_json(snapshot, verdict)))
        else:
            self.stdout.write(verdict.state)
            for reason in verdict.reasons:
                self.stdout.write(f"  {reason.sentence}")
        if code := EXIT_CODES[verdict.state]:
            sys.exit(code)

    def _process(self, name: str, *, is_lenient: bool) -> None:
        """A worker that waits for the database, be it away or hanging, is not to be restarted for it."""
        name = name if "@" in name else f"{name}@{socket.gethostname()}"
        probe = Probe("signs of life", Heartbeat.ages_s, "Not known: the database cannot be reached")
        signs = look_at([probe])[probe.name]
        if not signs.is_ok:
            if not is_lenient:
                raise CommandError(signs.says, returncode=NOT_KNOWN)
            self.stderr.write(signs.says)
            return
        age_s = signs.found.get(name)
        if age_s is None:
            raise CommandError(f"{name} has given no sign of life.")
        if age_s > stale_after_s():
            raise CommandError(f"{name} has been silent for {age_s:.0f} s.")
        self.stdout.write(f"{name}: {age_s:.0f} s ago")

    def _web(self) -> None:
        connection = http.client.HTTPConnection(reachable(settings.HOST), settings.PORT, timeout=ANSWERS_S)
        try:
            connection.request("GET", READINESS)
            answer = connection.getresponse()
            said = answer.read(10_000).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"The web server does not answer ({type(error).__name__}).") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise CommandError(f"The web server is not ready: {said}")
        self.stdout.write(said)
