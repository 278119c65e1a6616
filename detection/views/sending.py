"""Handing queued work to the workers."""

from __future__ import annotations

from detection.models import Analysis, Proxy
from workers import tasks

WAITS = "It is accepted and waits for the queue, which cannot be reached just now; it is sent as soon as that is back."


def send(analysis: Analysis | None, proxy: Proxy | None = None) -> str:
    """Sends what was committed on its way. Answers a sentence where it has to wait for the queue, else nothing."""
    sent = analysis is None or tasks.send_analysis(analysis)
    # One look is enough: a queue that is away makes each further one wait for its time-out.
    if sent and proxy is not None:
        sent = tasks.send_proxy(proxy)
    return "" if sent else WAITS
