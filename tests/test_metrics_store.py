"""Counting in many processes at once: nothing is lost, nothing doubled, nothing grows, and nobody is harmed by it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from detection.metrics import store as module
from detection.metrics.store import Store, key, read
from tests.conftest import ROOT
from tests.processes import wait_for

APPLES = key("apples", "apples_total", (), (), "Apples.")
PEARS = key("pears", "pears_total", (), (), "Pears.")
COUNTS = """
import os, sys
from pathlib import Path
from detection.metrics.store import Store, key
store = Store(Path(sys.argv[1]))
def count(name, by=1):
    store.add(("counter", key(name, name + "_total", (), (), name.title() + "."), by))
def tell(word):
    print(word, flush=True)
def wait():
    sys.stdin.readline()
"""


class Process:
    """A process that does what the words say, step by step: it waits for our word at each ``wait()``."""

    def __init__(self, folder: Path, words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", COUNTS + words, str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self, word: str) -> None:
        assert self.process.stdout
        assert self.process.stdout.readline().strip() == word

    def go_on(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.go_on()
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "metrics" / "this-machine"


@pytest.fixture
def ours(folder):
    store = Store(folder)
    yield store
    store.close()


def sums(folder: Path) -> dict[str, float]:
    return {sample.name: sample.value for family in read(folder) for sample in family.samples}


def test_nothing_was_counted_where_no_folder_is(folder):
    assert read(folder) == []
    assert not folder.exists()


def test_what_several_processes_counted_is_added_up(folder, ours):
    ours.add(("counter", APPLES, 2), ("counter", PEARS, 1))
    other = Process(folder, "count('apples', 3); tell('done'); wait()")
    other.hear("done")
    assert sums(folder) == {"apples_total": 5, "pears_total": 1}
    other.end()
    assert sums(folder) == {"apples_total": 5, "pears_total": 1}


def test_a_fork_counts_for_itself_and_doubles_nothing(folder):
    forking = """
count('apples', 10)
child = os.fork()
if not child:
    count('apples', 1)
    os._exit(0)
os.waitpid(child, 0)
count('apples', 1)
tell('done'); wait()
"""
    process = Process(folder, forking)
    process.hear("done")
    assert sums(folder)["apples_total"] == 12
    assert len(list(folder.glob("counter_*.db"))) == 2
    process.end()


def test_a_fork_while_another_thread_counts_does_not_stand_still(folder):
    """The lock that the thread held then is locked in the child for ever, unless the child makes a new one."""
    forking = """
import threading, time
store._lock.acquire()
child = os.fork()
if not child:
    count('apples', 1)
    os._exit(0)
until = time.monotonic() + 20
while os.waitpid(child, os.WNOHANG) == (0, 0):
    if time.monotonic() > until:
        os.kill(child, 9); tell('it stands still'); os._exit(1)
    time.sleep(0.02)
store._lock.release()
tell('done'); wait()
"""
    process = Process(folder, forking)
    process.hear("done")
    assert sums(folder)["apples_total"] == 1
    process.end()


def test_threads_lose_nothing(folder, ours):
    def count() -> None:
        for _ in range(2000):
            ours.add(("counter", APPLES, 1))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums(folder) == {"apples_total": 16_000}


def test_when_all_are_gone_it_starts_from_nothing(folder):
    """A machine that was started again must not take up the counts of another time."""
    first = Process(folder, "count('apples', 7); tell('done'); wait()")
    first.hear("done")
    first.kill()
    second = Process(folder, "count('pears', 1); tell('done'); wait()")
    second.hear("done")
    assert sums(folder) == {"pears_total": 1}
    second.end()


def test_while_one_lives_what_another_counted_stays(folder, ours):
    """A sum that falls is a fresh start to Prometheus."""
    ours.add(("counter", PEARS, 1))
    first = Process(folder, "count('apples', 7); tell('done'); wait()")
    first.hear("done")
    first.kill()
    second = Process(folder, "count('apples', 1); tell('done'); wait()")
    second.hear("done")
    assert sums(folder) == {"apples_total": 8, "pears_total": 1}
    second.end()


def test_a_child_that_outlives_its_parent_keeps_the_counts(folder):
    parent = Process(
        folder,
        "import time\ncount('apples', 5)\nchild = os.fork()\nif child:\n    tell(child); wait()\ntime.sleep(60)",
    )
    assert parent.process.stdout
    child = int(parent.process.stdout.readline())
    try:
        parent.kill()
        other = Process(folder, "count('apples', 1); tell('done'); wait()")
        other.hear("done")
        assert sums(folder)["apples_total"] == 6
        other.end()
    finally:
        os.kill(child, 9)


def test_processes_that_are_replaced_again_and_again_do_not_fill_the_folder(folder, ours):
    """As the children of a worker that are recycled for their memory, for months."""
    ours.add(("counter", APPLES, 1))
    replaced = """
