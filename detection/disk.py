"""How much room the disks have for new media, beside the reserve that running work lives on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from django.conf import settings

FULL = (errno.ENOSPC, errno.EDQUOT)
SQLSTATE_FULL = "53100"  # PostgreSQL's word for it


def free_bytes() -> dict[str, int]:
    """What the disks of this machine have free: "media", where new files come in, and "data", where the rest lies.

    With a folder as storage the first is its disk. One that does not tell is left out.
    """
    found = {name: free_at(folder) for name, folder in (("media", settings.INCOMING_DIR), ("data", settings.DATA_DIR))}
    return {name: free for name, free in found.items() if free is not None}


def room_bytes() -> int | None:
    """How much of new media there is room for, 0 where there is none; None where nobody wants to know, or can tell."""
    free = free_bytes()
    if not settings.DISK_RESERVE_BYTES or not free:
        return None
    if min(free.values()) <= settings.DISK_RESERVE_BYTES:
        return 0
    return free["media"] - settings.DISK_RESERVE_BYTES if "media" in free else None


def is_nearly_full() -> bool:
    """Whether new media are to be refused. What has begun goes on: the reserve is what it lives on."""
    return room_bytes() == 0


def has_room_for(size: int) -> bool:
    room = room_bytes()
    return room is None or (room > 0 and size <= room)


def says_full(error: BaseException) -> bool:
    """Whether an error says that a disk is full: one with files, or the database's."""
    if isinstance(error, OSError):
        return error.errno in FULL
    return "disk is full" in str(error) or getattr(error.__cause__, "sqlstate", None) == SQLSTATE_FULL


def free_at(folder: Path) -> int | None:
    """Free bytes of the disk that holds a folder, or will hold it."""
    for place in (folder, *folder.parents):
        try:
            disk = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize
    return None
