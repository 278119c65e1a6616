"""No file without a row and no row without a file, whatever dies in between."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from detection.models import FilesGone, LooseFile
from detection.models import loose_file as module
from detection.storage import DurableFileSystemStorage, put
from project.storage import from_url
from tests.databases import on_postgresql

pytestmark = pytest.mark.django_db
NAMES = ("loose/media.mp4", "loose/preview.jpg")


@pytest.fixture(autouse=True)
def nothing_stored():
    """The storage outlives a test's rows."""
    for name in NAMES:
        default_storage.delete(name)


def stored(names: Iterable[str] = NAMES) -> None:
    for name in names:
        put(name, b"bytes")


def there(names: Iterable[str] = NAMES) -> list[str]:
    return [name for name in names if default_storage.exists(name)]


def fails_over(work: Callable[[], None]) -> None:
    """Work that writes files and then cannot be done."""

    def failing() -> None:
        with LooseFile.expecting(NAMES):
            work()
            raise ValueError("it cannot be done")

    with pytest.raises(ValueError, match="cannot be done"):
        failing()


def the_hour_is_over() -> None:
    LooseFile.objects.filter(is_condemned=False).update(due_at=F("due_at") - timedelta(seconds=module.EXPECTED_S + 1))


@pytest.fixture
def stubborn(monkeypatch) -> set[str]:
    """What the storage does not let go."""
    names: set[str] = set()
    delete = DurableFileSystemStorage.delete

    def some(storage: DurableFileSystemStorage, name: str) -> None:
        if name in names:
            raise PermissionError(13, "Permission denied", name)
        delete(storage, name)

    monkeypatch.setattr(DurableFileSystemStorage, "delete", some)
    return names


def is_due() -> bool:
    return LooseFile.objects.filter(due_at__lte=Now()).exists()


def the_sweep_clears() -> None:
    """What lies there goes with the next sweep, and only then."""
    assert there() == [*NAMES]
    assert LooseFile.clear() == 2
    assert there() == []


# A file that is to have a row


def test_a_file_whose_row_comes_is_never_touched():
    batch = LooseFile.expect(NAMES)
    stored()
    with transaction.atomic():
        LooseFile.kept(batch)
    the_hour_is_over()
    assert LooseFile.clear() == 0
    assert there() == [*NAMES]


def test_a_process_that_dies_between_file_and_row_leaves_a_file_that_goes_after_an_hour():
    LooseFile.expect(NAMES)
    stored()
    assert LooseFile.clear() == 0
    the_hour_is_over()
    the_sweep_clears()
    assert not LooseFile.objects.exists()


def test_one_that_dies_before_it_wrote_anything_leaves_nothing():
    LooseFile.expect(NAMES)
    the_hour_is_over()
    assert LooseFile.clear() == 2
    assert not LooseFile.objects.exists()


def test_what_takes_longer_to_store_is_expected_for_longer():
    LooseFile.expect(NAMES, within_s=2 * module.EXPECTED_S)
    the_hour_is_over()
    assert LooseFile.clear() == 0


def test_word_of_the_files_is_never_in_a_transaction_that_may_be_undone(monkeypatch):
    monkeypatch.setattr(connection, "is_in_memory_db", lambda: False, raising=False)  # as in an installation
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        LooseFile.expect(NAMES)


def test_a_row_that_comes_too_late_is_refused():
    batch = LooseFile.expect(NAMES)
    stored()
    the_hour_is_over()
    LooseFile.clear()
    with pytest.raises(FilesGone), transaction.atomic():
        LooseFile.kept(batch)


@pytest.mark.parametrize("kept_back", NAMES)
def test_a_row_is_refused_also_where_only_one_of_its_files_is_gone(stubborn, kept_back):
    """The one that was left was taken for all of them."""
    batch = LooseFile.expect(NAMES)
    stored()
    the_hour_is_over()
    stubborn.add(kept_back)
    assert LooseFile.clear() == 1
    assert there() == [kept_back]
    with pytest.raises(FilesGone), transaction.atomic():
        LooseFile.kept(batch)


def test_a_row_is_refused_also_where_none_of_its_files_is_gone_yet():
    batch = LooseFile.expect(NAMES)
    stored()
    the_hour_is_over()
    assert LooseFile.clear(at_most=1) == 1
    left = LooseFile.objects.get()
    assert left.is_condemned
    with pytest.raises(FilesGone), transaction.atomic():
        LooseFile.kept(batch)


def test_work_that_fails_takes_its_files_back_at_once():
    fails_over(stored)
    assert there() == []
    assert not LooseFile.objects.exists()


