"""The files of a backup: a list that may be long, and copies of which none is ever half."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

from detection.backup import BackupError
from detection.backup.names import is_safe
from detection.backup.rows import read_lines
from detection.models.intake import sha256_of

T = TypeVar("T")


class Fate(StrEnum):
    """What is to be said of a file."""

    FINE = ""
    REMOVED = "removed"  # with its row, after the rows were read
    MISSING = "missing"  # from the storage, though a row names it
    DAMAGED = "damaged"  # other bytes than its row says


@dataclass(frozen=True, slots=True)
class Copied:
    """A file in a backup; without size and hash where it is not there."""

    name: str
    bytes: int = 0
    sha256: str = ""
    fate: Fate = Fate.FINE

    @property
    def is_there(self) -> bool:
        return self.fate in (Fate.FINE, Fate.DAMAGED)

    def as_line(self) -> list[Any]:
        return [self.name, self.bytes, self.sha256, self.fate.value]

    @classmethod
    def of(cls, line: Any) -> Self:
        """Raises ValueError for what is no line of ours."""
        name, size, sha256, fate = line
        if not is_safe(name) or type(size) is not int or size < 0 or not isinstance(sha256, str):
            raise ValueError("a file of an impossible name or size")
        copied = cls(name, size, sha256, Fate(fate))
        if copied.is_there and len(sha256) != 64:
            raise ValueError("a file without its SHA-256")
        return copied


COLUMNS = ["name", "bytes", "sha256", "fate"]


def read_list(path: Path) -> Iterator[Copied]:
    """The files that a backup lists. Raises BackupError, also for names that would lead out of a folder."""
    lines = read_lines(path)
    if (header := next(lines, None)) is None or header[0] != COLUMNS:
        raise BackupError(f"{path} is damaged: it is no list of files.")
    for number, (line, _) in enumerate(lines, start=2):
        try:
            copied = Copied.of(line)
        except (ValueError, TypeError) as error:
            raise BackupError(f"{path} is damaged or was tampered with: line {number} is {error}.") from error
        yield copied


class Index:
    """Files by name, on disk, because there may be millions; gone when it is closed."""

    def __init__(self) -> None:
        self.base = sqlite3.connect("", isolation_level=None)  # a file of SQLite's own, which has no name
        self.base.execute("CREATE TABLE file (name TEXT PRIMARY KEY, bytes INT, sha256 TEXT, fate TEXT) WITHOUT ROWID")
        self.base.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.base.close()

    def add(self, files: Iterable[Copied]) -> None:
        self.base.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?)", (file.as_line() for file in files))

    def get(self, name: str) -> Copied | None:
        with closing(self.base.execute("SELECT * FROM file WHERE name = ?", [name])) as found:
            row = found.fetchone()
        return Copied(row[0], row[1], row[2], Fate(row[3])) if row else None

    def __iter__(self) -> Iterator[Copied]:
        for name, size, sha256, fate in self.base.execute("SELECT * FROM file ORDER BY name"):
            yield Copied(name, size, sha256, Fate(fate))


def place(folder: Path, name: str) -> Path:
    """Where a file lies in a folder of files. Raises BackupError where a link would lead out of it."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BackupError(f"{path} leads out of the backup by a link: it was tampered with.")
    return path


def put(blocks: Iterable[bytes], target: Path, incoming: Path, mode: int = 0o600) -> tuple[int, str]:
    """Writes a file under its name once it is whole; answers its size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=incoming, delete=False) as part:
        try:
            for block in blocks:
                part.write(block)
                digest.update(block)
                size += len(block)
            part.flush()
            os.fchmod(part.fileno(), mode)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(part.name, target)
        finally:
            Path(part.name).unlink(missing_ok=True)
    return size, digest.hexdigest()


def _damaged(copied: Copied) -> str:
    return f"The file {copied.name} of the backup is damaged: its SHA-256 is not the one in the list."


def check(copied: Copied, folder: Path) -> str:
    """What is wrong with a file of a backup; empty where it is as the list says."""
    path = place(folder, copied.name)
    try:
        if path.stat().st_size != copied.bytes or sha256_of(path) != copied.sha256:
            return _damaged(copied)
    except FileNotFoundError:
        return f"The file {copied.name} is not in the backup, though it is listed."
    except OSError as error:
        return f"The file {copied.name} of the backup cannot be read ({error.strerror})."
    return ""


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """As itertools has it from Python 3.12 on."""
    left = iter(values)
    while some := list(islice(left, size)):
        yield some
