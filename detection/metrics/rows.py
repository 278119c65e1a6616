"""What the rows say of the work: what waits, what lies in storage, which models there are, who lives."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.core.cache import cache
from django.db.models import Count, Sum
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from detection.health.roles import ALL_QUEUES
from detection.health.snapshot import stale_after_s
from detection.models import Analysis, Heartbeat, Media, Model, Proxy
from detection.models.backlog import backlog

KEPT_S = 60  # sums over all rows, of which there may be a million
MODELS_MAX = 50
PROCESSES_MAX = 200


class Queues(Collector):
    """How much waits for workers, by lane and kind of work."""

    def collect(self) -> Iterator[Metric]:
        labels = ["lane", "kind"]
        waiting = GaugeMetricFamily("nightjar_queue_waiting", "Work that no worker is at.", labels=labels)
        running = GaugeMetricFamily("nightjar_queue_running", "Work that a worker is at.", labels=labels)
        age = GaugeMetricFamily(
            "nightjar_queue_oldest_age_seconds", "How long the oldest of it has waited; 0: none waits.", labels=labels
        )
        for row in backlog():
            waiting.add_metric([row.lane, row.kind], row.waiting)
            running.add_metric([row.lane, row.kind], row.running)
            age.add_metric([row.lane, row.kind], row.oldest_age_s)
        yield from (waiting, running, age)


class Stock(Collector):
    """What lies there: media, their bytes, analyses by state, models. The sums are up to a minute old."""

    def collect(self) -> Iterator[Metric]:
        sums: dict[str, dict[str, int]] = cache.get_or_set("metrics-stock", _sums, KEPT_S) or {}
        media = GaugeMetricFamily("nightjar_media", "Media that are stored, by kind.", labels=["kind"])
        stored = GaugeMetricFamily(
            "nightjar_storage_bytes",
            "Bytes of the stored media, and of the copies that browsers play.",
            labels=["what"],
        )
        for kind in Media.Kind.values:
            media.add_metric([kind], sums["media"].get(kind, 0))
        for what in (*Media.Kind.values, "copy"):
            stored.add_metric([what], sums["bytes"].get(what, 0))
        analyses = GaugeMetricFamily("nightjar_analyses", "Analyses by state.", labels=["state"])
        for state in Analysis.State.values:
            analyses.add_metric([state], sums["analyses"].get(state, 0))
        yield from (media, stored, analyses, _models())


def _sums() -> dict[str, dict[str, int]]:
    media = Media.objects.order_by().values_list("kind").annotate(Count("pk"), Sum("bytes"))
    counts, sizes = {}, {}
    for kind, count, size in media:
        counts[kind], sizes[kind] = count, size or 0
    sizes["copy"] = Proxy.objects.aggregate(size=Sum("bytes"))["size"] or 0
    analyses = dict(Analysis.objects.order_by().values_list("state").annotate(Count("pk")))
    return {"media": counts, "bytes": sizes, "analyses": analyses}


def _models() -> Metric:
    family = InfoMetricFamily(
        "nightjar_model", "The models that are there; active is that which new analyses use.", labels=["model"]
    )
    columns = ("name", "runtime", "sha256", "is_active")
    for name, runtime, sha256, is_active in Model.objects.order_by("pk").values_list(*columns)[:MODELS_MAX]:
        facts = {"runtime": runtime, "sha256": sha256[:12], "active": "yes" if is_active else "no"}
        family.add_metric([name], facts)
    return family


class Processes(Collector):
    """The workers of all machines and beat, by their signs of life."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment

    def collect(self) -> Iterator[Metric]:
        labels = ["process", "kind"]
        age = GaugeMetricFamily("nightjar_heartbeat_age_seconds", "Since its last sign of life.", labels=labels)
        memory = GaugeMetricFamily(
            "nightjar_process_memory_bytes", "Memory of it and the processes below it.", labels=labels
        )
        largest = GaugeMetricFamily(
            "nightjar_process_largest_memory_bytes", "Memory of the largest process among them.", labels=labels
        )
        broker = GaugeMetricFamily(
            "nightjar_process_broker_up", "1 where it reaches the broker, else 0.", labels=labels
        )
        workers = dict.fromkeys(ALL_QUEUES, 0)
        for row in Heartbeat.objects.order_by("name")[:PROCESSES_MAX]:
            age_s = max(0.0, (self._moment - row.at).total_seconds())
            age.add_metric([row.name, row.kind], age_s)
            memory.add_metric([row.name, row.kind], row.memory_bytes)
            largest.add_metric([row.name, row.kind], row.largest_bytes)
            broker.add_metric([row.name, row.kind], row.has_broker)
            for queue in row.queues if age_s <= stale_after_s() else ():
                if queue in workers:
                    workers[queue] += 1
        yield from (age, memory, largest, broker)
        family = GaugeMetricFamily("nightjar_workers", "Workers that live and take from a queue.", labels=["queue"])
        for queue, count in workers.items():
            family.add_metric([queue], count)
        yield family
