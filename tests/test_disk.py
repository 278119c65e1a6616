"""How much room there is for new media."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest
from django.db import OperationalError

from detection import disk
from tests.disks import Free, a_disk

RESERVE = 1000


@pytest.fixture
def disk_with(monkeypatch, settings) -> Free:
    settings.DISK_RESERVE_BYTES = RESERVE
    return a_disk(monkeypatch)


@pytest.mark.parametrize(
    ("free", "data", "room"),
    [
        (5000, 9000, 4000),
        (9000, 1500, 8000),  # what new media take they take of their own disk
        (9000, 1000, 0),
        (1000, 9000, 0),
        (1001, 1001, 1),
        (0, 0, 0),
    ],
)
def test_there_is_room_for_what_is_free_but_the_reserve_and_none_where_any_disk_has_only_that(
    disk_with, free, data, room
):
    disk_with(free, data)
    assert disk.room_bytes() == room
    assert disk.is_nearly_full() is (room == 0)
    assert disk.has_room_for(room) is (room > 0)
    assert disk.has_room_for(room + 1) is False


def test_nothing_is_refused_without_a_reserve_or_where_no_disk_tells(disk_with, settings, monkeypatch):
    disk_with(0)
    settings.DISK_RESERVE_BYTES = 0
    assert (disk.room_bytes(), disk.is_nearly_full(), disk.has_room_for(10**15)) == (None, False, True)
    settings.DISK_RESERVE_BYTES = RESERVE

    def tells_nothing(path: Path) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "statvfs", tells_nothing)
    assert (disk.room_bytes(), disk.is_nearly_full(), disk.has_room_for(10**15)) == (None, False, True)
    assert disk.free_bytes() == {}


def test_a_folder_that_is_still_to_be_made_is_on_the_disk_of_the_one_above(settings, tmp_path):
    settings.INCOMING_DIR = tmp_path / "not" / "there" / "incoming"
    assert disk.free_bytes()["media"] == pytest.approx(disk.free_at(tmp_path), rel=0.1)
    assert disk.free_bytes()["media"] > 0


def test_a_real_disk_without_room_says_so():
    with pytest.raises(OSError) as told, open("/dev/full", "wb") as full:
        full.write(b"x")
    assert disk.says_full(told.value)
    assert disk.says_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert not disk.says_full(OSError(errno.EFBIG, "File too large")), "room would not help: it may not be waited for"
    assert not disk.says_full(OSError(errno.EIO, "Input/output error"))
    assert not disk.says_full(RuntimeError("something else"))


def test_a_database_that_cannot_grow_says_so(tmp_path):
    with sqlite3.connect(tmp_path / "small.sqlite3") as database:
        database.execute("PRAGMA max_page_count = 2")
        database.execute("CREATE TABLE t (x)")
        with pytest.raises(sqlite3.OperationalError) as told:
            database.execute("INSERT INTO t VALUES (zeroblob(100000))")
    assert disk.says_full(OperationalError(str(told.value)))

    class DiskFull(Exception):
        sqlstate = "53100"

    of_postgresql = OperationalError("could not extend file: No space left on device")
    of_postgresql.__cause__ = DiskFull()
    assert disk.says_full(of_postgresql)
    assert not disk.says_full(OperationalError("database is locked"))
