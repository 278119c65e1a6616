"""The folders the embedded parts write to: who may enter them, and what is said when they cannot be used."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from pathlib import Path

# The kernel's limit for the path of a Unix socket: 108 bytes on Linux, 104 on macOS, with the closing NUL.
SOCKET_PATH_MAX_BYTES = 103
LONGEST_SOCKET_NAME = "broker.sock"


class StartError(Exception):
    """Why the system does not start, as one sentence for the person who started it."""


def run_dir(data_dir: Path) -> Path:
    """Where the sockets are: DATA_DIR/run, or a short folder under /tmp where that path is too long for a socket.

    The answer depends on DATA_DIR and the user alone, never on the environment, because processes that were started in
    different ways must agree on it. Nothing is created here; see `private_folder`.
    """
    inside = data_dir / "run"
    if len(os.fsencode(inside / LONGEST_SOCKET_NAME)) <= SOCKET_PATH_MAX_BYTES:
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path("/tmp") / f"nightjar-{os.geteuid()}-{digest}"  # noqa: S108 (private_folder refuses what is not ours)


def private_folder(path: Path) -> Path:
    """Makes the folder, or takes the one that is there, so that only this user can enter it; raises StartError.

    A folder of somebody else, or a link to one, is refused: whoever can write where the broker's socket lies can make
    the workers do anything.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise StartError(f"The folder {path} belongs to another user or is a link: remove it and start again.")
        path.chmod(0o700)
    except OSError as error:
        raise StartError(f"The folder {path} cannot be used ({error.strerror}).") from error
    return path


def data_folder(path: Path) -> Path:
    """Makes sure that the data folder is there and can be written to; raises StartError.

    Made by us it is closed to others, because it holds the database and the media; one that is there keeps its mode.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(b"1")
    except OSError as error:
        raise StartError(
            f"The data folder {path} cannot be written to ({error.strerror}): change its owner, or set DATA_DIR to "
            "another."
        ) from error
    return path


def hold(data_dir: Path, wait_s: float = 15.0) -> int:
    """Takes the lock of the data folder and returns its descriptor; raises StartError where another launcher has it.

    Where that launcher is dead already, its guardian still ends what it left; that is waited for.
    """
    descriptor = os.open(data_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode().strip()
            if _runs(holder) or time.monotonic() > deadline:
                os.close(descriptor)
                raise StartError(
                    f"Nightjar already runs on the data folder {data_dir} (process {holder}): stop that one first, or "
                    "set DATA_DIR to another folder."
                ) from None
            time.sleep(0.2)
        else:
            os.pwrite(descriptor, f"{os.getpid():<20}".encode(), 0)
            return descriptor


def _runs(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
