"""The Celery tasks: each takes a primary key, does one step, and sends what follows.

A message is a hint, the row is the truth: what cannot be sent now is sent by the sweep. The steps are imported when a
task runs: the web process imports this module only to send, and must not load the vision code for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from celery import Task, shared_task
from kombu.exceptions import OperationalError

from detection.models import Analysis, Chunk, Proxy, Work
from workers.again import TryAgain
from workers.sweep import due_work

log = logging.getLogger(__name__)
T = TypeVar("T")


@shared_task(bind=True, max_retries=None)
def analyse(self: Task, analysis_pk: int) -> None:
    """Plans an analysis and sends its chunks."""
    from workers import steps

    for chunk_pk in _attempt(self, steps.plan, analysis_pk):
        _send(analyse_chunk, Chunk, chunk_pk)


@shared_task(bind=True, max_retries=None)
def analyse_chunk(self: Task, chunk_pk: int) -> None:
    """Looks at one chunk; the last one in starts the finish."""
    from workers import steps

    analysis_pk = _attempt(self, steps.detect, chunk_pk)
    if analysis_pk is not None:
        _send(finish, Analysis, analysis_pk)


@shared_task(bind=True, max_retries=None)
def finish(self: Task, analysis_pk: int) -> None:
    """Tracks and stores the sightings."""
    from workers import steps

    _attempt(self, steps.finish, analysis_pk)


@shared_task(bind=True, max_retries=None)
def make_proxy(self: Task, proxy_pk: int) -> None:
    """Makes a copy that browsers can play."""
    from workers import steps

    _attempt(self, steps.proxy, proxy_pk)


@shared_task
def sweep() -> None:
    """Sends again what no worker has: never sent, lost with the broker, or lost with its worker."""
    tasks: dict[str, Task] = {"analyse": analyse, "chunk": analyse_chunk, "finish": finish, "proxy": make_proxy}
    for due in due_work():
        if not _send(tasks[due.task], due.rows, due.pk):
            return


def send_analysis(analysis: Analysis) -> bool:
    """Sends a queued or reopened analysis on its way; false where the broker is away: then the sweep will send it."""
    if analysis.step == Analysis.Step.PLAN:
        return _send(analyse, Analysis, analysis.pk)
    chunks = analysis.chunks.exclude(state=Chunk.State.DONE)
    if not chunks:
        return _send(finish, Analysis, analysis.pk)
    return all(_send(analyse_chunk, Chunk, chunk.pk) for chunk in chunks)


def send_proxy(proxy: Proxy) -> bool:
    """As ``send_analysis``, for the copy that browsers can play."""
    return _send(make_proxy, Proxy, proxy.pk)


def _attempt(task: Task, step: Callable[[int], T], pk: int) -> T:
    try:
        return step(pk)
    except TryAgain as again:
        raise task.retry(countdown=again.delay_s) from None


def _send(task: Any, rows: type[Work], pk: int) -> bool:
    try:
        task.apply_async((pk,))
    except OperationalError as error:
        log.warning("the broker is away, the sweep will send %s %s: %s", rows._meta.verbose_name, pk, error)
        return False
    rows.mark_sent([pk])
    return True