import signal
for number in range(60):
    child = os.fork()
    if not child:
        count('apples', 1)
        store.add(("histogram", key("times", "times_sum", (), (), "Times."), 2.0))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
tell('done'); wait()
"""
    process = Process(folder, replaced)
    process.hear("done")
    assert len(list(folder.iterdir())) < 2 * module.LEFT_MOST
    assert sums(folder)["apples_total"] == 61
    assert sums(folder)["times_sum"] == 120
    process.end()


def test_adding_up_changes_no_sum(folder, ours):
    ours.add(("counter", APPLES, 1))
    for number in range(3):
        process = Process(folder, f"count('apples', {number}); count('pears', 1); tell('done'); wait()")
        process.hear("done")
        process.kill()
        before = sums(folder)
        module.add_up_gone(folder, least=1)
        assert sums(folder) == before
    assert sorted(path.name for path in folder.glob("*.db")) == [
        f"counter_{os.getpid()}.db",
        "counter_gone.db",
    ]
    assert sums(folder) == {"apples_total": 4, "pears_total": 3}


def test_a_scrape_while_processes_come_and_go_never_sees_a_sum_fall(folder, ours):
    ours.add(("counter", APPLES, 1))
    coming = """
for number in range(80):
    child = os.fork()
    if not child:
        count('apples', 1)
        os._exit(0)
    os.waitpid(child, 0)
tell('done'); wait()
"""
    process = Process(folder, coming)
    seen = [0.0]
    until = time.monotonic() + 60
    while seen[-1] < 81 and time.monotonic() < until:
        seen.append(sums(folder)["apples_total"])
        assert seen[-1] >= seen[-2]
    assert seen[-1] == 81
    process.hear("done")
    process.end()


def test_every_byte_of_a_file_has_its_place_on_the_disk(folder, ours):
    """A file with holes kills the process that counts into one on a full disk."""
    for number in range(1500):
        ours.add(("counter", key("many", "many_total", ("n",), (str(number),), "Many of these." * 5), 1))
    (path,) = folder.glob("counter_*.db")
    status = path.stat()
    assert status.st_size > module.SIZE  # it has grown
    assert status.st_blocks * 512 >= status.st_size
    assert len(sums(folder)) == 1
    assert sum(len(family.samples) for family in read(folder)) == 1500


def test_with_a_full_disk_nothing_is_counted_and_nothing_fails(folder, ours, monkeypatch, caplog):
    def no_room(*_: int) -> None:
        raise OSError(28, "No space left on device")

    ours.add(("counter", APPLES, 1))
    with monkeypatch.context() as full:
        full.setattr(os, "posix_fallocate", no_room)
        ours.add(("histogram", key("times", "times_sum", (), (), "Times."), 2.0))
        ours.add(("counter", PEARS, 1))
    assert caplog.text.count("No space left on device") == 1
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    ours._not_before = 0.0
    ours.add(("counter", PEARS, 1))
    assert sums(folder) == {"apples_total": 1, "pears_total": 1}


def test_a_folder_that_cannot_be_made_harms_nobody(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    store = Store(tmp_path / "file" / "metrics")
    for _ in range(3):
        store.add(("counter", APPLES, 1))
    assert caplog.text.count("cannot be used") == 1
    assert read(store.folder) == []


def test_a_folder_that_somebody_removed_is_made_again_and_held(folder, ours):
    ours.add(("counter", APPLES, 1))
    shutil.rmtree(folder)
    ours.forked()  # a new child opens files of its own
    ours.add(("counter", APPLES, 2))
    other = Process(folder, "count('apples', 3); tell('done'); wait()")
    other.hear("done")
    assert sums(folder) == {"apples_total": 5}, "nobody took it for one that no process has"
    other.end()


@pytest.mark.parametrize("content", [b"", b"no metrics at all", b"\x40\0\0\0" + b"\xff" * 4092])
def test_a_damaged_file_is_left_out_and_the_others_count(folder, ours, content, caplog):
    ours.add(("counter", APPLES, 1))
    (folder / f"counter_{os.getppid()}.db").write_bytes(content)
    assert sums(folder) == {"apples_total": 1}
    assert "damaged" in caplog.text


def test_what_gone_containers_left_in_a_shared_folder_goes_and_what_living_ones_have_stays(folder):
    gone, lives = folder.with_name("a-container-that-is-gone"), folder.with_name("a-container-that-lives")
    first = Process(gone, "count('apples', 1); tell('done'); wait()")
    first.hear("done")
    second = Process(lives, "count('apples', 1); tell('done'); wait()")
    second.hear("done")
    first.kill()
    ours = Process(folder, "count('apples', 1); tell('done'); wait()")
    ours.hear("done")
    wait_for("the folder of the one that is gone to go", lambda: not gone.exists())
    assert sums(lives) == sums(folder) == {"apples_total": 1}
    ours.end()
    second.end()


def test_only_its_user_may_look_into_the_folder(folder, ours):
    ours.add(("counter", APPLES, 1))
    assert folder.stat().st_mode & 0o077 == 0
