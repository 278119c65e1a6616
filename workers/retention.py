"""Retention at work: a run of some seconds, so that it neither keeps a worker from stopping nor others from writing."""

from __future__ import annotations

import logging
import time

from django.conf import settings

from detection.metrics.instruments import RETENTION_BYTES, RETENTION_MEDIA
from detection.models.pruning import Outcome, prune, sentence
from detection.models.retention import has_rules
from workers import stopping

log = logging.getLogger(__name__)

RUN_S = 10.0


def prune_for_a_while() -> bool:
    """Removes what is to go; answers whether more is left. Costs next to nothing where no rule is set."""
    if not settings.RETAIN_CAPTURES_DAYS and not has_rules():
        return False
    began = time.monotonic()
    outcome = prune(lambda: time.monotonic() - began < RUN_S and not stopping.is_said())
    RETENTION_MEDIA.add(by=outcome.summary.total.media)
    RETENTION_BYTES.add(by=outcome.summary.total.bytes)
    _tell(outcome, time.monotonic() - began)
    return not outcome.is_done


def _tell(outcome: Outcome, took_s: float) -> None:
    rest = "nothing more is to go" if outcome.is_done else "more is to go"
    log.info("retention removed %s in %.1f s; %s", outcome.words, took_s, rest)
    for shortfall in outcome.shortfalls:
        log.warning("%s", sentence(shortfall))
