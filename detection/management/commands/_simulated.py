"""Cameras that are not there: an HTTP server that answers as cameras do, well or in one of many bad ways.

Benches and tests grab from it. It must cost little beside what it measures: forty pictures are drawn and encoded once
and given out in turn, each with a comment of its own, so that no two answers have the same bytes and no two answers of
a camera in a row have the same pixels.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

from detection.management.commands._simulated_answers import BEHAVIOURS, Behaviour, Visit

# Of a bare stream the parts do not say their length.
PATHS = {"http": ".jpg", "mjpeg": ".mjpeg", "mjpeg_bare": ".bare.mjpeg"}
ROOT = Path(__file__).resolve().parents[3]
SEED, PICTURES, QUALITY = 5, 40, 85


class SimulatedCameras:
    """Cameras number 0 to ``count`` - 1 on one port, while the ``with`` lasts.

    They live in a thread of this process or, with ``process``, in a process of their own, which ends with this one.
    ``width`` is that of the pictures in pixels, 16:9. Raises ValueError for a camera or a behaviour that there is not.
    """

    def __init__(self, count: int = 1, host: str = "127.0.0.1", process: bool = False, *, width: int = 640) -> None:
        self.count = count
        self.host = host
        self._nobody = socket.socket()  # bound and never listened to, so that nobody else can listen there either
        self._behaviours: dict[int, Behaviour] = {}
        self._cameras: _Thread | _Process = _Process(count, host, width) if process else _Thread(count, host, width)

    def __enter__(self) -> Self:
        self._nobody.bind((self.host, 0))
        self.port = self._cameras.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cameras.stop()
        self._nobody.close()

    @property
    def pid(self) -> int:
        """The process in which the cameras live."""
        return self._cameras.pid

    def address(self, number: int, kind: str = "http") -> str:
        """Where the camera is reached; that of a “refused” one is a port where nobody listens."""
        self._check(number)
        if kind not in PATHS:
            raise ValueError(f"There is no kind “{kind}”; there are {', '.join(PATHS)}.")
        refused = self._behaviours.get(number) == "refused"
        port = self._nobody.getsockname()[1] if refused else self.port
        return f"http://{self.host}:{port}/cameras/{number}{PATHS[kind]}"

    def behave(self, number: int, behaviour: str) -> None:
        """What the camera does from the next request on."""
        self._check(number)
        if behaviour not in BEHAVIOURS:
            raise ValueError(f"There is no behaviour “{behaviour}”; there are {', '.join(BEHAVIOURS)}.")
        self._behaviours[number] = behaviour
        self._cameras.behave(number, behaviour)

    def asked(self, number: int) -> int:
        """How many requests have come for this camera."""
        self._check(number)
        return self._cameras.asked(number)

    def _check(self, number: int) -> None:
        if not 0 <= number < self.count:
            raise ValueError(f"There is no camera {number}; there are 0 to {self.count - 1}.")


class _Thread:
    """The cameras in a thread of this process."""

    def __init__(self, count: int, host: str, width: int) -> None:
        self.count, self.host, self.width = count, host, width
        self.pid = os.getpid()
        self.behaviours: dict[int, Behaviour] = {}
        self.requests: Counter[int] = Counter()
        self.sent: Counter[int] = Counter()
        self.nonce = secrets.token_hex(16)
        self._started: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="cameras", daemon=True)

    def start(self) -> int:
        self.pictures = _pictures(self.width)
        self._thread.start()
        return self._started.result()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def behave(self, number: int, behaviour: Behaviour) -> None:
        self.behaviours[number] = behaviour

    def asked(self, number: int) -> int:
        return self.requests[number]

    async def _run(self) -> None:
        """Until `stop`; whoever is connected then is hung up on, as asyncio.run cancels what is left."""
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            server = await asyncio.start_server(self._connected, self.host, 0, backlog=1024)
        except OSError as error:
            self._started.set_exception(error)
            return
        self._started.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            await Visit(self, request, reader, writer).answer()
        writer.close()

    def picture(self, number: int, *, same: bool = False) -> bytes:
        """The next picture of a camera, or the one that it sent last."""
        if not same:
            self.sent[number] += 1
        count = self.sent[number]
        comment = f"camera {number} picture {count}".encode()
        # Neighbours begin at different pictures. The comment goes behind the JFIF segment, which must be the first.
        encoded = self.pictures[(number * 7 + count) % PICTURES]
        head = 4 + int.from_bytes(encoded[4:6], "big")
        return b"".join((encoded[:head], b"\xff\xfe", (len(comment) + 2).to_bytes(2, "big"), comment, encoded[head:]))


class _Process:
    """The cameras in a process of their own: `_Thread` at the other end of two pipes, a line for a line."""

    def __init__(self, count: int, host: str, width: int) -> None:
        self._words = [sys.executable, "-m", "detection.management.commands._simulated", str(count), host, str(width)]
        self._turn = threading.Lock()

    def start(self) -> int:
        # A session of its own: Ctrl-C reaches the bench alone, which ends this by closing its standard input.
        self._process = subprocess.Popen(
            self._words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.pid = self._process.pid
        return int(self._answer())

    def stop(self) -> None:
        if self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.stdout.close()
        self._process.wait()

    def behave(self, number: int, behaviour: Behaviour) -> None:
        self._ask(f"{number} {behaviour}")

    def asked(self, number: int) -> int:
        return int(self._ask(f"{number} ?"))

    def _ask(self, line: str) -> str:
        with self._turn:
            if self._process.stdin:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
            return self._answer()

    def _answer(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("The simulated cameras' process has ended.")
        return line.strip()


@lru_cache(maxsize=2)
def _pictures(width: int) -> tuple[bytes, ...]:
    """JPEGs of a drawn yard where people walk; no two of them are the same."""
    import cv2

    from detection.vision.draw import draw_scene

    scene = draw_scene(SEED, width, width * 9 // 16, seconds=PICTURES / 10, fps=10)
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    return tuple(cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes() for image, _ in scene)


def main() -> None:
    """The process of `_Process`: prints its port, then does what each line says until there are no more."""
    count, host, width = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    cameras = _Thread(count, host, width)
    print(cameras.start(), flush=True)
    for line in sys.stdin:
        number, word = line.split()
        if word == "?":
            print(cameras.asked(int(number)), flush=True)
        else:
            cameras.behaviours[int(number)] = next(known for known in BEHAVIOURS if known == word)
            print("done", flush=True)
    cameras.stop()


if __name__ == "__main__":
    main()
