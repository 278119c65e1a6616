"""The watchdog, with real processes that stand still in different ways."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.processes import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

WATCHED = """
import os, re, sys, threading, time
from tests import settings  # noqa: F401
import django; django.setup()
from django.conf import settings
settings.WATCHDOG_S = 3.0
settings.LOG_FORMAT = "json"
from workers.watched import Watched
watched = Watched("analyse@here")
def round(times):
    for _ in range(times):
        watched.tell()
        time.sleep(0.5)
def stuck_in_python():
    threading.Event().wait()
def stuck_in_native_code():
    re.fullmatch("(a+)+", "a" * 60 + "b")  # it would take centuries, and keeps the lock of Python
watched.tell()
print("up", os.getpid(), flush=True)
"""
Watched = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def watched() -> Iterator[Watched]:
    """A process that is watched, and does this after it has come up; its first line has been read."""
    started: list[subprocess.Popen[str]] = []

    def start(what: str, *before: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*before, sys.executable, "-c", WATCHED + what],
            cwd=ROOT,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("up"), process.communicate()[1]
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def watchdogs(process: subprocess.Popen[str]) -> list[int]:
    """The watchdogs in the session of this process."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            is_one = b"watchdog.py" in (folder / "cmdline").read_bytes()
            session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
        except OSError:
            continue
        if is_one and session == process.pid:
            found.append(int(folder.name))
    return found


def the_watchdog(process: subprocess.Popen[str]) -> int:
    """The only one; in the moment in which it becomes its program it is not seen."""
    wait_for("its watchdog", lambda: watchdogs(process))
    (pid,) = watchdogs(process)
    return pid


def said(process: subprocess.Popen[str]) -> str:
    """The watchdog's only line, when both have ended."""
    lines = [json.loads(line) for line in process.communicate(timeout=30)[1].splitlines() if "watchdog" in line]
    assert len(lines) == 1, lines
    assert lines[0]["level"] == "error"
    assert lines[0]["logger"] == "project.watchdog"
    assert lines[0]["process"] == "analyse"
    assert f"(process {lines[0]['pid']})" in lines[0]["event"]
    return str(lines[0]["event"])


def test_a_process_whose_loop_waits_for_ever_is_killed_and_the_log_says_where_it_stands(watched):
    process = watched("round(2)\nstuck_in_python()")
    assert process.wait(timeout=30) == -signal.SIGKILL
    line = said(process)
    assert line.startswith(f"analyse@here (process {process.pid}) has stood still for 3 s and is killed: it stands at ")
    assert "< stuck_in_python (" in line


def test_a_process_whose_native_code_keeps_the_lock_of_python_is_killed_too(watched):
    process = watched("stuck_in_native_code()")
    assert process.wait(timeout=30) == -signal.SIGKILL
    assert "< stuck_in_native_code (" in said(process)


def test_a_process_that_is_stopped_is_killed(watched):
    process = watched("round(1000)")
    process.send_signal(signal.SIGSTOP)
    assert process.wait(timeout=30) == -signal.SIGKILL
    assert "it does not run at all" in said(process)


def test_one_that_goes_round_lives_and_the_watchdog_ends_with_it(watched):
    process = watched("round(14)")  # twice as long as it may be silent
    assert the_watchdog(process)
    assert process.wait(timeout=60) == 0
    wait_for("the watchdog has ended", lambda: not watchdogs(process))
    assert process.communicate()[1] == ""


def test_a_child_that_outlives_it_does_not_keep_the_watchdog(watched):
    process = watched("if os.fork() == 0:\n    time.sleep(600)")
    assert process.wait(timeout=30) == 0
    wait_for("the watchdog has ended", lambda: not watchdogs(process))


def test_a_watchdog_that_is_killed_is_followed_by_another(watched):
    process = watched("round(1000)")
    first = the_watchdog(process)
    os.kill(first, signal.SIGKILL)
    wait_for("another watchdog", lambda: watchdogs(process) not in ([], [first]))
    process.send_signal(signal.SIGSTOP)
    assert process.wait(timeout=30) == -signal.SIGKILL


def test_a_machine_that_sleeps_wakes_up_with_all_its_processes(watched):
    """All of them stand still together, for longer than one of them may alone."""
    process = watched("round(1000)")
    watchdog = the_watchdog(process)
    for pid in (watchdog, process.pid):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(5)
    for pid in (watchdog, process.pid):
        os.kill(pid, signal.SIGCONT)
    time.sleep(5)
    assert process.poll() is None
    assert watchdogs(process) == [watchdog]


def _can_unshare() -> bool:
    words = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return shutil.which("unshare") is not None and subprocess.run(words, capture_output=True).returncode == 0


@pytest.mark.skipif(not _can_unshare(), reason="needs a process namespace of its own, as containers have")
@pytest.mark.parametrize("stuck", ["stuck_in_python()", "stuck_in_native_code()"])
def test_the_first_process_of_a_container_leaves_though_nobody_within_can_kill_it(watched, stuck):
    process = watched(f"assert os.getpid() == 1\n{stuck}", "unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    assert process.wait(timeout=30) != 0
    assert "analyse@here (process 1) has stood still for 3 s and is killed" in said(process)
