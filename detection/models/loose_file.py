from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import groupby
from operator import attrgetter

from django.core.files.storage import default_storage
from django.db import Error as DatabaseFault
from django.db import connection, models, transaction
from django.db.models.functions import Now

log = logging.getLogger(__name__)

EXPECTED_S = 3600.0  # a file whose row has not come by then never will: nothing is stored that long
AGAIN_S = 60.0  # between two tries to delete what the storage does not let go
GIVES_UP = 3  # so many failures in a round: the storage is away, not a file stubborn
CLEARS_S = 5.0  # what one round may take
AT_ONCE = 50  # files that whoever removes something deletes at once; others are left to the sweep


class FilesGone(RuntimeError):
    """The row came too late: its files have been cleared away."""


class LooseFile(models.Model):
    """A stored file that no row names: not yet, or no more.

    Storage and database share no transaction, so this row says what is to become of a file while they differ. It is
    written before a file is, and goes in the transaction that writes the row which names the file; it is written in the
    transaction that deletes such a row, and goes when the file is deleted. Whatever dies in between, the file is
    cleared away later, and never one that a row names.
    """

    name = models.CharField(max_length=200, editable=False)
    batch = models.UUIDField(editable=False, db_index=True)
    due_at = models.DateTimeField(db_index=True, editable=False, help_text="From then on it is deleted.")
    is_condemned = models.BooleanField(default=False, editable=False, help_text="No row may name it any more.")

    def __str__(self) -> str:
        return self.name

    @classmethod
    def expect(cls, names: Iterable[str], within_s: float = EXPECTED_S) -> uuid.UUID:
        """Says that these files are about to be written, and a row that names them soon after; see ``kept``.

        Never in a transaction: should it fail, or the process die, what says that these files have no row must stay.
        So the names must be new ones: one that is used again would be cleared away with the old file.
        """
        batch = uuid.uuid4()
        due_at = Now() + timedelta(seconds=within_s)
        # Threads of a database in memory share one connection, and would take one another's transaction for theirs.
        is_shared = getattr(connection, "is_in_memory_db", bool)()
        with transaction.atomic(durable=not is_shared):
            LooseFile.objects.bulk_create([LooseFile(name=name, batch=batch, due_at=due_at) for name in names])
        return batch

    @classmethod
    def kept(cls, batch: uuid.UUID) -> None:
        """Rows name the files of this batch now: called in the transaction that writes those rows.

        Raises FilesGone where they have been cleared away in the meantime.
        """
        rows = cls._locked(batch)
        if not rows or any(row.is_condemned for row in rows):
            raise FilesGone(f"the files of batch {batch} were cleared away before a row named them")
        cls.objects.filter(batch=batch).delete()

    @classmethod
    @contextmanager
    def expecting(cls, names: Iterable[str], within_s: float = EXPECTED_S) -> Iterator[uuid.UUID]:
        """As ``expect``; where the work in between fails, what it has written is cleared away."""
        names = list(names)
        batch = cls.expect(names, within_s)
        with cls.condemned_on_error(batch, names):
            yield batch

    @classmethod
    @contextmanager
    def condemned_on_error(cls, batch: uuid.UUID, names: Collection[str]) -> Iterator[None]:
        """Where the rows cannot be written after all, the files go too. Around the transaction, not in it."""
        try:
            yield
        except BaseException as error:
            try:
                if isinstance(error, FilesGone):  # what was cleared away may have been written only after that
                    cls.clear(cls._doomed(names), AT_ONCE)
                cls.condemn(batch)
            except DatabaseFault:
                log.warning("could not clear batch %s away; the sweep will", batch)
            raise

    @classmethod
    def condemn(cls, batch: uuid.UUID) -> None:
        """The files of this batch will have no row after all: they are deleted now, or else by the sweep.

        Where a row names them even so, as after a commit whose answer was lost, there is nothing of them here.
        """
        with transaction.atomic():
            cls._locked(batch)
            cls.objects.filter(batch=batch).update(due_at=Now(), is_condemned=True)
        cls.clear(batch, AT_ONCE)

    @classmethod
    def drop(cls, names: Collection[str | None]) -> None:
        """Deletes files whose rows go in this transaction: once it holds, and not at all where it does not."""
        batch = cls._doomed(names)
        # What fails after the commit is the sweep's to do; whoever removed something has done it.
        transaction.on_commit(lambda: cls.clear(batch, AT_ONCE), robust=True)

    @classmethod
    def _doomed(cls, names: Collection[str | None]) -> uuid.UUID:
        batch = uuid.uuid4()
        LooseFile.objects.bulk_create(
            [LooseFile(name=name, batch=batch, due_at=Now(), is_condemned=True) for name in names if name],
            batch_size=500,
        )
        return batch

    @classmethod
    def clear(cls, batch: uuid.UUID | None = None, at_most: int = 500) -> int:
        """Deletes the files whose time has come, or those of one batch; answers how many.

        What the storage does not let go now stays on record, and is tried again.
        """
        due = cls.objects.filter(due_at__lte=Now())
        if batch is not None:
            due = due.filter(batch=batch)
        began = time.monotonic()
        cleared = failed = 0
        is_over = False
        found = list(due.order_by("due_at", "batch", "pk")[:at_most])
        for of_batch, rows in groupby(found, key=attrgetter("batch")):
            gone = []
            for row in cls._condemned(of_batch, list(rows)):
                if row._delete_file():
                    gone.append(row.pk)
                else:
                    failed += 1
                if is_over := failed >= GIVES_UP or time.monotonic() - began > CLEARS_S:
                    break
            cls.objects.filter(pk__in=gone).delete()
            cleared += len(gone)
            if is_over:
                break
        return cleared

    @classmethod
    def _condemned(cls, batch: uuid.UUID, rows: list[LooseFile]) -> list[LooseFile]:
        """Those of these rows whose files no row can name any more, once this is committed.

        All of a batch at once and before the first file goes, so that a transaction which is about to name them either
        has done so by then, or fails.
        """
        if all(row.is_condemned for row in rows):
            return rows
        with transaction.atomic():
            left = {row.pk for row in cls._locked(batch)}
            cls.objects.filter(batch=batch).update(is_condemned=True)
        return [row for row in rows if row.pk in left]

    @classmethod
    def _locked(cls, batch: uuid.UUID) -> list[LooseFile]:
        """The rows of a batch, locked until the end of the transaction; always in one order, so that none deadlock."""
        return list(cls.objects.select_for_update().filter(batch=batch).order_by("pk"))

    def _delete_file(self) -> bool:
        try:
            default_storage.delete(self.name)
        except Exception:  # a storage has errors of many kinds
            log.exception("could not delete %s; it is tried again", self.name)
            LooseFile.objects.filter(pk=self.pk).update(due_at=Now() + timedelta(seconds=AGAIN_S))
            return False
        return True
