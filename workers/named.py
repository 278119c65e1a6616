"""Tasks whose messages say in words what they are about, for people who look at the queues in Flower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Task

ABOUT = {
    "workers.tasks.analyse": "analysis",
    "workers.tasks.analyse_chunk": "chunk",
    "workers.tasks.finish": "analysis",
    "workers.tasks.make_proxy": "copy",
    "workers.tasks.grab": "capture",
    "workers.tasks.try_source": "trial",
    "workers.tasks.notify": "notification",
}


class NamedTask(Task):  # type: ignore[misc]
    """Its message carries “analysis 17” beside the number alone; it is never the address or name of anything."""

    def apply_async(self, args: Sequence[Any] | None = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        about = ABOUT.get(self.name)
        if about and args:
            options.setdefault("argsrepr", f"{about} {args[0]}")
        return super().apply_async(args, kwargs, *rest, **options)
