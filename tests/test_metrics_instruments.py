"""What is counted and timed: bounded whatever comes from outside, and as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from detection.metrics import instruments, refused, store
from detection.metrics.exposition import of_machine
from detection.metrics.instruments import OTHER, Counter, Histogram


@pytest.fixture(autouse=True)
def counted(settings, tmp_path, monkeypatch) -> Iterator[None]:
    """A machine of our own, on which nothing has happened yet; what a test makes is forgotten after it."""
    settings.METRICS_DIR = str(tmp_path)
    monkeypatch.setattr(store, "_store", None)
    monkeypatch.setattr(instruments, "INSTRUMENTS", list(instruments.INSTRUMENTS))
    monkeypatch.setattr("detection.metrics.machine.INSTRUMENTS", instruments.INSTRUMENTS)
    yield
    store.store().close()


def families() -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(of_machine().decode())}


def seen(name: str) -> dict[tuple[str, ...], float]:
    """By sample name and values of its labels, in the labels' order."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for sample in families()[name].samples
    }


def test_a_counter_counts():
    apples = Counter("nightjar_apples", "Apples.", ("colour", "size"))
    apples.add("red", "big")
    apples.add("red", "big", by=2)
    apples.add("green", "small")
    assert seen("nightjar_apples") == {
        ("nightjar_apples_total", "red", "big"): 3,
        ("nightjar_apples_total", "green", "small"): 1,
    }


def test_what_is_to_be_seen_as_a_rise_is_there_before():
    """A series that begins at 1 is no rise to Prometheus: the first crash would not be seen."""
    Counter("nightjar_plain", "Plain.")
    Counter("nightjar_kinds", "Kinds.", ("kind",), zeros=[("a",), ("b",)])
    assert seen("nightjar_plain") == {("nightjar_plain_total",): 0}
    assert seen("nightjar_kinds") == {("nightjar_kinds_total", "a"): 0, ("nightjar_kinds_total", "b"): 0}


def test_a_zero_is_not_told_beside_a_count():
    kinds = Counter("nightjar_kinds", "Kinds.", ("kind",), zeros=[("a",), ("b",)])
    kinds.add("a", by=4)
    assert seen("nightjar_kinds") == {("nightjar_kinds_total", "a"): 4, ("nightjar_kinds_total", "b"): 0}


def test_a_histogram_tells_how_many_took_how_long_at_most():
    times = Histogram("nightjar_times_seconds", "Times.", ("what",), buckets=(0.1, 1.0))
    for took_s in (0.05, 0.1, 0.5, 7.0):
        times.observe(took_s, "work")
    assert seen("nightjar_times_seconds") == {
        ("nightjar_times_seconds_bucket", "0.1", "work"): 2,
        ("nightjar_times_seconds_bucket", "1.0", "work"): 3,
        ("nightjar_times_seconds_bucket", "+Inf", "work"): 4,
        ("nightjar_times_seconds_count", "work"): 4,
        ("nightjar_times_seconds_sum", "work"): pytest.approx(7.65),
    }


def test_buckets_that_nothing_fell_into_are_told_as_well():
    """Without the last one Prometheus has no quantile, and without those between a wrong one."""
    times = Histogram("nightjar_times_seconds", "Times.", buckets=(0.1, 1.0, 10.0))
    times.observe(0.5)
    assert [value for key, value in seen("nightjar_times_seconds").items() if "_bucket" in key[0]] == [0, 1, 1, 1]
    assert list(seen("nightjar_times_seconds"))[-4:] == [
        ("nightjar_times_seconds_bucket", upper) for upper in ("0.1", "1.0", "10.0", "+Inf")
    ]


def test_a_clock_that_was_set_back_takes_nothing_from_the_sum():
    times = Histogram("nightjar_times_seconds", "Times.")
    times.observe(-5.0)
    times.observe(2.0)
    assert seen("nightjar_times_seconds")["nightjar_times_seconds_sum",] == 2.0


def test_hostile_labels_do_not_make_series_without_end():
    fruit = Counter("nightjar_fruit", "Fruit.", ("name",), most=10)
    for number in range(5000):
        fruit.add(f"fruit {number}")
    counted = seen("nightjar_fruit")
    assert len(counted) == 11
    assert counted["nightjar_fruit_total", OTHER] == 4990


def test_many_processes_with_other_labels_each_do_not_either(monkeypatch):
    """As workers with models of their own: each process bounds what it counts, the sum is bounded when it is told."""
    fruit = Counter("nightjar_fruit", "Fruit.", ("name",), most=10)
    times = Histogram("nightjar_times_seconds", "Times.", ("name",), most=10, buckets=(1.0,))
    for process in range(5):
        monkeypatch.setattr(fruit, "_keys", {})
        monkeypatch.setattr(times, "_keys", {})
        for number in range(10):
            fruit.add(f"fruit {process} {number}")
            times.observe(0.5, f"fruit {process} {number}")
    counted = seen("nightjar_fruit")
    assert len(counted) == 11
    assert counted["nightjar_fruit_total", OTHER] == 40
    assert sum(counted.values()) == 50
    timed = seen("nightjar_times_seconds")
    assert len([key for key in timed if key[0].endswith("_count")]) == 11
    assert timed["nightjar_times_seconds_bucket", "+Inf", OTHER] == timed["nightjar_times_seconds_count", OTHER] == 40


def test_a_label_as_long_as_a_book_is_cut():
    fruit = Counter("nightjar_fruit", "Fruit.", ("name",))
    fruit.add("x" * 10_000_000)
    ((_, name),) = seen("nightjar_fruit")
    assert len(name) == instruments.LABEL_LONGEST


@pytest.mark.parametrize("name", ['a "quoted" name', "back\\slash", "two\nlines", "\0", "\ud800", "Ätna 🦉"])
def test_strange_labels_break_nothing(name):
    fruit = Counter("nightjar_fruit", "Fruit.", ("name",))
    fruit.add(name)
    fruit.add("plain")
    assert seen("nightjar_fruit")["nightjar_fruit_total", "plain"] == 1
    assert sum(seen("nightjar_fruit").values()) == 2


def test_a_wrong_number_of_labels_is_a_mistake_of_ours():
    fruit = Counter("nightjar_fruit", "Fruit.", ("name",))
    with pytest.raises(ValueError, match="nightjar_fruit has the labels"):
        fruit.add("red", "big")


def test_each_instrument_has_its_meaning_from_the_start():
    told = families()
    for instrument in instruments.INSTRUMENTS:
        assert told[instrument.name].documentation == instrument.meaning
        assert told[instrument.name].type == instrument.kind


def test_what_an_older_version_counted_under_another_name_is_not_told():
    old = store.key("nightjar_old", "nightjar_old_total", (), (), "Old.")
    store.store().add(("counter", old, 1))
    assert "nightjar_old" not in families()


def test_refusals_are_counted():
    refused("login_failed")
    refused("login_failed")
    assert seen("nightjar_refusals")["nightjar_refusals_total", "login_failed"] == 2


def test_the_version_is_told(settings):
    settings.CODE_VERSION = "1.2.3"
    (sample,) = families()["nightjar_build_info"].samples
    assert sample.labels["version"] == "1.2.3"
