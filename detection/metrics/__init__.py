"""Metrics for Prometheus: what processes count (instruments.py, store.py), and what rows say (rows.py, cameras.py)."""

from detection.metrics.instruments import REFUSALS

__all__ = ["refused"]


def refused(reason: str) -> None:
    """A request was refused at the door; ``reason`` is a word of the code's own, as rate_upload or login_failed."""
    REFUSALS.add(reason)
