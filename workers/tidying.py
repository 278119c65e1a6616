"""What is cleared away now and then: apart from the sweep, which a slow storage must not hold up."""

from __future__ import annotations

import logging
import threading

from django.conf import settings

from detection.models import Heartbeat, LooseFile
from detection.storage import clear_left_behind

log = logging.getLogger(__name__)

_one_at_a_time = threading.Lock()  # where a storage hangs, it costs this worker one thread and not all


def tidy() -> None:
    """Deletes the files that no row names any more, and those that killed processes had not finished writing."""
    if not _one_at_a_time.acquire(blocking=False):
        return
    try:
        if cleared := LooseFile.clear():
            log.info("cleared away %s files that no row names", cleared)
        if cleared := clear_left_behind(settings.INCOMING_DIR):
            log.info("cleared away %s files that killed processes left in %s", cleared, settings.INCOMING_DIR)
    finally:
        _one_at_a_time.release()


def forget_processes() -> None:
    """Forgets the processes whose last sign of life is old: they are gone for good."""
    if forgotten := Heartbeat.forget_old():
        log.info("forgot %s processes that have been silent for long", forgotten)
