"""Reading what the processes of a machine counted, as Prometheus would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from detection.metrics import store
from detection.metrics.exposition import of_machine

Series = dict[tuple[str, ...], float]


@pytest.fixture
def fresh_counts(settings, tmp_path, monkeypatch) -> Iterator[None]:
    """A machine of the test's own, on which nothing has happened yet."""
    settings.METRICS_DIR = str(tmp_path / "counts")
    monkeypatch.setattr(store, "_store", None)
    yield
    store.store().close()


def series(text: str, name: str) -> Series:
    """The samples of this name, by the values of their labels in the labels' order."""
    return {
        tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def counted(name: str) -> Series:
    """As ``series``, of what was counted here, without what is still at 0."""
    return {values: value for values, value in series(of_machine().decode(), name).items() if value}
