"""The storage folder: what is named there is whole and on the disk."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, default_storage

from detection import disk

log = logging.getLogger(__name__)

INCOMING = "incoming"  # the folder in a storage folder where files are written before they have their names
PART, UPLOAD = ".part-", "upload-"
# Whoever writes a file takes a lock on it at once. Where the file system has no locks, its age must tell.
HELD_AT_LEAST_S = 60.0
LEFT_BEHIND_S = 24 * 3600.0
PUT_TRIES = 3
BUCKET_PACKAGES = ("botocore", "boto3", "s3transfer")
IDLE_S = 600.0  # a copy of a bucket's file that was used since may be in use


class DurableFileSystemStorage(FileSystemStorage):
    """Django's folder storage, but a file appears under its name only when it is whole and synced to the disk.

    The row that names a file is written after the file, so neither a crash nor a power cut leaves a row without its
    file or half a file under a good name. Folders go with their last file.
    """

    @property
    def incoming(self) -> Path:
        """Where files are written: on the same disk, so that a rename gives them their names."""
        return Path(self.location) / INCOMING

    def _save(self, name: str, content: File[Any]) -> str:
        target = Path(self.path(name))
        _make_folders(Path(self.location))
        uploaded = getattr(content, "temporary_file_path", None)
        if uploaded is not None and os.stat(uploaded()).st_dev == os.stat(self.location).st_dev:
            _put_in_place(Path(uploaded()), target)
        else:
            with part_in(self.incoming) as part:
                for block in content.chunks():
                    part.write(block)
                part.flush()
                _put_in_place(Path(part.name), target)
        return str(name).replace("\\", "/")

    def delete(self, name: str) -> None:
        super().delete(name)
        folders = Path(self.path(name)).relative_to(self.path("")).parents
        with suppress(OSError):  # there is something in it
            for folder in [*folders][:-2]:  # the storage itself stays, and what lies right in it
                Path(self.path(str(folder))).rmdir()


def _put_in_place(source: Path, target: Path) -> None:
    """Gives a file its name, on the disk before this returns."""
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.chmod(0o640)
    for tries_left in reversed(range(PUT_TRIES)):
        try:
            _make_folders(target.parent)
            source.replace(target)
            break
        except FileNotFoundError:  # the folder was removed in this moment, with the last file in it
            if not tries_left:
                raise
    _sync_folder(target.parent)


def _make_folders(folder: Path) -> None:
    """As ``mkdir -p``; the names of new folders are on the disk, too."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def part_in(folder: Path) -> Iterator[IO[bytes]]:
    """A new file in this folder, to write to; gone afterwards unless it was moved away."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=PART, delete=False) as part:
        hold(part)
        try:
            yield part
        finally:
            Path(part.name).unlink(missing_ok=True)


class MovableFile(File):
    """A file of ours that is stored by moving it, where the storage is on the same disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.open("rb"), str(path))

    def temporary_file_path(self) -> str:
        return str(self.name)


def hold(file: IO[bytes]) -> None:
    """Says, for as long as it is open, that a process is at this file: see ``left_behind``."""
    with suppress(OSError):  # this file system has no locks
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def left_behind(folder: Path) -> Iterator[Path]:
    """The files that processes left in a folder of parts when they were killed.

    The lock of a process goes with it, on all machines that share the folder through NFS as well, unless it is mounted
    with ``nolock``.
    """
    parts: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            parts = [entry for entry in entries if entry.name.startswith((PART, UPLOAD))]
    except FileNotFoundError:  # not there yet
        return
    except OSError as error:
        log.warning("what killed processes left in %s cannot be looked for: %s", folder, error)
        return
    now = _time_in(folder) if parts else 0.0
    for part in parts:
        with suppress(OSError):  # gone in this moment, or somebody else's
            if _is_left_behind(part, now):
                yield Path(part.path)


def _time_in(folder: Path) -> float:
    """The time by the clock that the files of this folder have theirs from, which may be another machine's."""
    try:
        with tempfile.TemporaryFile(dir=folder) as new:
            return os.fstat(new.fileno()).st_mtime
    except OSError:  # a disk that is full needs it most that this goes on
        return time.time()


def _is_left_behind(entry: os.DirEntry[str], now: float) -> bool:
    age_s = now - entry.stat().st_mtime
    if age_s < HELD_AT_LEAST_S:
        return False
    handle = os.open(entry.path, os.O_RDWR)  # NFS wants it so, for a lock that excludes others
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return age_s > LEFT_BEHIND_S
    finally:
        os.close(handle)
    return True


def clear_left_behind(folder: Path) -> int:
    """Deletes what killed processes left in a folder of parts; answers how many."""
    cleared = 0
    for path in left_behind(folder):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s was left by a process that was killed, and cannot be deleted: %s", path, error)
            continue
        cleared += 1
    return cleared


def is_of_bucket(error: BaseException) -> bool:
    """Whether a bucket's server could not be reached in time, is in trouble, or refused us. Such are no OSError."""
    # By name: the library is large, and only there where media are kept in a bucket.
    return any(base.__module__.partition(".")[0] in BUCKET_PACKAGES for base in type(error).__mro__)


def is_away(error: BaseException) -> bool:
    """Whether a bucket's server could not be reached, or is in trouble: that passes. A refusal does not."""
    if not is_of_bucket(error):
        return False
    answer = getattr(error, "response", None)  # with a refusal comes one
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) if isinstance(answer, dict) else 503
    return bool(status >= 500 or status == 429)


def put(name: str, data: bytes) -> str:
    """Stores bytes under a name, over what was there; answers the name."""
    return default_storage.save(name, ContentFile(data))


def local_copy(name: str, folder: Path, storage: Storage = default_storage) -> Path:
    """A path on this machine for a stored file: the file itself, or a copy in ``folder`` of a remote one."""
    try:
        return Path(storage.path(name))
    except NotImplementedError:
        pass  # this storage has no paths: an S3 bucket
    target = folder / name
    with suppress(FileNotFoundError):
        os.utime(target)  # used last counts; never makes one, where another process has just deleted it
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with part_in(folder / INCOMING) as part, storage.open(name) as source:
        _make_room(folder, source.size)
        in_bucket = getattr(source, "obj", None)
        if in_bucket is not None:
            in_bucket.download_fileobj(part)  # read through, django-storages' file would hold all of it in memory
        else:
            for block in source.chunks():
                part.write(block)
        part.flush()
        Path(part.name).replace(target)
    return target


def _make_room(folder: Path, size: int) -> None:
    """Deletes the copies that were not used for longest, until one more fits CACHE_MAX_BYTES and the disk."""
    clear_left_behind(folder / INCOMING)
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # others make room as well
            if path.is_file() and path.parent != folder / INCOMING:
                found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = size + sum(size for _, size, _ in found)
    idle = time.time() - IDLE_S
    for used, freed, path in sorted(found, key=lambda copy: copy[0]):
        if total <= settings.CACHE_MAX_BYTES and (used > idle or disk.has_room_for(size)):
            return
        path.unlink(missing_ok=True)
        total -= freed
