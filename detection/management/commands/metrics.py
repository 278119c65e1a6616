"""`manage.py metrics`: what this machine's processes count, as Prometheus reads it; once, or for whoever asks."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from detection.metrics.exposition import of_machine
from detection.metrics.serving import PATH, Server


class Command(BaseCommand):
    help = (
        "Prints what the processes of this machine counted. With --serve it tells Prometheus, at METRICS_HOST and "
        "METRICS_PORT and for METRICS_TOKEN: for a machine that has no web process, which tells it at /metrics."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--serve", action="store_true", help="answer Prometheus until it is stopped")

    def handle(self, *, serve: bool, **_: Any) -> None:
        if serve:
            self._serve()
        else:
            self.stdout.write(of_machine().decode(), ending="")

    def _serve(self) -> None:
        if not settings.METRICS_PORT:
            raise CommandError("METRICS_PORT is not set: set it to the port that Prometheus is to ask.")
        if not settings.METRICS_TOKEN:
            raise CommandError("METRICS_TOKEN is not set: set it to a secret of your own, and tell it to Prometheus.")
        address = f"{settings.METRICS_HOST}:{settings.METRICS_PORT}"
        try:
            server = Server(settings.METRICS_HOST, settings.METRICS_PORT)
        except OSError as error:
            raise CommandError(f"{address} cannot be served ({error.strerror}): set another METRICS_PORT.") from error
        for number in (signal.SIGTERM, signal.SIGINT):
            # From a thread of its own: shutdown waits for the loop, which this one interrupts.
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        self.stdout.write(f"The metrics of this machine are at http://{address}{PATH}.")
        self.stdout.flush()  # whoever reads it through a pipe waits for it
        with server:
            server.serve_forever(poll_interval=0.2)
