"""The sweep's word to Sentry, once a minute: I am still called, and get through.

Beat, the broker, the worker and the sweep itself must be well for it to come. Where one is not, it fails to come, and
Sentry tells people, though nothing here is left that could. Sentry's monitors know whole minutes only, so the sweep's
own timetable cannot be handed to them.
"""

from __future__ import annotations

import time

from django.conf import settings

SLUG = "sweep"
EVERY_S = 60.0
MONITOR = {
    "schedule": {"type": "interval", "value": 1, "unit": "minute"},
    "timezone": "UTC",
    "checkin_margin": 2,  # minutes late
    "max_runtime": 2,
    "failure_issue_threshold": 2,
    "recovery_threshold": 1,
}

_said_at = -EVERY_S


def swept() -> None:
    """A sweep is over; does nothing without a DSN."""
    global _said_at
    if not settings.SENTRY_DSN or time.monotonic() - _said_at < EVERY_S:
        return
    _said_at = time.monotonic()
    from sentry_sdk.crons import capture_checkin

    capture_checkin(monitor_slug=SLUG, status="ok", monitor_config=MONITOR)  # type: ignore[arg-type]
