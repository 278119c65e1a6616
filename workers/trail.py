"""What a task leaves behind in the log: one line at its end, and the correlation id in all lines before.

The id travels in the headers of the messages, and is bound for as long as a task runs. It is only a hint, as the
message is: once a row is claimed, its own counts (``belongs_to``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from celery import Task
from celery.signals import before_task_publish, task_postrun, task_prerun

from detection import correlation
from workers import measuring, outcome, stages

log = logging.getLogger(__name__)

BY_STATE = {"SUCCESS": outcome.DONE, "RETRY": outcome.RETRIED, "FAILURE": outcome.FAILED}
ROUTINE = ("sweep", "tidy", "grab")


@dataclass(slots=True)
class Run:
    """A task that is being done in this thread."""

    began: float
    bound: Token[str]
    before: Run | None  # the one that called it directly, as in tests


_run: ContextVar[Run | None] = ContextVar("run", default=None)


@before_task_publish.connect
def _send_along(headers: dict[str, Any] | None = None, **_: Any) -> None:
    """Every message has the id of what sent it; what beat sends begins something new."""
    if headers is not None:
        headers[correlation.MESSAGE_HEADER] = correlation.current() or correlation.new()


@task_prerun.connect
def _begin(task: Task, **_: Any) -> None:
    outcome.begin()
    stages.begin()
    given = task.request.get(correlation.MESSAGE_HEADER)
    given = given if given is not None else correlation.current()
    _run.set(Run(perf_counter(), correlation.bind(correlation.taken_over(given)), _run.get()))


@task_postrun.connect
def _end(task: Task, args: Any = (), state: str | None = None, **_: Any) -> None:
    run = _run.get()
    if run is None:
        return
    try:
        _over(task.request, short(task.name), _pk(args), state, perf_counter() - run.began)
    finally:
        _run.set(run.before)
        correlation.unbind(run.bound)


def belongs_to(correlation_id: str) -> None:
    """Of a row that is claimed: to its end the task goes by the row's id, its line and what it sends, retries, too.

    The message may have another, as where the row was sent again by somebody else since.
    """
    if correlation_id and _run.get() is not None:
        correlation.bind(correlation_id)


@contextmanager
def instead(task: Task, name: str, pk: int) -> Iterator[None]:
    """Around what a task does in place of its own work: that has its own line and count, and this was put off."""
    began, state = perf_counter(), "FAILURE"
    outcome.begin()
    try:
        yield
        state = "SUCCESS"
    finally:
        _over(task.request, name, pk, state, perf_counter() - began)
        outcome.begin()
        outcome.note(outcome.PUT_OFF)


@contextmanager
def of_message(request: Any) -> Iterator[None]:
    """In the main process, around what is said there of a task: it goes by the id of its message."""
    with correlation.bound(correlation.taken_over(request.request_dict.get(correlation.MESSAGE_HEADER))):
        yield


def died(request: Any, how: str) -> None:
    """In the main process: that of a task died over it, so that nobody else says how it ended."""
    name = short(request.name)
    measuring.ended(name, how)
    _tell(request, name, _pk(request.args), how, None, logging.WARNING)


def short(task_name: str) -> str:
    return task_name.rpartition(".")[2]


def _pk(args: Any) -> int | None:
    return args[0] if args and isinstance(args[0], int) else None


def _retries(request: Any) -> int:
    """Celery's main process has another kind of request than the task itself."""
    told = request.request_dict.get("retries") if hasattr(request, "request_dict") else request.retries
    return told or 0


def _over(request: Any, name: str, pk: int | None, state: str | None, took_s: float) -> None:
    how = (outcome.noted() if state == "SUCCESS" else "") or BY_STATE.get(state or "", outcome.FAILED)
    measuring.ended(name, how, took_s)
    _tell(request, name, pk, how, took_s, level_of(name, how, is_raised=state == "FAILURE"))


def _tell(request: Any, name: str, pk: int | None, how: str, took_s: float | None, level: int) -> None:
    facts = {
        "task": name,
        "outcome": how,
        "attempt": _retries(request) + 1,
        "queue": (request.delivery_info or {}).get("routing_key"),
        "task_id": request.id,
    }
    if took_s is not None:
        facts["duration_ms"] = round(took_s * 1000)
    if pk is not None:
        facts["pk"] = pk
    log.log(level, "%s%s: %s", name, "" if pk is None else f" {pk}", how, extra=facts)


def level_of(task: str, how: str, *, is_raised: bool = False) -> int:
    """What is done every moment is no news, nor is a message that came too late.

    Nor is here what failed and is noted on its row: whoever noted it has said why, as loud as it is. Nobody expected
    what is raised out of a task.
    """
    if is_raised:
        return logging.WARNING  # Celery's own line has the traceback
    return logging.DEBUG if task in ROUTINE or how == outcome.DROPPED else logging.INFO
