"""The signs of life of a process come from its loop, and wait for nobody."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time

import pytest
from django.db import OperationalError

from detection.models import Heartbeat
from tests.processes import wait_for
from workers import heartbeat
from workers.heartbeat import Life, memory_bytes


class Rows:
    """Where the signs are written."""

    def __init__(self) -> None:
        self.signs = []
        self.goodbyes = []
        self.is_away = False
        self.is_broken = False
        self.answers = threading.Event()
        self.answers.set()

    def beat(self, sign) -> None:
        self.answers.wait(30)
        if self.is_away:
            raise OperationalError("it is away")
        if self.is_broken:
            raise ValueError("nobody expected this")
        self.signs.append(sign)

    def goodbye(self, name, pid) -> None:
        self.goodbyes.append((name, pid))


@pytest.fixture
def rows(monkeypatch, settings) -> Rows:
    settings.HEARTBEAT_S = 0.0
    rows = Rows()
    monkeypatch.setattr(Heartbeat, "beat", rows.beat)
    monkeypatch.setattr(Heartbeat, "goodbye", rows.goodbye)
    return rows


@pytest.fixture
def life(rows):
    life = Life("analyse@here", "worker", ["chunks"], 2)
    yield life
    rows.answers.set()
    life.end()


def ticks_until(life: Life, holds) -> None:
    def tick() -> object:
        life.tick()
        return holds()

    wait_for("the sign", tick)


def test_a_round_of_the_loop_becomes_a_sign(life, rows):
    ticks_until(life, lambda: rows.signs)
    sign = rows.signs[0]
    assert (sign.name, sign.pid, sign.queues, sign.slots) == ("analyse@here", os.getpid(), ["chunks"], 2)
    assert sign.memory_bytes >= sign.largest_bytes > 1_000_000
    assert sign.has_broker


def test_a_loop_that_stands_still_gives_no_sign_though_the_thread_lives(life, rows):
    ticks_until(life, lambda: rows.signs)
    wait_for("the last one is seen", lambda: not life._said.is_set())
    with life._writes:  # and written
        pass
    before = len(rows.signs)
    time.sleep(1.0)
    assert len(rows.signs) == before


def test_signs_are_written_now_and_then_and_at_once_where_the_broker_goes_or_comes(life, rows, settings):
    settings.HEARTBEAT_S = 3600.0
    ticks_until(life, lambda: rows.signs)
    for _ in range(100):
        life.tick()
    life.tick(has_broker=False)
    wait_for("the sign without the broker", lambda: len(rows.signs) == 2)
    assert not rows.signs[1].has_broker


def test_a_database_that_hangs_does_not_hold_up_the_loop(life, rows):
    rows.answers.clear()
    began = time.monotonic()
    for _ in range(200):
        life.tick()
    assert time.monotonic() - began < 5
    assert rows.signs == []
    rows.answers.set()
    wait_for("the sign, once it answers", lambda: rows.signs)


def test_a_database_that_is_away_is_one_line_until_it_is_back(life, rows, caplog):
    caplog.set_level(logging.INFO, "workers.heartbeat")
    rows.is_away = True
    ticks_until(life, lambda: caplog.records)
    for _ in range(5):
        life.tick()
        time.sleep(0.02)
    rows.is_away = False
    ticks_until(life, lambda: rows.signs)
    wait_for("both lines", lambda: len(caplog.records) >= 2)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_what_nobody_expected_is_told_once_and_the_signs_come_again(life, rows, caplog):
    rows.is_broken = True
    ticks_until(life, lambda: caplog.records)
    for _ in range(5):
        life.tick()
        time.sleep(0.02)
    rows.is_broken = False
    ticks_until(life, lambda: rows.signs)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.exc_info


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_is_gone_is_followed_by_another(life, rows, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(life, "sign", lambda: sys.exit())
        life.tick()
        life._thread.join(10)
    ticks_until(life, lambda: rows.signs)


def test_who_is_told_to_stop_says_goodbye(life, rows):
    ticks_until(life, lambda: rows.signs)
    life.end()
    assert rows.goodbyes == [("analyse@here", os.getpid())]


def test_who_is_told_to_stop_while_a_sign_is_written_says_goodbye_all_the_same(life, rows):
    rows.answers.clear()
    life.tick()
    wait_for("it is being written", lambda: life._writes.locked())
    ending = threading.Thread(target=life.end)
    ending.start()
    wait_for("it was told", lambda: life._is_over)
    rows.answers.set()
    ending.join()
    assert rows.goodbyes == [("analyse@here", os.getpid())]


def test_a_fork_waits_a_moment_for_what_is_being_written_and_no_longer(life, rows, monkeypatch):
    monkeypatch.setattr(heartbeat, "FORK_WAITS_S", 0.2)
    rows.answers.clear()
    life.tick()
    wait_for("it is being written", lambda: life._writes.locked())
    child = os.fork()
    if not child:  # pragma: no cover
        os._exit(0 if life._is_over and not life._writes.locked() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert life._writes.locked(), "the writer still has it"


def test_the_memory_of_processes_below_counts(life):
    alone = memory_bytes()
    large = "import time; x = b'1' * 30_000_000; print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", large], stdout=subprocess.PIPE) as below:
        assert below.stdout is not None
        below.stdout.readline()
        together = memory_bytes()
        below.kill()
    assert len(together) == len(alone) + 1
    assert together[-1] > 30_000_000
