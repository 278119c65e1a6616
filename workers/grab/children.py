"""Child processes that decode pictures and talk RTSP, lent out one at a time, replaced when they hang or crash.

A hostile picture may crash or hang its child: the worker kills it and takes another. What a child is to do comes over
its standard input (a socket), so that no address is ever on a command line, in an environment or in a log.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from detection.sources import Snapshot
from detection.vision.types import MediaInfo
from workers.grab.types import FAULTS, LOOK_S, GrabError
from workers.grab.wire import Message, receive, send

if TYPE_CHECKING:
    from detection.sources import Source
    from workers.grab.types import Limits, Policy

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "workers.grab.child"]
START_S = 30.0  # until a child is ready, on a machine that is busy
GRACE_S = 1.0  # a child that keeps its limits itself answers within them and this
MAX_ORDERS = 500
MAX_RESIDENT_BYTES = 500 * 1024**2
MAX_ANSWER = 256 * 1024**2
BUFFER = 1024**2  # of the socket: a picture goes through in few steps
END_S = 1.0  # a process that was killed is gone by then, unless the kernel holds it (a device, a network drive)
# What a child learns of the worker's environment: OpenSSL's names for the authorities that are trusted.
PASSED_ON = ("SSL_CERT_FILE", "SSL_CERT_DIR")
MAX_SENTENCE, MAX_WORD = 500, 64  # characters in what a child says


class Child:
    """One process. Used by one thread at a time."""

    def __init__(self) -> None:
        self.orders = 0
        self.resident = 0
        self._sock, theirs = socket.socketpair()
        for end in (self._sock, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        with theirs:
            self.process = subprocess.Popen(
                COMMAND,
                cwd=ROOT,
                env=_environment(),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libraries print addresses there
            )
        try:
            receive(self._sock, 0, time.monotonic() + START_S)  # its first word is that it is ready
        except BaseException:
            self.kill()
            raise

    def ask(self, order: Message, within_s: float) -> Message:
        """Raises TimeoutError, EOFError where it died, OSError, ValueError; after any of them it is to be killed."""
        until = time.monotonic() + within_s
        self.orders += 1
        send(self._sock, order, until)
        answer = receive(self._sock, MAX_ANSWER, until)
        self.resident = int(answer.fields.pop("resident", 0))
        return answer

    @property
    def worn(self) -> bool:
        return self.orders >= MAX_ORDERS or self.resident > MAX_RESIDENT_BYTES

    def kill(self) -> int | None:
        """Ends it at once; its exit code, negative for a signal that was there before ours."""
        self._sock.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(0.05)  # where it crashed, the signal is worth knowing
            return int(self.process.returncode)
        self._end()
        return None

    def close(self) -> None:
        """Lets it end by itself: its input ends."""
        self._sock.close()
        try:
            self.process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._end()

    def _end(self) -> None:
        """Kills it. One that the kernel does not let go of is left to a thread, so that nobody waits for it."""
        self.process.kill()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            logger.error("A grab child was killed and does not end (process %s).", self.process.pid)
            threading.Thread(target=self.process.wait, daemon=True, name="reap").start()


def _environment() -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENCV_LOG_LEVEL": "SILENT", **passed_on}


class Pool:
    """At most ``most`` children at work, at most ``keep`` idle."""

    def __init__(self, most: int, keep: int) -> None:
        self._most, self._keep = most, keep
        self.reset()

    def reset(self) -> None:
        """Forgets all children: after a fork they are those of the other process."""
        self._free = threading.BoundedSemaphore(self._most)
        self._lock = threading.Lock()
        self._idle: list[Child] = []

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.close()

    def ask(self, order: Message, within_s: float) -> Message:
        """What a child answers. Raises GrabError: what the child says, or that it hung or crashed."""
        if not self._free.acquire(timeout=START_S):
            raise GrabError("This machine is too busy to look at the camera's picture.", kind="unexpected")
        try:
            answer = self._ask(order, within_s)
        finally:
            self._free.release()
        problem = _problem(answer)
        if problem is not None:
            raise problem
        return answer

    def _ask(self, order: Message, within_s: float) -> Message:
        child = self._borrow()
        try:
            answer = child.ask(order, within_s)
            _check(answer)  # before it is lent out again
        except TimeoutError:
            child.kill()
            logger.warning("A grab child did not answer in time and was killed.")
            problem = _hung(order, within_s)
        except Exception:  # noqa: BLE001  # a child that a picture took over may answer anything
            logger.warning("A grab child was lost in its work (exit code %s).", child.kill())
            problem = _crashed(order)
        except BaseException:
            child.kill()
            raise
        else:
            self._give_back(child)
            return answer
        raise problem

    def _borrow(self) -> Child:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.process.poll() is None:
                    return child
        try:
            return Child()
        except (EOFError, OSError, ValueError) as error:
            logger.error("No grab child could be started: %s.", type(error).__name__)
        raise GrabError("This machine cannot start the process that looks at cameras.", kind="unexpected")

    def _give_back(self, child: Child) -> None:
        if not child.worn:
            with self._lock:
                if len(self._idle) < self._keep:
                    self._idle.append(child)
                    return
        child.close()


def _hung(order: Message, within_s: float) -> GrabError:
    if order.fields["do"] == "look":
        return GrabError(
            f"Looking at the camera's picture took longer than {within_s:.0f} seconds: it is probably damaged.",
            kind="garbage",
        )
    return GrabError("The camera gave no picture in time, and the grab had to be stopped.", kind="timeout")


def _crashed(order: Message) -> GrabError:
    if order.fields["do"] == "look":
        return GrabError("The camera's picture cannot be read: looking at it failed. It is damaged.", kind="garbage")
    return GrabError("The grab ended without an answer: what the camera sends is probably damaged.", kind="damaged")


def _problem(answer: Message) -> GrabError | None:
    """What the child says went wrong. It may say nothing that would not count against the camera."""
    error = answer.fields.get("error")
    if error is None:
        return None
    kind = error["kind"] if error["kind"] in FAULTS else "damaged"
    return GrabError(str(error["message"])[:MAX_SENTENCE], kind=kind, permanent=bool(error["permanent"]))


def _info(answer: Message) -> MediaInfo:
    return MediaInfo(**answer.fields["info"])


def _check(answer: Message) -> None:
    """Raises ValueError, KeyError or TypeError where no sound child would answer this."""
    if _problem(answer):
        return
    info = _info(answer)
    texts = (info.kind, info.format, info.codec, info.captured_at or "", answer.fields["fingerprint"])
    numbers = (info.width, info.height, info.duration_s, info.frames, info.rotation_deg)
    if info.kind != "image" or not all(len(text) <= MAX_WORD and text.isprintable() for text in texts):
        raise ValueError("it is no picture")
    if not all(0 <= number < 2**31 for number in numbers):
        raise ValueError("a number is out of bounds")


# Looking takes some 20 ms, so few children serve many cameras; a stream occupies its child for seconds.
LOOKERS = Pool(most=max(2, min(6, os.cpu_count() or 2)), keep=6)
WATCHERS = Pool(most=64, keep=6)
for _pool in (LOOKERS, WATCHERS):
    atexit.register(_pool.close)
    os.register_at_fork(after_in_child=_pool.reset)


def look(content: bytes, limits: Limits, taken_at: datetime) -> Snapshot:
    """The snapshot that these bytes are. Raises GrabError where they are no picture, or one that is not allowed."""
    answer = LOOKERS.ask(Message({"do": "look", "limits": asdict(limits)}, content), LOOK_S)
    return _snapshot(answer, content, taken_at)


def watch(source: Source, limits: Limits, policy: Policy) -> Snapshot:
    """A frame of a stream, a device or a file."""
    order = {
        "do": source.kind,
        "address": source.address,
        "rtsp_transport": source.rtsp_transport,
        "verify_tls": source.verify_tls,
        "limits": asdict(limits),
        "policy": {**asdict(policy), "files_dir": str(policy.files_dir)},
    }
    answer = WATCHERS.ask(Message(order), limits.total_s + GRACE_S)
    return _snapshot(answer, answer.content, datetime.fromtimestamp(answer.fields["taken_at_s"], UTC))


def _snapshot(answer: Message, content: bytes, taken_at: datetime) -> Snapshot:
    return Snapshot(content, _info(answer), answer.preview, str(answer.fields["fingerprint"]), taken_at)
