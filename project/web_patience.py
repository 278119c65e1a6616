"""How long the web server waits for whom: a thread of its own is for a request that is here, and not for a promise.

Gunicorn gives each connection one of its threads, which waits as long as it takes for whatever comes. So a few dozen
connections that say half a sentence, by mistake or on purpose, would keep all others out. Here the loop that accepts
connections collects the head of a request, and a short body; only then a thread takes over.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Callable
from concurrent import futures
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.errors import ConfigError
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_S = 10.0  # for the whole head of a request
BODY_S = 20.0  # then for the whole of a short body, such as a form
READ_S = 30.0  # without one byte more of a long one, such as an upload
ANSWER_S = 60  # without one byte of the answer being taken
DRAIN_S = 0.05  # what a thread waits for the rest of a body that nobody wanted, before it closes
LINGER_S = 2.0  # for the other side to read the answer and to close
HEAD_MOST = 64 * 1024
BODY_MOST = 64 * 1024  # of a short body; who is not logged in may send no longer one (detection/views/limits.py)
WAITING_MOST = 256  # connections that nobody has understood yet; beyond, the oldest is closed
SAID_AGAIN_S = 60.0

END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,19})[ \t]*\r\n", re.IGNORECASE)
EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
# Answered by threads of their own: also while all others wait for the database, say, this process lives and says so.
PROBES = re.compile(rb"(?:GET|HEAD) /health/(?:live|ready)[ ?]")
PROBE_THREADS = 2
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Conn(TConn):
    """A connection, with what has come of its next request."""

    def __init__(self, worker: PatientWorker, client: socket.socket, address: Any, server: Any) -> None:
        super().__init__(worker.cfg, client, address, server)
        self.worker = worker
        self.came = b""
        self.needed: int | None = None  # bytes of the head and a short body, once the head is here
        self.is_over = False  # it was answered, and the other side has not closed yet
        self.drained = 0

    def takes(self, more: bytes) -> bool:
        """Adds what came; whether that is all that is to be waited for here."""
        self.came += more
        if self.needed is None:
            self.came = self.came.lstrip(b"\r\n")
            end = self.came.find(END)
            if end < 0:
                return self.came.count(b"\n") != self.came.count(b"\r\n")  # which the parser refuses at once
            self.needed = end + len(END)
            length = LENGTH.search(self.came, 0, end + 2)
            if length and 0 < int(length[1]) <= BODY_MOST:
                self.needed += int(length[1])
                self.timeout += BODY_S
                if len(self.came) < self.needed and EXPECTS.search(self.came, 0, end + 2):
                    with suppress(OSError):
                        self.sock.send(GO_ON)
        return len(self.came) >= self.needed

    def hand_over(self) -> None:
        """Gives the parser what came."""
        self.init()
        if not isinstance(self.parser.unreader, Unreader):
            self.parser.unreader = Unreader(self.sock)
        self.parser.unreader.unread(self.came)
        self.came, self.needed = b"", None

    def close(self, graceful: bool = False) -> None:
        """Gracefully: the other side is left the time to read the answer, which cost no thread and not the loop's."""
        if not (graceful and self.worker.linger(self)):
            super().close()


class Unreader(SocketUnreader):
    """What a thread reads a long body from: it waits for the next byte, but not for ever."""

    def chunk(self, size_hint: int | None = None) -> bytes:
        if self.sock.gettimeout() is not None:  # somebody has set a limit already
            return bytes(super().chunk(size_hint))
        self.sock.settimeout(READ_S)
        try:
            return bytes(super().chunk(size_hint))
        except TimeoutError:
            raise TimeoutError(f"nothing more of the request came within {READ_S:g} s") from None
        finally:
            self.sock.settimeout(None)


