"""Grabbing: the only code that talks to cameras. Safe to call from many threads; returns or raises within its limits.

Light to import: what decodes lives in child processes (children.py, child.py), and HTTP is imported on first use.
"""

from __future__ import annotations

import logging
import traceback
from datetime import UTC, datetime

from detection.sources import Snapshot, Source
from workers.grab.types import GrabError, Limits, Policy, own_reason

__all__ = ["GrabError", "Limits", "Policy", "Snapshot", "Source", "grab"]

logger = logging.getLogger(__name__)


def grab(source: Source, limits: Limits, policy: Policy) -> Snapshot:
    """One picture from a camera. Raises GrabError, and nothing else that the camera could cause."""
    try:
        return _grab(source, limits, policy)
    except GrabError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a hostile camera finds to break is a grab that failed
        place = traceback.extract_tb(error.__traceback__)[-1]  # its message may have the address in it
        logger.error("A grab failed: %s at %s:%s.", type(error).__name__, place.filename, place.lineno)
        problem = own_reason(error)
    raise problem  # outside of the handler: what was caught must not stay attached


def _grab(source: Source, limits: Limits, policy: Policy) -> Snapshot:
    from workers.grab import children

    if source.kind not in ("http", "mjpeg"):
        return children.watch(source, limits, policy)
    from workers.grab.http import fetch

    fetched = fetch(source, limits, policy)
    return children.look(fetched.content, limits, datetime.fromtimestamp(fetched.at_s, UTC))