def test_a_file_that_was_written_only_after_it_was_cleared_away_goes_too():
    """A machine that slept over an hour, then wrote its file and met the refusal."""

    def sleeps_over_it() -> None:
        with LooseFile.expecting(NAMES) as batch:
            the_hour_is_over()
            LooseFile.clear()
            stored()
            with transaction.atomic():
                LooseFile.kept(batch)

    with pytest.raises(FilesGone):
        sleeps_over_it()
    assert there() == []
    assert not LooseFile.objects.exists()


def test_a_commit_whose_answer_was_lost_keeps_its_files():

    def commits_and_hears_nothing() -> None:
        with LooseFile.expecting(NAMES) as batch:
            stored()
            with transaction.atomic():
                LooseFile.kept(batch)
            raise OperationalError("server closed the connection unexpectedly")

    with pytest.raises(OperationalError):
        commits_and_hears_nothing()
    assert there() == [*NAMES]


def test_where_the_database_is_away_the_first_error_counts_and_the_files_go_later(monkeypatch):
    def away(batch):
        raise OperationalError("could not connect to server")

    def then_it_goes_away() -> None:
        stored()
        monkeypatch.setattr(LooseFile, "condemn", away)

    fails_over(then_it_goes_away)
    the_hour_is_over()
    the_sweep_clears()


# A file that had a row


def test_files_go_once_their_rows_are_gone_for_good(django_capture_on_commit_callbacks):
    stored()
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        LooseFile.drop(NAMES)
        assert there() == [*NAMES]
    assert there() == []
    assert not LooseFile.objects.exists()


def test_a_process_that_dies_between_the_rows_end_and_the_files_leaves_them_to_the_sweep(
    django_capture_on_commit_callbacks,
):
    stored()
    with django_capture_on_commit_callbacks(execute=False), transaction.atomic():
        LooseFile.drop(NAMES)
    the_sweep_clears()


def test_rows_that_stay_after_all_keep_their_files(django_capture_on_commit_callbacks):
    stored()
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        LooseFile.drop(NAMES)
        transaction.set_rollback(True)
    assert LooseFile.clear() == 0
    assert there() == [*NAMES]


def test_empty_names_are_no_files():
    LooseFile.drop(["", None, NAMES[0]])
    assert [row.name for row in LooseFile.objects.all()] == [NAMES[0]]


def test_a_storage_that_is_away_does_not_undo_a_removal(django_capture_on_commit_callbacks, monkeypatch, caplog):
    def away(*args):
        raise OperationalError("could not connect to server")

    monkeypatch.setattr(LooseFile, "_delete_file", away)
    with django_capture_on_commit_callbacks(execute=True):
        LooseFile.drop(NAMES)
    assert LooseFile.objects.count() == 2


def test_of_many_files_some_go_at_once_and_the_others_are_left_to_the_sweep(
    django_capture_on_commit_callbacks, monkeypatch
):
    monkeypatch.setattr(module, "AT_ONCE", 10)
    names = [f"loose/{number}.jpg" for number in range(25)]
    stored(names)
    with django_capture_on_commit_callbacks(execute=True):
        LooseFile.drop(names)
    assert len(there(names)) == 15
    assert LooseFile.clear() == 15
    assert there(names) == []


# A storage that does not let go


def test_what_the_storage_does_not_let_go_stays_on_record_and_is_tried_again(stubborn, caplog):
    stored()
    LooseFile.drop(NAMES)
    stubborn.add(NAMES[0])
    with caplog.at_level(logging.ERROR):
        assert LooseFile.clear() == 1
    assert NAMES[0] in caplog.text
    assert LooseFile.clear() == 0  # not again at once
    assert there() == [NAMES[0]]
    row = LooseFile.objects.get()
    assert row.is_condemned
    assert row.due_at > timezone.now() + timedelta(seconds=module.AGAIN_S / 2)
    stubborn.clear()
    LooseFile.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert LooseFile.clear() == 1
    assert there() == []


def test_a_storage_that_is_away_is_left_in_peace_until_the_next_round(monkeypatch):
    asked = []

    def away(storage: DurableFileSystemStorage, name: str) -> None:
        asked.append(name)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(DurableFileSystemStorage, "delete", away)
    for number in range(20):
        LooseFile.drop([f"loose/{number}.jpg"])
    assert LooseFile.clear() == 0
    assert len(asked) == module.GIVES_UP
    assert LooseFile.objects.count() == 20


def test_a_few_stubborn_files_do_not_keep_the_others_from_going(stubborn):
    names = [f"loose/{number}.jpg" for number in range(20)]
    stored(names)
    stubborn.update(names[:5])
    LooseFile.drop(names)
    while is_due():
        LooseFile.clear()
    assert there(names) == names[:5]


