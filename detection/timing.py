"""Where the time goes: what the database takes, of each request and of single statements."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

log = logging.getLogger("detection.slow")

SQL_SHOWN = 1000


@dataclass(slots=True)
class Tally:
    """What the database had to do."""

    statements: int = 0
    seconds: float = 0.0


_tally: ContextVar[Tally | None] = ContextVar("tally", default=None)


@contextmanager
def tallied(tally: Tally | None = None) -> Iterator[Tally]:
    """Counts the statements of this block, in this thread; with those that were counted already, where given."""
    tally = tally or Tally()
    token = _tally.set(tally)
    try:
        yield tally
    finally:
        _tally.reset(token)


def watch(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Receives ``connection_created``: every connection of every thread and process is looked after."""
    if timed not in connection.execute_wrappers:
        connection.execute_wrappers.append(timed)
    if "_commit" not in vars(connection):  # no statement to Django, though the disk is waited for there
        connection._commit = partial(_timed_commit, connection._commit)  # type: ignore[attr-defined]


def timed(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    """Does a statement. One that is slow is logged without its values: people's words and secrets are among them."""
    began = perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        _took(perf_counter() - began, sql, statements=1)


def _timed_commit(commit: Callable[[], Any]) -> Any:
    began = perf_counter()
    try:
        return commit()
    finally:
        _took(perf_counter() - began, "COMMIT", statements=0)


def _took(seconds: float, sql: str, statements: int) -> None:
    tally = _tally.get()
    if tally is not None:
        tally.statements += statements
        tally.seconds += seconds
    if seconds >= settings.SLOW_QUERY_S:
        shown = " ".join(str(sql)[:SQL_SHOWN].split())
        log.warning("a statement took %.1f s", seconds, extra={"duration_ms": round(seconds * 1000), "sql": shown})
