"""`manage.py bench uploads`: what many large uploads at once take of the web process's memory."""

from __future__ import annotations

import os
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.core.management import call_command

from detection.management.commands._ask import reaches
from detection.management.commands._bench_farm import (
    Say,
    add_server_arguments,
    children,
    folder_inside,
    resident_mb,
    running,
    temporary_database,
    wait_for,
)
from detection.management.commands._browse import administrators_session
from detection.management.commands._send import upload

LOOK_S = 0.1


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--uploads", type=int, default=50, help="so many at once")
    parser.add_argument("--megabytes", type=int, default=100, help="each")
    add_server_arguments(parser)


def bench_uploads(options: Mapping[str, Any], say: Say) -> None:
    folder = folder_inside("uploads", options, say)
    if folder is None:
        return
    with temporary_database(folder) as url:
        call_command("collectstatic", "--no-input", verbosity=0)
        key = str(administrators_session(make=True).session_key)
        environment = {**os.environ, "DATABASE_URL": url}
        with running(folder, environment, ("web",)) as processes:
            address = f"127.0.0.1:{environment['PORT']}"
            wait_for("the pages", lambda: reaches(address), 60, processes)
            web = processes.pids()["web"]
            before, began = most_resident_mb(web), time.monotonic()
            with Watch(web) as watch:
                answers = _send(address, key, options["uploads"], options["megabytes"] * 1000**2)
            took_s = time.monotonic() - began
            amount = options["uploads"] * options["megabytes"]
            say(
                f"{options['uploads']} uploads of {options['megabytes']} MB at once: {amount / took_s:.0f} MB a "
                f"second, answers {dict(answers)}"
            )
            say(f"web with its worker: {before:.0f} MB before, {watch.most_mb:.0f} MB at most")


def _send(address: str, key: str, uploads: int, size: int) -> Counter[int]:
    with ThreadPoolExecutor(uploads) as pool:
        return Counter(pool.map(lambda _: upload(address, key, size=size)[0], range(uploads)))


class Watch:
    """The most memory that a process and its children had, while the ``with`` lasts."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most_mb = 0.0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            self.most_mb = max(self.most_mb, most_resident_mb(self._pid))


def most_resident_mb(pid: int) -> float:
    """Of the process that has most, of this one and its children: they share most of what they have."""
    return max(resident_mb(one) for one in (pid, *children(pid)))
