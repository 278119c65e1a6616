"""Where the processes of a machine count: each in files of its own, in one folder, which a scrape adds up.

The files are those of prometheus_client's multi-process mode, and are read and added up by it. They are not written by
it, for three reasons. It chooses how to count when it is first imported, and Celery's command line imports it, through
Flower, before any of our settings are known. A fork while another thread counts would leave its lock locked in the
child for ever. And its files have holes, so that on a full disk counting would kill the process (SIGBUS).

A process holds a lock on the folder for as long as it or a child of it lives. Who finds it free starts from nothing:
what lies there is of processes that are all gone. What single processes leave while others live is added up in one
file, so that there are never more than a few, however often they are replaced.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakSet

from django.conf import settings
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

log = logging.getLogger(__name__)

SIZE = 1 << 16  # of a new file; it grows by doubling
LEFT_MOST = 16  # files of processes that are gone, until they are added up
LOCK = "in-use.lock"
AGAIN_S = 60.0  # until a folder that could not be used is tried again
GONE = "gone"  # in the place of a process's id: the sum of those that are gone
NAME = re.compile(rf"(counter|histogram)_(\d+|{GONE})\.db")
UNUSABLE = (OSError, ValueError, RuntimeError, struct.error)  # the folder, or what lies in it
_TWO_DOUBLES = struct.Struct("dd")
ROOM_OF_A_VALUE = 64  # beside its key


class _File(MmapedDict):
    """A file whose every byte has its place on the disk. Raises OSError where there is none."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            new = path.with_suffix(".new")  # nobody reads it before it has its size
            with new.open("wb") as file:
                _allocate(file.fileno(), SIZE)
            new.replace(path)
        super().__init__(str(path))

    def _init_value(self, key: str) -> None:
        if self._used + len(key.encode()) + ROOM_OF_A_VALUE > self._capacity:
            _allocate(self._f.fileno(), 2 * self._capacity)
        super()._init_value(key)

    def add(self, key: str, amount: float) -> None:
        if key not in self._positions:
            self._init_value(key)
        at = self._positions[key]
        value = _TWO_DOUBLES.unpack_from(self._m, at)[0] + amount
        self._m[at : at + 16] = _TWO_DOUBLES.pack(value, 0.0)  # in one step, for whoever reads it in this moment


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS
        os.write(descriptor, bytes(size - os.fstat(descriptor).st_size))


_stores: WeakSet[Store] = WeakSet()  # of this process; they are told of a fork


