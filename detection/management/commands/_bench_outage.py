"""`manage.py bench outage`: the broker is away while people upload: what they are told, and what becomes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from django.core.management import call_command

from detection.management.commands._ask import reaches
from detection.management.commands._bench_farm import (
    Processes,
    Say,
    add_server_arguments,
    folder_inside,
    free_port,
    running,
    temporary_database,
    wait_for,
)
from detection.management.commands._bench_models import activate_model_that_sees
from detection.management.commands._browse import administrators_session
from detection.management.commands._send import upload
from detection.models import Analysis
from detection.models.clock import now
from project.broker import server_binary

RATE = 5.0
WELL_S, AFTER_S = 5.0, 10.0


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=120, help="for so long the broker is away")
    parser.add_argument("--rate", type=float, default=RATE, help="uploads a second")
    add_server_arguments(parser)


def bench_outage(options: Mapping[str, Any], say: Say) -> None:
    folder = folder_inside("outage", options, say)
    if folder is None:
        return
    port = free_port()
    with temporary_database(folder) as url, Broker(port, folder) as broker:
        call_command("collectstatic", "--no-input", verbosity=0)
        activate_model_that_sees(1, folder / "model")
        key = str(administrators_session(make=True).session_key)
        environment = {**os.environ, "DATABASE_URL": url, "BROKER_URL": f"redis://127.0.0.1:{port}/0"}
        names = ("web", "analyse", "grab", "beat")
        with running(folder, environment, names) as processes:
            address = f"127.0.0.1:{environment['PORT']}"
            wait_for("the pages", lambda: reaches(address), 60, processes)
            wait_for("health", lambda: _status(address) == "ok", 60, processes)
            _measure(address, key, broker, processes, options, say)


def _measure(
    address: str, key: str, broker: Broker, processes: Processes, options: Mapping[str, Any], say: Say
) -> None:
    with People(address, key, options["rate"]) as people:
        time.sleep(WELL_S)
        broker.stop()
        degraded_s = wait_for("“degraded”", lambda: _status(address) == "degraded", 60, processes)
        time.sleep(max(0.0, options["seconds"] - degraded_s))
        back_at = now()
        broker.start()
        ok_s = wait_for("“ok”", lambda: _status(address) == "ok", 60, processes)
        time.sleep(AFTER_S)
    rows = Analysis.objects.all()
    wait_for("the analyses", lambda: not rows.filter(Analysis.UNFINISHED).exists(), 300, processes)
    states = Counter(rows.values_list("state", flat=True))
    meanwhile = [row.finished_at for row in rows.filter(requested_at__lt=back_at) if row.finished_at]
    say(
        f"the broker was away for {options['seconds']:.0f} s under {options['rate']:g} uploads a second: "
        f"answers {dict(people.answers)}, the slowest after {people.slowest_s:.1f} s"
    )
    say(f"health said degraded after {degraded_s:.1f} s, and ok {ok_s:.1f} s after the broker was back")
    say(
        f"analyses: {dict(states)}; all that were asked for meanwhile were done {_last(meanwhile, back_at):.1f} s "
        "after that"
    )


def _last(moments: list[datetime], since: datetime) -> float:
    return max((moment - since).total_seconds() for moment in moments)


def _status(address: str) -> str:
    try:
        with urlopen(f"http://{address}/health/ready", timeout=10) as answer:
            return str(json.load(answer)["status"])
    except OSError:
        return ""


class Broker:
    """A Redis-compatible server on a port of its own, which can go away."""

    def __init__(self, port: int, folder: Path) -> None:
        self._command = [
            server_binary(),
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(folder),
        ]
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._server = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        """At once and with all it had: it keeps nothing."""
        if self._server:
            self._server.send_signal(signal.SIGKILL)
            self._server.wait()
            self._server = None


class People:
    """Upload pictures at a steady rate, each in a thread of its own, while the ``with`` lasts."""

    def __init__(self, address: str, key: str, rate: float) -> None:
        self._address, self._key, self._rate = address, key, rate
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go)
        self._uploads: list[threading.Thread] = []
        self.answers: Counter[int] = Counter()
        self.slowest_s = 0.0

    def __enter__(self) -> People:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for one in self._uploads:
            one.join()

    def _go(self) -> None:
        while not self._over.wait(1 / self._rate):
            one = threading.Thread(target=self._upload)
            one.start()
            self._uploads.append(one)

    def _upload(self) -> None:
        began = time.monotonic()
        status, _ = upload(self._address, self._key)
        self.answers[status] += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
