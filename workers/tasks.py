"""The Celery tasks: each takes a primary key, does one step, and sends what follows.

A message is a hint, the row is the truth: what cannot be sent now is sent by the sweep. The steps are imported when a
task runs: the web process imports this module only to send, and must not load the vision code for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from celery import Task, current_app, shared_task
from kombu.exceptions import OperationalError

from detection.models import Analysis, Capture, Chunk, Proxy, Trial, Work
from detection.models.planning import follow_the_clock, plan_due
from workers.again import TryAgain
from workers.sweep import due_work, unclaimed_captures

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


@shared_task(bind=True, max_retries=None)
def grab(self: Task, capture_pk: int) -> None:
    """Grabs a picture from a camera, and sends its analysis."""
    from workers import capture

    analysis = _attempt(self, capture.grab_one, capture_pk)
    if analysis is not None:
        send_analysis(analysis)


@shared_task(bind=True, max_retries=None)
def try_source(self: Task, trial_pk: int) -> None:
    """Grabs a picture for somebody who enters a camera."""
    from workers import capture

    _attempt(self, capture.try_source, trial_pk)


@shared_task(bind=True, max_retries=None)
def notify(self: Task, notification_pk: int) -> None:
    """Tells people of an event."""
    from workers import notify

    _attempt(self, notify.deliver, notification_pk)


@shared_task
def sweep() -> None:
    """Plans the captures that are due; sends again what no worker has: never sent, lost with the broker or a worker."""
    Trial.forget_old()
    Capture.end_expired()
    follow_the_clock()
    if not (_send_captures(plan_due()) and _send_captures(unclaimed_captures())):
        return
    tasks: dict[str, Task] = {
        "notify": notify,
        "try": try_source,
        "analyse": analyse,
        "chunk": analyse_chunk,
        "finish": finish,
        "proxy": make_proxy,
    }
    for due in due_work():
        if not _publish(tasks[due.task], due.rows, due.pk):
            due.rows.mark_unsent(due.pk)
            return


def send_capture(capture: Capture) -> bool:
    """Sends a capture on its way; false where the broker is away: then the sweep will send it while it is fresh."""
    return _send_captures([capture])


def send_trial(trial: Trial) -> bool:
    """As ``send_capture``, for a trial."""
    return _send(try_source, Trial, trial.pk)


def _send_captures(captures: Sequence[Capture]) -> bool:
    """Sends many through one connection; their rows say already that they were sent."""
    try:
        with current_app.producer_or_acquire() as producer:
            for capture in captures:
                grab.apply_async((capture.pk,), queue=capture.camera.queue, producer=producer)
    except OperationalError as error:
        log.warning("the broker is away, the sweep will send the captures that are still fresh then: %s", error)
        return False
    return True


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
    if not _publish(task, rows, pk):
        return False
    rows.mark_sent([pk])
    return True


def _publish(task: Any, rows: type[Work], pk: int) -> bool:
    try:
        task.apply_async((pk,))
    except OperationalError as error:
        log.warning("the broker is away, the sweep will send %s %s: %s", rows._meta.verbose_name, pk, error)
        return False
    return True
