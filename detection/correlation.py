"""The correlation id: one word for everything that follows from one request, from its log lines to its results.

It comes with the request, or is made for it; lies on the rows that the request makes; travels in the headers of
Celery's messages; and is bound again, from the row, wherever somebody works on that. People see it as “Reference”.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.db.models import CharField

HTTP_HEADER = "X-Request-ID"
MESSAGE_HEADER = "nightjar_correlation_id"  # “correlation_id” is Celery's own, and another thing
MAX_LENGTH = 64

_VALID = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_LENGTH}}}")
_current: ContextVar[str] = ContextVar("correlation_id", default="")
observers: list[Callable[[str], None]] = []  # who wants to be told what begins, as Sentry


def current() -> str:
    """The id of what this thread is doing; empty outside of any."""
    return _current.get()


def new() -> str:
    return secrets.token_hex(8)


def taken_over(given: object) -> str:
    """An id that came from outside, or a new one where it is none: what is given goes into the log and onto pages."""
    return given if isinstance(given, str) and _VALID.fullmatch(given) else new()


@contextmanager
def bound(correlation_id: str) -> Iterator[str]:
    """Everything in this block belongs to this id."""
    token = bind(correlation_id)
    try:
        yield correlation_id
    finally:
        unbind(token)


def bind(correlation_id: str) -> Token[str]:
    """As ``bound``, where what begins and what ends are not in one block."""
    token = _current.set(correlation_id)
    for tell in observers:
        tell(correlation_id)
    return token


def unbind(token: Token[str]) -> None:
    _current.reset(token)


@contextmanager
def of_row(correlation_id: str) -> Iterator[str]:
    """As ``bound``, for what is done on a row; one that was made before there were ids goes by what goes on around."""
    with bound(correlation_id or current()) as which:
        yield which


def field() -> CharField[str, str]:
    """The column for a row's own; what makes a row need not think of it."""
    from django.db import models

    return models.CharField(
        "reference",
        max_length=MAX_LENGTH,
        blank=True,
        default=current,
        db_default="",
        editable=False,
        help_text="What the lines of the log that belong to it have as correlation_id.",
    )
