"""Working on a row: its lease is kept, and how the work failed is recorded, in one place for all kinds of work."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from django.db import InterfaceError, OperationalError, connection

from detection import correlation, disk
from detection.fields import WrongKey
from detection.models import LeaseLost, Work
from detection.storage import is_away, is_of_bucket
from detection.vision.types import DetectorError, MediaError
from workers import outcome, stages, trail
from workers.again import TryAgain
from workers.crash import too_long_sentence
from workers.lease import Keeper
from workers.notify import NotifyError
from workers.pulse import STOPPED
from workers.stopping import WorkerStops

log = logging.getLogger(__name__)

NO_KEY = "Its address cannot be decrypted: CAMERA_KEYS lacks the key it was entered under."
DISK_FULL = "The disk is full: it goes on by itself once there is room."
STORAGE_AWAY = "The storage cannot be reached: it goes on by itself once it is back."
DATABASE_AGAIN_S = FULL_AGAIN_S = AWAY_AGAIN_S = 10.0
RENEW_AFTER_S = 2.0
W = TypeVar("W", bound=Work)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as its row keeps it."""

    kind: str
    message: str
    permanent: bool


@contextmanager
def working_on(row: W) -> Iterator[Keeper]:
    """Keeps the row's lease and records how the work failed, if it does. Raises TryAgain for what may pass.

    All that is logged meanwhile has the row's correlation id, and so has the rest of the task.
    """
    trail.belongs_to(row.correlation_id)
    with correlation.of_row(row.correlation_id):
        try:
            with _recording(row) as keeper:
                yield keeper
        finally:
            stages.end(f"{row._meta.verbose_name} {row.pk}")


@contextmanager
def _recording(row: W) -> Iterator[Keeper]:
    try:
        with Keeper(row) as keeper:
            yield keeper
    except LeaseLost as lost:
        log.info("dropped: %s", lost)
    except WorkerStops:
        renew_connection()
        log.info("%s %s is handed back: the worker stops", row._meta.verbose_name, row.pk)
        if row.hand_back(STOPPED, counted=False):
            raise TryAgain(0) from None  # by another
    except (OperationalError, InterfaceError) as error:
        # The row cannot be written; its lease runs out and the sweep sends it again.
        log.exception("the database failed while working on %s %s", row._meta.verbose_name, row.pk)
        renew_connection()
        if disk.says_full(error):
            with suppress(OperationalError, InterfaceError):  # so little may still fit
                row.hand_back(DISK_FULL, str(error), delay_s=FULL_AGAIN_S, counted=False)
        raise TryAgain(DATABASE_AGAIN_S) from None
    except Exception as error:  # noqa: BLE001 (whatever it is, the row says so)
        renew_connection()
        try:
            delay_s = _recorded(row, error, traceback.format_exc())
        except (OperationalError, InterfaceError):  # as where the disk that is full is the database's, too
            log.exception("how %s %s failed could not be noted", row._meta.verbose_name, row.pk)
            renew_connection()
            delay_s = DATABASE_AGAIN_S
        if delay_s is not None:
            raise TryAgain(delay_s) from None


def _recorded(row: Work, error: Exception, detail: str) -> float | None:
    """Notes on the row how it failed; answers in how many seconds it is tried again, or None: it has failed."""
    name = f"{row._meta.verbose_name} {row.pk}, attempt {row.attempts}"
    if disk.says_full(error):
        # No fault of the work's, and it may last: no attempt is counted, and it is tried until there is room.
        log.error("%s, again in %.0f s: %s", name, FULL_AGAIN_S, error)
        row.hand_back(DISK_FULL, detail, delay_s=FULL_AGAIN_S, counted=False)
        return FULL_AGAIN_S
    if is_away(error):
        log.error("%s, again in %.0f s, because the storage is away: %s", name, AWAY_AGAIN_S, error)
        row.hand_back(STORAGE_AWAY, detail, delay_s=AWAY_AGAIN_S, counted=False)
        return AWAY_AGAIN_S
    failure = explain(error, type(row))
    if failure.permanent or not row.has_attempts_left:
        log.error("%s failed: %s", name, failure.message, exc_info=failure.kind == "unexpected")
        row.fail(failure.kind, failure.message, detail)
        outcome.note(outcome.FAILED)
        return None
    delay_s = 2.0**row.attempts
    log.warning("%s, again in %.0f s: %s", name, delay_s, failure.message, exc_info=failure.kind == "unexpected")
    row.hand_back(failure.message, detail, delay_s=delay_s)
    return delay_s


def renew_connection(keeper: Keeper | None = None) -> None:
    """Closes a connection that lay unused while the work went on: the database may have been restarted since.

    Not after work that took no time, for which a new connection would cost as much again.
    """
    if (keeper is None or keeper.age_s > RENEW_AFTER_S) and not connection.in_atomic_block:
        connection.close()


def explain(error: Exception, rows: type[Work] = Work) -> Failure:
    """An error as a kind, a sentence for the user, and whether trying again is of no use."""
    match error:
        case MediaError():
            return Failure(error.kind, str(error), permanent=True)
        case DetectorError():
            return Failure("detector", str(error), permanent=error.permanent)
        case NotifyError():
            return Failure("notify", str(error), permanent=error.permanent)
        case WrongKey():
            return Failure("keys", NO_KEY, permanent=True)
        case SoftTimeLimitExceeded():
            return Failure("too_long", too_long_sentence(rows), permanent=True)
        case FileNotFoundError():
            return Failure("storage", "The stored file is not there: look into the storage, then retry.", False)
        case MemoryError():
            return Failure("memory", "The worker ran out of memory: give it more, then retry.", permanent=False)
        case _ if isinstance(error, OSError) or is_of_bucket(error):
            return Failure("storage", "The storage could not be read or written: see the log, then retry.", False)
        case _:
            return Failure("unexpected", "Something unexpected went wrong: the log has the rest.", False)
