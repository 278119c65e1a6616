"""What a worker's main process does when one of its processes dies over a piece of work."""

from __future__ import annotations

import logging
import re
import socket
from typing import Any

from celery.worker import state
from celery.worker.request import Request
from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connections

from detection import correlation
from detection.models import Analysis, Chunk, Proxy, Work
from workers import outcome, stopping, trail
from workers.named import NamedTask

log = logging.getLogger(__name__)

KINDS_OF_WORK: tuple[type[Work], ...] = (Chunk, Analysis, Proxy)
SIGNAL_IN_WORDS = {
    "SIGSEGV": "it crashed (SIGSEGV)",
    "SIGBUS": "it crashed (SIGBUS)",
    "SIGABRT": "it crashed (SIGABRT)",
    "SIGILL": "it crashed (SIGILL)",
    "SIGFPE": "it crashed (SIGFPE)",
    "SIGKILL": "it was killed (SIGKILL), by the system for want of memory or by a person",
}


class ReportingRequest(Request):  # type: ignore[misc]
    """Celery's request for a task, in the main process: it knows at once, and by what, that its process died.

    The row is freed, or failed with the reason in words, without waiting for its lease to run out.
    """

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        with trail.of_message(self):
            if type(error).__name__ == "WorkerLostError":
                trail.died(self, outcome.HANDED_BACK if _is_stopped() else outcome.CRASHED)
                report_crash(process_name(self.worker_pid), str(error))
            super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        with trail.of_message(self):
            if not soft:
                trail.died(self, outcome.TOO_LONG)
                report_too_long(process_name(self.worker_pid))
            super().on_timeout(soft, timeout)


def process_name(pid: int) -> str:
    """What a worker process of this machine is called on the rows that it has claimed."""
    return f"{socket.gethostname()}:{pid}"[:100]


class WorkTask(NamedTask):
    """A task that works on a row."""

    Request = "workers.crash:ReportingRequest"


def report_crash(worker: str, error: str) -> None:
    """A process of this worker died: what it had claimed is free again, or has failed, at once.

    While the worker stops, its processes are ended from outside, and no attempt is counted.
    """
    give_back(worker, f"The worker process ended over it: {in_words(error)}.", counted=not _is_stopped())


def _is_stopped() -> bool:
    ends = state.should_terminate is not None and state.should_terminate is not False  # else the exit status: 0, too
    return stopping.is_said() or ends


def give_back(worker: str, why: str, *, counted: bool = True) -> None:
    """What a process had claimed is free again; it was an attempt, and perhaps the last, unless it is not counted."""
    _at_the_rows(worker, why, lambda rows: rows.crashed(worker, why, counted=counted))


def report_too_long(worker: str) -> None:
    """A process of this worker was killed for taking too long, and would take as long again."""

    def fail(rows: type[Work]) -> list[Work]:
        claimed = rows.claimed_by(worker)
        for row in claimed:
            row.fail("too_long", too_long_sentence(rows))
        return claimed

    _at_the_rows(worker, "It took longer than it may.", fail)


def too_long_sentence(rows: type[Work]) -> str:
    minutes = getattr(settings, rows.time_limit) / 60
    return f"It took longer than {minutes:.0f} minutes: raise {rows.time_limit}, then retry."


def in_words(error: str) -> str:
    """What billiard says of a dead process, for people."""
    if found := re.search(r"signal \d+ \((\w+)\)", error):
        return SIGNAL_IN_WORDS.get(found[1], f"it was ended by {found[1]}")
    if found := re.search(r"exitcode (\d+)", error):
        return f"it left with code {found[1]}"
    return "it was gone"


def _at_the_rows(worker: str, why: str, change: Any) -> None:
    """Does it to every kind of work, and keeps no connection, which the main process would share with its children."""
    try:
        for rows in KINDS_OF_WORK:
            for row in change(rows):
                with correlation.of_row(row.correlation_id):
                    log.error("%s %s: its process %s died: %s", rows._meta.verbose_name, row.pk, worker, why)
    except DatabaseFault:
        log.exception("could not say that the process %s died; what it had is free when its lease runs out", worker)
    finally:
        connections.close_all()
