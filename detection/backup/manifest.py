"""What a backup says of itself, and the folder that backups lie in."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from detection.backup import BackupError
from project.keys import padded

FORMAT = 1
FILES = "files"  # of the folder: what all its backups share
NAME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z(-\d+)?")
UNFINISHED = ".unfinished-"
MANIFEST, SUM, LIST = "manifest.json", "manifest.sha256", "files.jsonl.gz"
TABLE = re.compile(r"[a-z_]+\.[a-z_]+")
LARGEST_MANIFEST_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a backup: how many rows are in it, and how it is known again."""

    rows: int
    bytes: int
    sha256: str

    @classmethod
    def of(cls, given: Any) -> Self:
        part = cls(given["rows"], given["bytes"], given["sha256"])
        if type(part.rows) is not int or type(part.bytes) is not int or not re.fullmatch("[0-9a-f]{64}", part.sha256):
            raise ValueError("a part without its size and SHA-256")
        return part


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is: when, of what, made by which version, and its parts."""

    made_at: str
    code_version: str
    database: str  # sqlite or postgresql
    migrations: list[tuple[str, str]]
    keys: list[str]  # fingerprints of CAMERA_KEYS, the first one's first
    secrets: int  # how many columns of rows are encrypted
    tables: dict[str, Part]
    files: Part
    files_bytes: int  # of what they hold

    def write(self, folder: Path) -> None:
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode() + b"\n"
        (folder / MANIFEST).write_bytes(text)
        (folder / SUM).write_text(f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises BackupError for what is damaged, or of a format of tomorrow."""
        try:
            if (folder / MANIFEST).stat().st_size > LARGEST_MANIFEST_BYTES:
                raise ValueError("it is too large")
            text = (folder / MANIFEST).read_bytes()
            expected = (folder / SUM).read_text().split()[:1]
            if [hashlib.sha256(text).hexdigest()] != expected:
                raise ValueError("its SHA-256 is another")
            given = json.loads(text)
            if type(given["format"]) is int and given["format"] > FORMAT:
                raise BackupError(f"{folder} is of a newer format: restore it with the version that made it, or later.")
            return cls(
                made_at=str(given["made_at"]),
                code_version=str(given["code_version"])[:100],
                database=str(given["database"]),
                migrations=[(str(app), str(name)) for app, name in given["migrations"]],
                keys=[str(key) for key in given["keys"]],
                secrets=int(given["secrets"]),
                tables={_table(name): Part.of(part) for name, part in given["tables"].items()},
                files=Part.of(given["files"]),
                files_bytes=int(given["files_bytes"]),
            )
        except FileNotFoundError as error:
            raise BackupError(
                f"There is no whole backup in {folder}: {Path(error.filename).name} is missing."
            ) from error
        except OSError as error:
            raise BackupError(f"{folder} cannot be read ({error.strerror}).") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BackupError(f"{folder / MANIFEST} is damaged ({error}): use another backup.") from error


def _table(name: str) -> str:
    if not TABLE.fullmatch(name):
        raise ValueError("a table with an odd name")
    return name


def fingerprint(key: str) -> str:
    """What tells one key from another and gives none away: 32 random bytes cannot be guessed from it."""
    return hashlib.sha256(b"Nightjar's backup knows this key: " + padded(key).encode()).hexdigest()[:16]


def backups(folder: Path) -> list[str]:
    """The names of the whole backups in a folder, the oldest first."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if NAME.fullmatch(entry.name) and entry.is_dir())
    except FileNotFoundError:
        raise BackupError(f"There is no folder {folder}.") from None
    except OSError as error:
        raise BackupError(f"The folder {folder} cannot be read ({error.strerror}).") from error


def chosen(folder: Path, name: str = "") -> Path:
    """The folder of the backup of this name, or of the newest; raises BackupError."""
    there = backups(folder)
    if not there:
        raise BackupError(f"There is no whole backup in {folder}: name the folder that `manage.py backup` was given.")
    if name and name not in there:
        raise BackupError(f"There is no backup {name} in {folder}; there are {', '.join(there)}.")
    return folder / (name or there[-1])


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Nobody else makes a backup in this folder meanwhile; made where it is not there. Raises BackupError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / FILES).mkdir(mode=0o700, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise BackupError(f"The folder {folder} cannot be written to ({error.strerror}).") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"Another backup is being made in {folder}: wait for it to end.") from None
        except OSError:  # a share without locks: two at once only do the same work twice
            pass
        yield
    finally:
        os.close(lock)


def remove(folder: Path, names: Sequence[str]) -> None:
    """Removes backups; one that is removed in part is never taken for a whole one."""
    for name in names:
        doomed = folder / f"{UNFINISHED}{name}"
        (folder / name).rename(doomed)
        shutil.rmtree(doomed)
