"""Working on a row: its lease is kept, and how the work failed is recorded, in one place for all kinds of work."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from detection.fields import WrongKey
from detection.models import LeaseLost, Work
from detection.vision.types import DetectorError, MediaError
from workers.again import TryAgain
from workers.lease import Keeper
from workers.notify import NotifyError

log = logging.getLogger(__name__)

NO_KEY = "Its address cannot be decrypted: CAMERA_KEYS lacks the key it was entered under."
W = TypeVar("W", bound=Work)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as its row keeps it."""

    kind: str
    message: str
    permanent: bool


@contextmanager
def working_on(row: W) -> Iterator[Keeper]:
    """Keeps the row's lease and records how the work failed, if it does. Raises TryAgain for what may pass."""
    try:
        with Keeper(row) as keeper:
            yield keeper
    except LeaseLost as lost:
        log.info("dropped: %s", lost)
    except (OperationalError, InterfaceError):
        # The row cannot be written; its lease runs out and the sweep sends it again.
        log.exception("the database failed while working on %s %s", row._meta.verbose_name, row.pk)
        renew_connection()
        raise TryAgain(delay_s=10) from None
    except Exception as error:
        failure = explain(error)
        renew_connection()
        detail = traceback.format_exc()
        name = f"{row._meta.verbose_name} {row.pk}, attempt {row.attempts}"
        if failure.permanent or not row.has_attempts_left:
            log.error("%s failed: %s", name, failure.message, exc_info=failure.kind == "unexpected")
            row.fail(failure.kind, failure.message, detail)
        else:
            delay_s = 2.0**row.attempts
            log.warning(
                "%s, again in %.0f s: %s", name, delay_s, failure.message, exc_info=failure.kind == "unexpected"
            )
            row.hand_back(failure.message, detail, delay_s=delay_s)
            raise TryAgain(delay_s) from None


def renew_connection() -> None:
    """Closes a connection that lay unused while the work went on: the database may have been restarted since."""
    if not connection.in_atomic_block:
        connection.close()


def explain(error: Exception) -> Failure:
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
            minutes = settings.TASK_TIME_LIMIT_S / 60
            return Failure(
                "too_long", f"It took longer than {minutes:.0f} minutes: raise TASK_TIME_LIMIT_S, then retry.", True
            )
        case FileNotFoundError():
            return Failure("storage", "The stored file is not there: look into the storage, then retry.", False)
        case MemoryError():
            return Failure("memory", "The worker ran out of memory: give it more, then retry.", permanent=False)
        case OSError():
            return Failure("storage", "The storage could not be read or written: see the log, then retry.", False)
        case _:
            return Failure("unexpected", "Something unexpected went wrong: the log has the rest.", False)
