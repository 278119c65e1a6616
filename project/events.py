"""What workers tell of their tasks, for Flower: scrubbed before it leaves them, and all of it.

An error that nobody expected may have an address in its words, and Flower shows the words and the traceback.
"""

from __future__ import annotations

from threading import RLock
from typing import Any

from celery.app.events import Events as CeleryEvents
from celery.events.dispatcher import EventDispatcher

from detection.scrub import scrub

IN_WORDS = ("args", "kwargs", "exception", "traceback", "result")


class Dispatcher(EventDispatcher):
    """Celery's own, which collects what it sends. Where tasks are threads, it clears away what another has just added,
    and Flower would show tasks for ever that are long done: so one at a time.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._one_at_a_time = RLock()
        super().__init__(*args, **options)

    def send(self, type: str, *args: Any, **fields: Any) -> Any:  # noqa: A002 (Celery's name for it)
        for name in IN_WORDS:
            if isinstance(fields.get(name), str):
                fields[name] = scrub(fields[name])
        # A worker's loop sends these: it would try without end, and be taken for stuck. What is not sent is kept.
        fields["retry"] = False
        with self._one_at_a_time:
            return super().send(type, *args, **fields)

    def flush(self, *args: Any, **options: Any) -> Any:
        with self._one_at_a_time:
            return super().flush(*args, **options)


class Events(CeleryEvents):
    dispatcher_cls = "project.events:Dispatcher"
