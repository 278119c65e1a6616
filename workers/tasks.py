"""The Celery tasks: each takes a primary key, does one step, and sends what follows.

A message is a hint, the row is the truth: what cannot be sent now is sent by the sweep. The steps are imported when a
task runs: the web process imports this module only to send, and must not load the vision code for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from celery import Task, current_app, shared_task
from django.conf import settings
from django.db import Error as DatabaseFault
from kombu.exceptions import OperationalError

from detection import correlation
from detection.models import Analysis, Capture, Chunk, Proxy, Trial, Work
from detection.models.planning import follow_the_clock, plan_due
from workers import (
    check_in,
    outcome,
    trail,
)
from workers.again import TryAgain
from workers.away import Away
from workers.crash import WorkTask
from workers.lanes import AGAIN, BULK, Turns, queue_for
from workers.sweep import due_work, unclaimed_captures

log = logging.getLogger(__name__)
T = TypeVar("T")
PRUNE_S = 3600.0  # then beat has sent the next
turns = Turns()
away = Away()


@shared_task(bind=True, base=WorkTask, max_retries=None)
def analyse(self: Task, analysis_pk: int) -> None:
    """Plans an analysis and sends its chunks; of a picture it does the rest as well."""
    _in_turn(self, Analysis, analysis_pk, _plan)


@shared_task(bind=True, base=WorkTask, max_retries=None)
def analyse_chunk(self: Task, chunk_pk: int) -> None:
    """Looks at one chunk; whoever does the last one finishes the analysis."""
    _in_turn(self, Chunk, chunk_pk, _look)


@shared_task(bind=True, base=WorkTask, max_retries=None)
def finish(self: Task, analysis_pk: int) -> None:
    """Tracks and stores the sightings, where whoever did the last chunk could not."""
    _in_turn(self, Analysis, analysis_pk, _finish)


@shared_task(bind=True, base=WorkTask, max_retries=None)
def make_proxy(self: Task, proxy_pk: int) -> None:
    """Makes a copy that browsers can play."""
    from workers import steps

    _attempt(self, proxy_pk, steps.proxy)


def _plan(analysis_pk: int, task: Task | None = None) -> bool:
    from workers import steps

    chunks = _attempt(task or analyse, analysis_pk, steps.plan, in_passing=task is None)
    for chunk in chunks or []:
        with correlation.of_row(chunk.correlation_id):
            if not _send(analyse_chunk, Chunk, chunk.pk, chunk.analysis.lane):
                break  # each further one would wait for the broker, and the sweep sends them all
    return chunks is not None


def _look(chunk_pk: int, task: Task | None = None) -> bool:
    from workers import steps

    looked = _attempt(task or analyse_chunk, chunk_pk, steps.detect, in_passing=task is None)
    if looked is not None and (ready := looked.ready) is not None:
        _attempt(finish, ready.pk, lambda _pk: steps.track(ready), in_passing=True, lane=ready.lane)
    return looked is not None


def _finish(analysis_pk: int, task: Task | None = None) -> bool:
    from workers import steps

    return bool(_attempt(task or finish, analysis_pk, steps.finish, in_passing=task is None))


Step = Callable[[int, Task | None], bool]
STEPS: dict[str, Callable[[int], bool]] = {"analyse": _plan, "analyse_chunk": _look, "finish": _finish}


def _in_turn(task: Task, rows: type[Work], pk: int, step: Step) -> None:
    """Does a step, or, where its message is of bulk, what somebody waits for in its stead; it is sent again then."""
    is_bulk = str((task.request.delivery_info or {}).get("routing_key")).startswith(BULK)
    first = turns.instead_of_bulk(rows, pk) if is_bulk else None
    if first is None:
        if step(pk, task):
            turns.took(Analysis.Lane.BULK if is_bulk else Analysis.Lane.INTERACTIVE)
        return
    try:
        with correlation.of_row(first.correlation_id), trail.instead(task, first.task, first.pk):
            if STEPS[first.task](first.pk):
                turns.took(Analysis.Lane.INTERACTIVE)
    finally:
        _send(task, rows, pk, Analysis.Lane.BULK)


@shared_task(bind=True, max_retries=None)
def grab(self: Task, capture_pk: int) -> None:
    """Grabs a picture from a camera, and sends its analysis."""
    from workers import capture

    analysis = _attempt(self, capture_pk, capture.grab_one)
    if analysis is not None:
        send_analysis(analysis)


@shared_task(bind=True, max_retries=None)
def try_source(self: Task, trial_pk: int) -> None:
    """Grabs a picture for somebody who enters a camera."""
    from workers import capture

    _attempt(self, trial_pk, capture.try_source)


@shared_task(bind=True, max_retries=None)
def notify(self: Task, notification_pk: int) -> None:
    """Tells people of an event."""
    from workers import notify

    _attempt(self, notification_pk, notify.deliver)


@shared_task
def sweep() -> None:
    """Plans the captures that are due; sends again what no worker has: never sent, lost with the broker or a worker."""
    away.is_over()  # or this message would not have come
    Trial.forget_old()
    Capture.end_expired()
    follow_the_clock()
    if not (_send_captures(plan_due()) and _send_captures(unclaimed_captures())):
        return
    for due in due_work():
        with correlation.of_row(due.correlation_id):  # the message that had it may be lost
            sent = _publish(current_app.tasks[f"{__name__}.{due.task}"], due.pk, due.queue)
        if not sent:
            due.rows.mark_unsent(due.pk)
            return
    check_in.swept()


@shared_task(bind=True)
def prune(self: Task) -> None:
    """Removes what retention lets go, for some seconds; where more is left, it sends itself to go on with that.

    The message keeps the time at which it expires, so that of each hour's runs the last is over when the next begin.
    """
    from workers import retention

    if not retention.prune_for_a_while():
        return
    try:
        self.apply_async(expires=self.request.expires or PRUNE_S)
    except OperationalError as error:
        log.warning("the broker is away, retention goes on within the hour: %s", error)


@shared_task
def tidy() -> None:
    """Clears away files that no row names any more, or that killed processes left; forgets processes that are gone."""
    from workers import tidying

    tidying.forget_processes()
    tidying.tidy()


def send_capture(capture: Capture) -> bool:
    """Sends a capture on its way; false where the broker is away: then the sweep will send it while it is fresh."""
    return _send_captures([capture])


def send_trial(trial: Trial) -> bool:
    """As ``send_capture``, for a trial."""
    return _send(try_source, Trial, trial.pk)


def _send_captures(captures: Sequence[Capture]) -> bool:
    """Sends many through one connection; their rows say already that they were sent."""
    if not captures:
        return True
    if away.is_so():
        log.info("the broker was away just now, the sweep will send the captures that are still fresh then")
        return False
    try:
        with current_app.producer_or_acquire() as producer:
            for capture in captures:
                with correlation.of_row(capture.correlation_id):
                    grab.apply_async((capture.pk,), queue=capture.camera.queue, producer=producer)
    except OperationalError as error:
        away.note()
        log.warning("the broker is away, the sweep will send the captures that are still fresh then: %s", error)
        return False
    away.is_over()
    return True


def send_analysis(analysis: Analysis) -> bool:
    """Sends a queued or reopened analysis on its way; false where the broker is away: then the sweep will send it."""
    with correlation.of_row(analysis.correlation_id):
        if analysis.step == Analysis.Step.PLAN:
            return _send(analyse, Analysis, analysis.pk, analysis.lane)
        chunks = analysis.chunks.exclude(state=Chunk.State.DONE)
        if not chunks:
            return _send(finish, Analysis, analysis.pk, analysis.lane)
        return all(_send(analyse_chunk, Chunk, chunk.pk, analysis.lane) for chunk in chunks)


def send_proxy(proxy: Proxy) -> bool:
    """As ``send_analysis``, for the copy that browsers can play."""
    with correlation.of_row(proxy.correlation_id):
        return _send(make_proxy, Proxy, proxy.pk)


def _attempt(task: Task, pk: int, step: Callable[[int], T], *, in_passing: bool = False, lane: str = "") -> T | None:
    """Does a step; what may pass is tried again later, by a retry of Celery's or, in another task, by a message."""
    try:
        result = step(pk)
    except TryAgain as again:
        outcome.note(outcome.RETRIED if again.delay_s else outcome.HANDED_BACK)
        if not again.delay_s:  # this worker stops; another goes on with it
            _publish(task, pk, AGAIN if task in (analyse, analyse_chunk, finish) else None)
        elif in_passing:
            _publish(task, pk, _queue_of(task, lane), again.delay_s)
        else:
            raise task.retry(countdown=again.delay_s) from None
        return None
    if result is None or result is False:
        outcome.note(outcome.DROPPED)
    return result


def _send(task: Any, rows: type[Work], pk: int, lane: str = "") -> bool:
    if not _publish(task, pk, _queue_of(task, lane)):
        return False
    try:
        rows.mark_sent([pk])
    except DatabaseFault as error:  # as on a full disk; who asked has it done all the same, and the sweep sends it, too
        log.warning("%s %s was sent, which could not be noted: %s", task.name, pk, error)
    return True


def _publish(task: Any, pk: int, queue: str | None, delay_s: float | None = None) -> bool:
    """Sends a message, to the task's own queue where none is named; false where the broker is away."""
    if away.is_so():
        log.info("the broker was away just now, the sweep will send %s %s", task.name, pk)
        return False
    try:
        task.apply_async((pk,), queue=queue, countdown=delay_s)
    except OperationalError as error:
        away.note()
        log.warning("the broker is away, the sweep will send %s %s: %s", task.name, pk, error)
        return False
    away.is_over()
    return True


def _queue_of(task: Any, lane: str) -> str | None:
    """The queue of the other lane; None for the task's own, which is Celery's to know."""
    if lane != Analysis.Lane.BULK:
        return None
    return queue_for(lane, settings.CELERY["task_routes"][task.name]["queue"])
