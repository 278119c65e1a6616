"""What an exception means to whoever asked: that something of ours is away or full, or that we have made a mistake."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import DataError, InterfaceError, OperationalError

from detection import database, disk
from detection.storage import is_of_bucket
from detection.stored import location

# What a folder says that is on a disk or a server which is away, broken, or closed to us.
STORAGE_ERRNOS = frozenset(
    (
        errno.EACCES,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EIO,
        errno.ENODEV,
        errno.ENOTCONN,
        errno.ENXIO,
        errno.EPERM,
        errno.EROFS,
        errno.ESTALE,
    )
)
CLOSED = (errno.EACCES, errno.EPERM)  # which many other files and sockets say, too
UNTAKEN = ("22003", "22008", "22021", "22P05")  # PostgreSQL: out of range, a time too, and signs that are none


@dataclass(frozen=True, slots=True)
class Fault:
    """``retry_s``: when it may be worth asking again; 0 where somebody has to do something first."""

    status: int
    title: str
    sentence: str
    retry_s: int = 0


DATABASE_AWAY = Fault(
    503,
    "The database is away",
    "The database cannot be reached just now, or is too busy to answer. Nothing of this request was kept. Try again in "
    "a moment; if that does not help, tell an administrator.",
    5,
)
STORAGE_AWAY = Fault(
    503,
    "The storage is away",
    "The place where pictures and clips are kept cannot be reached just now. Try again in a moment; if that does not "
    "help, tell an administrator.",
    30,
)
DISK_FULL = Fault(
    507,
    "The disk is full",
    "The server's disk is full, so nothing of this was kept. Tell an administrator, then try again.",
)
NONSENSE = Fault(
    400,
    "Not understood",
    "There is a number or a sign in this request that nothing here can have. Go back, reload the page and try again.",
)
MISTAKE = Fault(
    500,
    "Something went wrong",
    "Something went wrong on the server. It was written to the log; try again, or tell an administrator.",
)


def fault_of(error: BaseException | None) -> Fault:
    """The fault that an exception, or one that it came of, speaks of; else a mistake of ours."""
    return _found(error)[0]


def is_mistake(error: BaseException | None) -> bool:
    """Whether the log needs the traceback: of a mistake, and of one that was made while a fault was dealt with."""
    return _found(error)[1]


def _found(error: BaseException | None) -> tuple[Fault, bool]:
    is_beside = False
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if found := _fault(error):
            return found, is_beside
        if error.__cause__ is not None or error.__suppress_context__:  # somebody said what it came of, or of nothing
            error = error.__cause__
        else:
            error, is_beside = error.__context__, True
    return MISTAKE, True


def _fault(error: BaseException) -> Fault | None:
    if _is_nonsense(error):
        return NONSENSE
    if database.is_away(error):
        return DATABASE_AWAY
    if isinstance(error, OperationalError | InterfaceError):
        return DISK_FULL if disk.says_full(error) else None
    if isinstance(error, OSError):
        if disk.says_full(error):
            return DISK_FULL
        if error.errno in CLOSED and not _is_in_storage(error):  # the log's folder, a socket: our own set-up
            return None
        return STORAGE_AWAY if error.errno in STORAGE_ERRNOS else None
    return STORAGE_AWAY if is_of_bucket(error) else None


def _is_in_storage(error: OSError) -> bool:
    """Whether it names a place where media are kept or come in, or one on the way there."""
    folders = [Path(location(default_storage)), Path(settings.INCOMING_DIR)]
    names = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return any(name.is_relative_to(place) or place.is_relative_to(name) for name in names for place in folders)


def _is_nonsense(error: BaseException) -> bool:
    """Whether the database was asked for a number or a text that none of its columns can hold."""
    if isinstance(error, OverflowError):
        return "SQLite INTEGER" in str(error)
    if not isinstance(error, DataError):
        return False
    return getattr(error.__cause__, "sqlstate", None) in UNTAKEN or "NUL (0x00)" in str(error)
