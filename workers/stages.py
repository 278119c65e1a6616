"""What of the work on a row took how long: measured always, logged where a stage is slow."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

from django.conf import settings

from detection.metrics.instruments import STAGE_SECONDS

log = logging.getLogger("detection.slow")

_taken: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)


def begin() -> None:
    """Other work begins in this thread."""
    _taken.set({})


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Measures this block; also where it fails, because what fails may have been slow."""
    began = perf_counter()
    try:
        yield
    finally:
        took(name, perf_counter() - began)


def took(name: str, seconds: float) -> None:
    """Notes a time that was measured elsewhere."""
    taken = _taken.get()
    if taken is None:
        taken = {}
        _taken.set(taken)
    taken[name] = taken.get(name, 0.0) + seconds
    STAGE_SECONDS.observe(seconds, name)


def end(what: str) -> None:
    """The work is over, well or not; says where the time went if a stage took longer than SLOW_STAGE_S."""
    taken = _taken.get() or {}
    _taken.set({})
    slow = [name for name, seconds in taken.items() if seconds >= settings.SLOW_STAGE_S]
    if slow:
        times = {name: round(seconds, 3) for name, seconds in taken.items()}
        log.warning("%s: slow in %s", what, ", ".join(slow), extra={"stages_s": times})