class PatientWorker(ThreadWorker):
    """Gunicorn's worker with threads; its loop holds those who have not said yet what they want."""

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        if cfg.is_ssl:
            raise ConfigError("TLS is for a proxy before Nightjar to speak: see deploy/README.md.")
        super().check_config(cfg, log)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._given_up = 0
        self._said_at = -SAID_AGAIN_S

    def init_process(self) -> None:
        self.probes = futures.ThreadPoolExecutor(PROBE_THREADS, "probes")
        super().init_process()

    def accept(self, listener: Any) -> None:
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another process was quicker, or it is gone again
            return
        self.nr_conns += 1
        if client.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ANSWER_S * 1000)
        self.enqueue_req(Conn(self, client, address, listener.getsockname()))

    def enqueue_req(self, conn: Conn) -> None:
        """A request is expected: the first of a connection, or the next of one that is kept."""
        if conn.initialized:
            conn.came = conn.parser.unreader.take_buffered()
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + (HEAD_S if self.alive else LINGER_S)
        what = self._begin if conn.came and conn.takes(b"") else self._next(conn)
        if what is None:
            self._wait(conn)
        else:
            what(conn)

    def handle(self, conn: Conn) -> Any:
        conn.hand_over()
        return super().handle(conn)

    def linger(self, conn: Conn) -> bool:
        """Whether this is going to close the connection, once the other side has or LINGER_S are over."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        conn.is_over = True
        conn.timeout = time.monotonic() + LINGER_S
        if self._next(conn) is not None:
            return False
        self.nr_conns += 1
        self._wait(conn)
        return True

    def on_pending_socket_readable(self, conn: Conn, client: Any) -> None:
        if conn not in self.pending_conns:  # given up for one that came in this very round of the loop
            return
        what = self._next(conn)
        if what is not None:
            self._wait_no_more(conn)
            what(conn)

    def murder_pending(self) -> None:
        now = time.monotonic()
        for conn in [conn for conn in self.pending_conns if conn.timeout < now]:
            self._give_up(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """It stops: who has not said yet what they want will not be answered."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def _keepalive_after(self, conn: Conn, keepalive: bool) -> bool:
        return keepalive and bool(conn.parser.finish_body(deadline=time.monotonic() + DRAIN_S))

    def _next(self, conn: Conn) -> Callable[[Conn], None] | None:
        """Takes what is there. What is to be done now; None where more has to come first."""
        try:
            more = conn.sock.recv(HEAD_MOST)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return self._drop
        if not more:
            return self._drop
        if conn.is_over:
            conn.drained += len(more)
            return self._drop if conn.drained > HEAD_MOST else None
        if conn.takes(more):
            return self._begin
        return self._refuse if conn.needed is None and len(conn.came) > HEAD_MOST else None

    def _begin(self, conn: Conn) -> None:
        pool = self.probes if PROBES.match(conn.came) else self.tpool
        job = pool.submit(self.handle, conn)
        job.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def _refuse(self, conn: Conn) -> None:
        with suppress(OSError):
            conn.sock.send(TOO_LONG)
        self.nr_conns -= 1
        conn.close(graceful=True)

    def _drop(self, conn: Conn) -> None:
        self.nr_conns -= 1
        conn.close()

    def _wait(self, conn: Conn) -> None:
        if len(self.pending_conns) >= WAITING_MOST:
            self._give_up(self.pending_conns[0])
        self.pending_conns.append(conn)
        on_readable = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, on_readable)

    def _wait_no_more(self, conn: Conn) -> None:
        self.pending_conns.remove(conn)
        self.poller.unregister(conn.sock)

    def _give_up(self, conn: Conn) -> None:
        self._wait_no_more(conn)
        self._drop(conn)
        if conn.is_over:
            return
        self._given_up += 1
        now = time.monotonic()
        if now - self._said_at >= SAID_AGAIN_S:  # not a line for each: there may be thousands
            self.log.info("%s connections were closed that did not say in time what they want", self._given_up)
            self._given_up, self._said_at = 0, now
