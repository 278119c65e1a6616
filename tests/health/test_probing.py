"""Looking at what may hang."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from detection.health import probing
from detection.health.probing import Probe, Unwell, look_at
from tests.processes import wait_for


@pytest.fixture(autouse=True)
def quick(settings, monkeypatch):
    settings.HEALTH_PROBE_S = 20.0
    monkeypatch.setattr(probing, "APART_S", 0.0)


@pytest.fixture
def brief(settings):
    """For what hangs; what is to answer gets its time."""
    settings.HEALTH_PROBE_S = 0.3
    return settings


def of(look) -> Probe:
    return Probe("thing", look, "The thing cannot be reached")


def test_what_answers_is_ok_and_what_it_saw_is_kept():
    outcome = look_at([of(lambda: {"free": 7})])["thing"]
    assert (outcome.is_ok, outcome.says, outcome.found) == (True, "", {"free": 7})


def test_what_fails_says_so_without_the_words_of_the_error_which_may_hold_a_password():
    def fails() -> None:
        raise ConnectionRefusedError(111, "Connection refused to amqp://nightjar:pl4nted@queue//")

    def fails_otherwise() -> None:
        raise RuntimeError("redis://:pl4nted@queue")

    def is_unwell() -> None:
        raise Unwell("The disk is nearly full.")

    assert "pl4nted" not in look_at([of(fails_otherwise)])["thing"].says
    says = look_at([of(fails_otherwise)])["thing"].says
    assert says == "The thing cannot be reached (RuntimeError); the log has the rest."
    assert look_at([of(is_unwell)])["thing"].says == "The disk is nearly full."
    assert not look_at([of(fails)])["thing"].is_ok


def test_one_that_hangs_costs_one_thread_and_after_that_no_time(brief):
    held = threading.Event()
    looks = []

    def hangs() -> None:
        looks.append(threading.current_thread())
        held.wait(30)

    probe = of(hangs)
    outcome = look_at([probe])["thing"]
    assert (outcome.is_ok, outcome.says) == (False, "The thing cannot be reached: no answer within 0.3 s.")
    began = time.monotonic()
    for _ in range(50):
        assert not look_at([probe])["thing"].is_ok
    assert time.monotonic() - began < 5  # fifty times its limit would be 15
    assert len(looks) == 1
    held.set()
    looks[0].join(10)
    brief.HEALTH_PROBE_S = 20.0
    assert look_at([probe])["thing"].is_ok, "it is looked at anew once the one that hung is over"
    assert len(looks) == 2


def test_one_that_hangs_for_long_is_looked_at_anew_but_not_without_end(brief, monkeypatch):
    """Its connection may be lost for good, as where a database moved to another machine, and a new one works."""
    monkeypatch.setattr(probing, "GIVEN_UP_S", 0.4)
    held = threading.Event()
    looks = []

    def hangs_at_first() -> None:
        looks.append(threading.current_thread())
        if len(looks) == 1:
            held.wait(60)

    probe = of(hangs_at_first)
    assert not look_at([probe])["thing"].is_ok
    wait_for("another look", lambda: look_at([probe])["thing"].is_ok)
    assert len(looks) >= 2
    held.set()

    all_hang = threading.Event()
    begun = []

    def hangs() -> None:
        begun.append(threading.current_thread())
        all_hang.wait(60)

    probe = of(hangs)
    wait_for("the others", lambda: not look_at([probe])["thing"].is_ok and len(begun) == probing.THREADS_MOST)
    time.sleep(1)
    assert not look_at([probe])["thing"].is_ok
    assert len(begun) == probing.THREADS_MOST
    all_hang.set()
    for thread in begun:
        thread.join(10)
    brief.HEALTH_PROBE_S = 20.0
    assert look_at([probe])["thing"].is_ok


def test_what_comes_too_late_is_told_by_whichever_was_first(caplog, settings):
    """The look ends in the very moment in which nobody waits for it any more."""
    caplog.set_level(logging.INFO, "detection.health")
    settings.HEALTH_PROBE_S = 0.0
    probe = of(lambda: None)
    look = probe.begin()
    look.is_over.wait(10)
    look.is_over.clear()  # as who waits saw it
    assert probe.outcome(look).is_ok
    assert not caplog.records


def test_what_was_given_up_and_ends_at_last_is_not_told(brief, caplog, monkeypatch):
    monkeypatch.setattr(probing, "GIVEN_UP_S", 0.4)
    caplog.set_level(logging.INFO, "detection.health")
    held = threading.Event()
    looks = []

    def fails_at_first() -> None:
        looks.append(threading.current_thread())
        if len(looks) == 1:
            held.wait(60)
            raise RuntimeError("it was lost long ago")

    probe = of(fails_at_first)
    wait_for("another look", lambda: look_at([probe])["thing"].is_ok)
    held.set()
    looks[0].join(10)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "lost long ago" not in caplog.text


def test_all_are_looked_at_at_once(settings):
    settings.HEALTH_PROBE_S = 20.0
    together = threading.Barrier(3)
    probes = [Probe(str(number), lambda: together.wait(15), "No") for number in range(3)]
    assert all(outcome.is_ok for outcome in look_at(probes).values())


def test_those_who_ask_at_the_same_time_share_a_look(monkeypatch, settings):
    settings.HEALTH_PROBE_S = 20.0
    monkeypatch.setattr(probing, "APART_S", 60.0)
    looks = []
    begun = threading.Event()

    def look() -> int:
        looks.append(1)
        begun.wait(15)
        return len(looks)

    probe = of(look)
    found: list[object] = []
    asking = [threading.Thread(target=lambda: found.append(look_at([probe])["thing"].found)) for _ in range(5)]
    for thread in asking:
        thread.start()
    begun.set()
    for thread in asking:
        thread.join(20)
    assert found == [1] * 5


def test_the_log_has_a_line_where_it_changes_and_not_for_each_look(caplog):
    caplog.set_level(logging.INFO, "detection.health")
    faults: list[Exception] = []

    def look() -> None:
        if faults:
            raise faults[0]

    probe = of(look)
    look_at([probe])
    faults.append(RuntimeError("it went away"))
    for _ in range(3):
        look_at([probe])
    faults.clear()
    for _ in range(3):
        look_at([probe])
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "health: The thing cannot be reached (RuntimeError); the log has the rest. it went away",
        "health: thing is well again",
    ]