class Store:
    """The counting of this process. It never raises: nothing is counted while the folder cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._files: dict[str, _File] = {}
        self._held: int | None = None  # the lock on the folder; children inherit it
        self._not_before = 0.0
        self._said = False
        _stores.add(self)

    def add(self, *changes: tuple[str, str, float]) -> None:
        """Adds to values, each given by its type (counter or histogram), its key and the amount."""
        with self._lock:
            try:
                for kind, key, amount in changes:
                    file = self._files.get(kind) or self._open(kind)
                    if file is None:
                        return
                    file.add(key, amount)
            except UNUSABLE as error:
                self._put_aside(error)

    def _open(self, kind: str) -> _File | None:
        if time.monotonic() < self._not_before:
            return None
        if not self._is_held():
            self._let_go()
            self._held = _hold(self.folder)
        add_up_gone(self.folder)
        self._files[kind] = file = _File(self.folder / f"{kind}_{os.getpid()}.db")
        self._said = False
        return file

    def _is_held(self) -> bool:
        """Also whether it is the folder that is there now: somebody may have removed it."""
        try:
            return self._held is not None and os.path.samestat(os.fstat(self._held), (self.folder / LOCK).stat())
        except FileNotFoundError:
            return False

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _put_aside(self, error: Exception) -> None:
        level = logging.DEBUG if self._said else logging.WARNING
        log.log(level, "what this process does is not counted, the folder of the metrics cannot be used: %s", error)
        self._said, self._not_before = True, time.monotonic() + AGAIN_S
        self._files = {}

    def forked(self) -> None:
        """In a new child: it counts in files of its own."""
        self._lock = threading.Lock()  # a thread that is not here may have held it
        self._files = {}

    def close(self) -> None:
        """For tests: as when the process ends."""
        for file in self._files.values():
            file.close()
        self._files = {}
        self._let_go()


def read(folder: Path) -> list[Metric]:
    """The sums over all processes of this machine that live, or have lived while others did."""
    if not folder.is_dir():
        return []
    try:
        return _read(folder)
    except OSError as error:
        log.warning("what the processes counted cannot be read: %s", error)
        return []


def _read(folder: Path) -> list[Metric]:
    add_up_gone(folder)
    with _locked(folder, fcntl.LOCK_SH):
        paths = [str(path) for path in _of_processes(folder)]
        try:
            return list(MultiProcessCollector.merge(paths))
        except UNUSABLE:
            return list(MultiProcessCollector.merge([path for path in paths if _is_sound(path)]))


def _is_sound(path: str) -> bool:
    try:
        MultiProcessCollector.merge([path])
    except UNUSABLE as error:
        log.warning("%s is damaged, and not counted: %s", path, error)
        return False
    return True


def add_up_gone(folder: Path, least: int = LEFT_MOST + 1) -> None:
    """Adds up what processes have left that are gone, in one file for each type, where it is of so many at least."""
    if len(_left(folder)) < least:
        return
    with _locked(folder, fcntl.LOCK_EX):
        for kind in ("counter", "histogram"):
            left = [path for path in _left(folder) if path.name.startswith(f"{kind}_")]
            if left:
                _add_up(folder / f"{kind}_{GONE}.db", left)


def _add_up(into: Path, left: Sequence[Path]) -> None:
    part = into.with_suffix(".part")
    part.unlink(missing_ok=True)
    sums = _File(part)
    for path in [*left, into] if into.exists() else left:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):
            sums.add(key, value)
    sums.close()
    # Killed between these two, it would count what is left twice: better than a sum that falls, which Prometheus takes
    # for a fresh start.
    part.replace(into)
    for path in left:
        path.unlink()


def _of_processes(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if NAME.fullmatch(path.name))


def _left(folder: Path) -> list[Path]:
    """The files of processes that are gone."""
    found = [(path, path.stem.rpartition("_")[2]) for path in _of_processes(folder)]
    return [path for path, pid in found if pid != GONE and not _lives(int(pid))]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Nobody adds up while others read."""
    with (folder / "reading.lock").open("a") as file:
        fcntl.flock(file, how)
        yield


def _hold(folder: Path) -> int:
    """Takes a share of the folder, which is emptied first where nobody else has one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    else:
        for path in list(_of_processes(folder)):
            path.unlink(missing_ok=True)
        _remove_unused(folder)
    fcntl.flock(held, fcntl.LOCK_SH)
    return held


def _remove_unused(ours: Path) -> None:
    """The folders that machines or containers left that are gone, where they share one with us."""
    for lock in ours.parent.glob(f"*/{LOCK}"):
        if lock.parent == ours:
            continue
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(lock.parent, ignore_errors=True)


def key(metric: str, name: str, labels: Sequence[str], values: Sequence[str], meaning: str) -> str:
    """What a value is called in the files."""
    return mmap_key(metric, name, list(labels), list(values), meaning)


def folder() -> Path:
    """This machine's: process ids mean nothing on another, or in another container."""
    return Path(settings.METRICS_DIR) / (socket.gethostname() or "machine")


_store: Store | None = None
_making = threading.Lock()


def store() -> Store:
    """This process's."""
    global _store
    if _store is None:
        with _making:
            if _store is None:
                _store = Store(folder())
    return _store


def _forked() -> None:
    global _making
    _making = threading.Lock()
    for each in _stores:
        each.forked()


os.register_at_fork(after_in_child=_forked)
