"""Whether this process is about to stop: then it is not ready, so that nothing new is sent to it."""

from __future__ import annotations

import threading

_stops = threading.Event()


def stop_being_ready() -> None:
    """Called at the very start of a shutdown, before anything else of it."""
    _stops.set()


def is_stopping() -> bool:
    return _stops.is_set()


def be_ready_again() -> None:
    """For tests."""
    _stops.clear()
