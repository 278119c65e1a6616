"""What is true of this machine: what its processes counted, what its disks have free, which version runs."""

from __future__ import annotations

import logging
import platform
from collections import defaultdict
from collections.abc import Iterator

import django
from django.conf import settings
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from detection import disk
from detection.metrics import store
from detection.metrics.instruments import INSTRUMENTS, OTHER, Counter, Histogram

log = logging.getLogger(__name__)

LabelsOf = tuple[tuple[str, str], ...]


class Machine(Collector):
    """The version, and the disks: below what they count as nearly full, too."""

    def collect(self) -> Iterator[Metric]:
        facts = {"version": settings.CODE_VERSION, "python": platform.python_version(), "django": django.__version__}
        yield InfoMetricFamily("nightjar_build", "Which Nightjar runs here.", value=facts)
        free = GaugeMetricFamily(
            "nightjar_disk_free_bytes", "Free, where new media come in, and where the other data lie.", labels=["disk"]
        )
        for name, free_bytes in disk.free_bytes().items():
            free.add_metric([name], free_bytes)
        yield free
        yield GaugeMetricFamily(
            "nightjar_disk_reserve_bytes",
            "With less free, new media are refused; 0 where that is switched off.",
            value=settings.DISK_RESERVE_BYTES,
        )


class Counted(Collector):
    """The sums of what all processes of this machine counted; each instrument is there, also where nothing was yet."""

    def collect(self) -> Iterator[Metric]:
        found = {family.name: family for family in store.read(store.folder())}
        for instrument in INSTRUMENTS:
            family = Metric(instrument.name, instrument.meaning, instrument.kind)
            counted = found.get(instrument.name)
            if counted is not None:
                samples = counted.samples
                if isinstance(instrument, Histogram):
                    samples = _with_all_buckets(instrument, samples)
                family.samples = _bounded(instrument, samples)
            _add_zeros(instrument, family)
            yield family


def _add_zeros(instrument: Counter | Histogram, family: Metric) -> None:
    if not isinstance(instrument, Counter):
        return
    there = {tuple(sample.labels[label] for label in instrument.labels) for sample in family.samples}
    for values in instrument.zeros:
        if values not in there:
            labels = dict(zip(instrument.labels, values, strict=True))
            family.add_sample(f"{instrument.name}_total", labels, 0.0)


def _with_all_buckets(instrument: Histogram, samples: list[Sample]) -> list[Sample]:
    """In the files are those only that something fell into; Prometheus needs all, each with the sum of those below."""
    name = f"{instrument.name}_bucket"
    found: dict[LabelsOf, dict[str, float]] = defaultdict(dict)
    for sample in samples:
        if sample.name == name:
            found[_labels_of(sample)][sample.labels["le"]] = sample.value
    complete = [sample for sample in samples if sample.name != name]
    for labels, values in found.items():
        below = 0.0
        for upper in map(floatToGoString, instrument.buckets):
            below = values.get(upper, below)
            complete.append(Sample(name, dict(labels) | {"le": upper}, below))
    return complete


def _bounded(instrument: Counter | Histogram, samples: list[Sample]) -> list[Sample]:
    """Each process bounds its own sets of labels; where many of them had others, the sum of all is bounded here."""
    sets = sorted({_labels_of(sample) for sample in samples})
    if len(sets) <= instrument.most + 1:
        return samples
    kept = set(sets[: instrument.most])
    rest: LabelsOf = tuple(sorted((label, OTHER) for label in instrument.labels))
    sums: dict[tuple[str, LabelsOf, str], float] = defaultdict(float)
    for sample in samples:
        labels = _labels_of(sample)
        sums[sample.name, labels if labels in kept else rest, sample.labels.get("le", "")] += sample.value
    return [
        Sample(name, dict(labels) | ({"le": upper} if upper else {}), value)
        for (name, labels, upper), value in sums.items()
    ]


def _labels_of(sample: Sample) -> LabelsOf:
    return tuple(sorted((label, value) for label, value in sample.labels.items() if label != "le"))
