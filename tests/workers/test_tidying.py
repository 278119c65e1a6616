"""What nobody will miss is cleared away, by one at a time."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from django.core.files.storage import default_storage

from detection.models import LooseFile
from detection.storage import put
from workers import tasks, tidying

pytestmark = pytest.mark.django_db


@pytest.fixture
def incoming(settings, tmp_path):
    settings.INCOMING_DIR = tmp_path / "incoming"
    settings.INCOMING_DIR.mkdir()
    return settings.INCOMING_DIR


def test_files_that_no_row_names_and_parts_of_killed_processes_go(incoming):
    LooseFile.drop([put("tidy/one.jpg", b"x")])
    left, in_use = incoming / ".part-left", incoming / "upload-in-use"
    for path in (left, in_use):
        path.write_bytes(b"half")
    os.utime(left, (time.time() - 120,) * 2)
    tasks.tidy()
    assert not default_storage.exists("tidy/one.jpg")
    assert not LooseFile.objects.exists()
    assert (left.exists(), in_use.exists()) == (False, True)


def test_where_there_is_nothing_it_costs_two_queries(incoming, django_assert_num_queries):
    with django_assert_num_queries(2):
        tasks.tidy()


def test_a_storage_that_hangs_keeps_one_thread_and_not_all(incoming, monkeypatch):
    began, go_on, runs = Event(), Event(), []

    def hangs() -> bool:
        runs.append(1)
        began.set()
        assert go_on.wait(20)
        return False

    monkeypatch.setattr(LooseFile, "clear", hangs)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(tidying.tidy)
        assert began.wait(20)
        tidying.tidy()  # does not wait
        assert runs == [1]
        go_on.set()
        first.result(20)
    tidying.tidy()
    assert runs == [1, 1]


def test_after_a_failure_the_next_one_goes_on(incoming, monkeypatch):
    def fails() -> bool:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(LooseFile, "clear", fails)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            tidying.tidy()
