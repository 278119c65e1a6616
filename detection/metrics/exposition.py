"""All metrics as Prometheus reads them."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Iterator

from django.conf import settings
from django.db import Error as DatabaseFault
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from detection.metrics.machine import Counted, Machine

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def of_machine() -> bytes:
    """What is true of this machine alone: for those without a web process. Needs no database."""
    return _written(_families([Machine(), Counted()]))


def of_everything() -> bytes:
    """As ``of_machine``, and what the rows say of the whole system; the first, too, where the database is away."""
    return _written(_all())


def is_token(authorization: str) -> bool:
    """Whether this header carries the token that is set."""
    scheme, _, token = authorization.partition(" ")
    if not settings.METRICS_TOKEN or scheme.lower() != "bearer":
        return False
    return secrets.compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode())


def _all() -> Iterator[Metric]:
    began = time.perf_counter()
    yield from _families([Machine(), Counted()])
    try:
        families = list(_families(_collectors_of_rows()))
    except DatabaseFault as error:
        log.warning("the metrics lack what the rows say: the database does not answer: %s", error)
        families = []
    yield from families
    yield GaugeMetricFamily("nightjar_database_up", "1 where the database answered, else 0.", value=bool(families))
    took_s = time.perf_counter() - began
    yield GaugeMetricFamily("nightjar_scrape_seconds", "How long it took to gather all this.", value=took_s)


def _collectors_of_rows() -> list[Collector]:
    from detection.metrics.cameras import Cameras
    from detection.metrics.rows import Processes, Queues, Stock
    from detection.models.clock import now

    moment = now()
    return [Cameras(moment), Queues(), Stock(), Processes(moment)]


def _families(collectors: Iterable[Collector]) -> Iterator[Metric]:
    for collector in collectors:
        yield from collector.collect()


class _Gathered(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _written(families: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gathered(list(families)))
    return generate_latest(registry)
