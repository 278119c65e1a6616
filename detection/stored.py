"""What lies in a storage, folder by folder: a bucket is listed a thousand files at a time, and no file is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.files.storage import Storage

BLOCK = 1024**2


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a storage; ``changed_at`` in seconds since the epoch."""

    name: str
    bytes: int
    changed_at: float


def location(storage: Storage) -> str:
    """Where it is, as an operator knows it: a folder, or a bucket."""
    try:
        return storage.path("")
    except NotImplementedError:
        bucket: Any = storage
        return f"s3://{bucket.bucket_name}/{bucket.location}".rstrip("/")


def top_folders(storage: Storage) -> list[str]:
    """The folders right in it; "" where files lie there as well."""
    try:
        folders, files = storage.listdir("")
    except FileNotFoundError:  # nothing was ever stored
        return []
    return sorted(folders) + [""] * bool(files)


def files_in(storage: Storage, folder: str) -> Iterator[StoredFile]:
    """All files in a top folder and below, in no order; those right in the storage for ""."""
    try:
        path = Path(storage.path(folder))
    except NotImplementedError:
        return _in_bucket(storage, folder)
    return _in_folder(path, f"{folder}/" if folder else "", is_deep=bool(folder))


def blocks_of(storage: Storage, name: str) -> Iterator[bytes]:
    """The bytes of a stored file, never whole in memory. Raises FileNotFoundError."""
    with storage.open(name) as file:
        in_bucket = getattr(file, "obj", None)
        if in_bucket is not None:
            yield from in_bucket.get()["Body"].iter_chunks(BLOCK)
        else:
            yield from file.chunks(BLOCK)


def _in_folder(path: Path, prefix: str, *, is_deep: bool) -> Iterator[StoredFile]:
    with suppress(FileNotFoundError), os.scandir(path) as entries:  # it goes with its last file
        for entry in entries:
            if entry.is_dir():
                if is_deep:
                    yield from _in_folder(Path(entry.path), f"{prefix}{entry.name}/", is_deep=True)
                continue
            with suppress(FileNotFoundError):
                found = entry.stat()
                yield StoredFile(f"{prefix}{entry.name}", found.st_size, found.st_mtime)


def _in_bucket(storage: Any, folder: str) -> Iterator[StoredFile]:
    root = f"{storage.location.strip('/')}/".lstrip("/")
    prefix = f"{root}{folder}/" if folder else root
    client = storage.connection.meta.client
    asked = {"Bucket": storage.bucket_name, "Prefix": prefix, **({} if folder else {"Delimiter": "/"})}
    for page in client.get_paginator("list_objects_v2").paginate(**asked):
        for found in page.get("Contents", ()):
            if not found["Key"].endswith("/"):  # what some tools put where they show a folder
                yield StoredFile(found["Key"][len(root) :], found["Size"], found["LastModified"].timestamp())
