"""A process of the pool that has used too much memory is replaced between two pieces of work.

Celery does so (`worker_max_memory_per_child`): the piece of work is done and noted when the process leaves. It says so
only in a log that nobody reads, so it is said here.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
from typing import Any

from billiard.pool import EX_RECYCLE
from celery.signals import worker_process_shutdown
from django.conf import settings

log = logging.getLogger(__name__)

MEGA = 1_000_000
SAYS = "process %s has used %.0f MB of memory, more than WORKER_MAX_MEMORY_BYTES (%.0f MB): another takes its place"


def most_used_bytes() -> int:
    """The most that this process ever had of the memory, which is what Celery compares."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@worker_process_shutdown.connect
def _say_why(exitcode: int | None = None, **_: Any) -> None:
    """In the process that leaves, before it does."""
    if exitcode == EX_RECYCLE and settings.WORKER_MAX_MEMORY_BYTES:
        log.warning(SAYS, os.getpid(), most_used_bytes() / MEGA, settings.WORKER_MAX_MEMORY_BYTES / MEGA)
