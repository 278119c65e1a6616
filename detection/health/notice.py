"""What every page says where nothing is being analysed."""

from __future__ import annotations

import time
from datetime import timedelta

from django.conf import settings
from django.db.models.functions import Now

from detection.health.snapshot import stale_after_s
from detection.models import Heartbeat

NO_WORKER = (
    "Nothing is being analysed just now, because no worker is running. Uploads are kept, and are analysed when one is "
    "back."
)
NO_BROKER = (
    "Nothing new is being analysed just now, because the queue cannot be reached. Uploads are kept, and are analysed "
    "when it is back."
)
_began_at = time.monotonic()


def health_notice() -> str:
    """A sentence, or nothing; one short query. Not right after the start: the workers start beside this process."""
    if time.monotonic() - _began_at < settings.HEALTH_GRACE_S:
        return ""
    signs = Heartbeat.objects.filter(at__gte=Now() - timedelta(seconds=stale_after_s()))
    analysing = [has_broker for queues, has_broker in signs.values_list("queues", "has_broker") if "chunks" in queues]
    if not analysing:
        return NO_WORKER
    return "" if any(analysing) else NO_BROKER