def test_a_slow_storage_does_not_hold_a_round_up_for_long(monkeypatch):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    LooseFile.drop([f"loose/{number}.jpg" for number in range(20)])
    assert LooseFile.clear() == 3
    assert LooseFile.objects.count() == 17


# A bucket


def test_in_a_bucket_it_is_the_same(settings, s3_url):
    settings.STORAGES = {**settings.STORAGES, "default": from_url(s3_url)}
    batch = LooseFile.expect(NAMES)
    stored()
    LooseFile.kept(batch)
    the_hour_is_over()
    assert LooseFile.clear() == 0
    assert there() == [*NAMES]
    LooseFile.drop(NAMES)
    assert LooseFile.clear() == 2
    assert there() == []
    fails_over(stored)
    assert there() == []


def test_a_bucket_that_is_away_is_asked_again(settings, s3_url, free_port):
    away = s3_url.replace(s3_url.rpartition("@")[2].partition("/")[0], f"127.0.0.1:{free_port}")
    settings.STORAGES = {**settings.STORAGES, "default": from_url(away)}
    LooseFile.drop([NAMES[0]])
    assert LooseFile.clear() == 0
    assert LooseFile.objects.get().due_at > timezone.now()
    settings.STORAGES = {**settings.STORAGES, "default": from_url(s3_url)}
    stored([NAMES[0]])
    LooseFile.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert LooseFile.clear() == 1
    assert there() == []


# Two at once, on PostgreSQL


class Halted:
    """Deleting waits until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()
        delete = DurableFileSystemStorage.delete

        def waits(storage: DurableFileSystemStorage, name: str) -> None:
            self.began.set()
            assert self.go_on.wait(20)
            delete(storage, name)

        monkeypatch.setattr(DurableFileSystemStorage, "delete", waits)


def in_thread(pool: ThreadPoolExecutor, work: Callable[[], object]):
    def run() -> object:
        try:
            return work()
        finally:
            connection.close()

    return pool.submit(run)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@on_postgresql
def test_a_row_that_comes_while_its_files_are_cleared_away_is_refused(monkeypatch):
    batch = LooseFile.expect(NAMES)
    stored()
    the_hour_is_over()
    halted = Halted(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        clearing = in_thread(pool, LooseFile.clear)
        assert halted.began.wait(20)
        with pytest.raises(FilesGone), transaction.atomic():
            LooseFile.kept(batch)
        halted.go_on.set()
        assert clearing.result(20) == 2
    assert there() == []


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("is_written", [True, False])
@on_postgresql
def test_files_whose_row_is_just_being_written_are_left_alone_until_it_is_or_is_not(is_written):
    batch = LooseFile.expect(NAMES)
    stored()
    the_hour_is_over()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            LooseFile.kept(batch)
            clearing = in_thread(pool, LooseFile.clear)
            wait_for_a_lock()
            assert not clearing.done()
            assert there() == [*NAMES]
            transaction.set_rollback(not is_written)
        assert clearing.result(20) == (0 if is_written else 2)
    assert there() == ([*NAMES] if is_written else [])


def wait_for_a_lock() -> None:
    """Until another connection to this database waits for a lock of ours."""
    for _ in range(2000):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0]:
                return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits")


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@on_postgresql
def test_in_any_order_each_batch_is_kept_whole_or_gone_whole():
    """Rows that come at the very moment when their time is over, two that clear away, and one that takes back."""
    batches = {}
    for number in range(40):
        names = [f"loose/{number}-{part}.jpg" for part in range(4)]
        stored(names)
        batches[LooseFile.expect(names)] = names
    the_hour_is_over()
    start = threading.Barrier(4)

    def keep() -> set[object]:
        start.wait(20)
        kept = set()
        for batch in batches:
            try:
                with transaction.atomic():
                    LooseFile.kept(batch)
                kept.add(batch)
            except FilesGone:
                pass
        return kept

    def clear() -> None:
        start.wait(20)
        while is_due():
            LooseFile.clear(at_most=3)

    def condemn() -> None:
        start.wait(20)
        for batch in reversed(batches):
            LooseFile.condemn(batch)

    with ThreadPoolExecutor(4) as pool:
        keeping, *others = (in_thread(pool, work) for work in (keep, clear, clear, condemn))
        for other in others:
            other.result(60)
        kept = keeping.result(60)
    assert not LooseFile.objects.exists()
    assert {batch: there(names) for batch, names in batches.items()} == {
        batch: names if batch in kept else [] for batch, names in batches.items()
    }
