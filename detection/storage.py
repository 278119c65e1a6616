"""The storage folder: what is named there is whole and on the disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, default_storage


class DurableFileSystemStorage(FileSystemStorage):
    """Django's folder storage, but a file appears under its name only when it is whole and synced to the disk.

    The row that names a file is written after the file, so neither a crash nor a power cut leaves a row without its
    file or half a file under a good name.
    """

    def _save(self, name: str, content: File[Any]) -> str:
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        uploaded = getattr(content, "temporary_file_path", None)
        if uploaded is not None and os.stat(uploaded()).st_dev == os.stat(target.parent).st_dev:
            source = Path(uploaded())
        else:
            source = self._copy_beside(target, content)
        with source.open("rb") as file:
            os.fsync(file.fileno())
        source.chmod(0o640)
        source.replace(target)
        _sync_folder(target.parent)
        return str(name).replace("\\", "/")

    @staticmethod
    def _copy_beside(target: Path, content: File[Any]) -> Path:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as file:
                for block in content.chunks():
                    file.write(block)
        except BaseException:
            Path(name).unlink()
            raise
        return Path(name)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
    if target.exists():
        target.touch()  # used last counts
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file, storage.open(name) as source:
            for block in source.chunks():
                file.write(block)
        Path(part).replace(target)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    _make_room(folder, keep=target)
    return target


def _make_room(folder: Path, keep: Path) -> None:
    """Deletes the copies that were not used for longest, until the rest fits CACHE_MAX_BYTES."""
    found = [(path.stat().st_mtime, path.stat().st_size, path) for path in folder.rglob("*") if path.is_file()]
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found, key=lambda copy: copy[0]):
        if total <= settings.CACHE_MAX_BYTES:
            return
        if path != keep:
            path.unlink(missing_ok=True)
            total -= size
