"""How a task ended, in one word: for the metrics and for the line in the log.

Celery knows only whether a task raised an error. What it did with its row it says here, where that becomes known.
"""

from __future__ import annotations

from contextvars import ContextVar

DONE = "done"
RETRIED = "retried"  # it is tried again later
FAILED = "failed"  # for good, and its row says why
DROPPED = "dropped"  # there was nothing to do, or the row is no longer this worker's
HANDED_BACK = "handed back"  # the worker stops, and another goes on
PUT_OFF = "put off"  # what somebody waits for was done in its stead, and it is sent again
CRASHED = "crashed"  # its process died; told by the worker's main process
TOO_LONG = "too long"  # its process was ended over it; likewise
OUTCOMES = (DONE, RETRIED, FAILED, DROPPED, HANDED_BACK, PUT_OFF, CRASHED, TOO_LONG)

_noted: ContextVar[str] = ContextVar("outcome", default="")


def begin() -> None:
    """A task begins: nothing is known of its end."""
    _noted.set("")


def note(outcome: str) -> None:
    """Of several steps in one task the last counts, and one that only found nothing to do never does after another."""
    if outcome != DROPPED or not _noted.get():
        _noted.set(outcome)


def noted() -> str:
    """What was noted since the task began; empty where nothing was, and Celery's word counts."""
    return _noted.get()
