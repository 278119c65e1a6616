"""The way to a camera: its name resolved, every address checked, connected to a checked one, all of it in time.

Used by the worker for HTTP and by the child for RTSP.
"""

from __future__ import annotations

import errno
import functools
import queue
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from detection.sources import forbidden, literal_ip
from workers.grab.types import GrabError

if TYPE_CHECKING:
    from collections.abc import Callable

SockAddress: TypeAlias = tuple[socket.AddressFamily, Any]

MAX_ADDRESSES = 8  # of one name that are tried
MAX_LOOKUPS = 64  # at a time: the C library gives no way to end one that hangs

_lookups = threading.BoundedSemaphore(MAX_LOOKUPS)


class Late(TimeoutError):
    """The time that was given is over."""


@dataclass(slots=True)
class Clock:
    """Until when (``time.monotonic``) a connection may go on; moved on as the grab advances."""

    until: float

    def left(self) -> float:
        """Seconds, more than 0. Raises Late where none are left."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise Late
        return left


class _TimedSocket(socket.socket):
    """A socket on which every single read and write ends by its clock, however little trickles in."""

    clock: Clock

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        self.settimeout(self.clock.left())
        return super().recv_into(*arguments, **options)

    def sendall(self, *arguments: Any, **options: Any) -> None:
        self.settimeout(self.clock.left())
        super().sendall(*arguments, **options)


class _TimedTls(_TimedSocket, ssl.SSLSocket):
    """The same over TLS: its own methods come after the timed ones, and before the plain socket's."""


@dataclass(frozen=True, slots=True)
class Line:
    """How one grab connects: the rule for addresses, whether certificates are verified, and its clock."""

    allow_loopback: bool
    allow_private: bool
    verify_tls: bool
    connect_s: float
    clock: Clock

    def connect(self, host: str, port: int, tls: bool) -> socket.socket:
        """A connection to one of the host's addresses, after all of them were checked. Raises GrabError."""
        limit = Clock(min(self.clock.until, time.monotonic() + self.connect_s))
        try:
            addresses = self._checked(host, port, limit)
            raw = _connect_any(addresses, limit)
            sock = self._secured(raw, host, limit) if tls else raw
        except TimeoutError:
            problem = GrabError(
                f"The camera could not be connected to within {self.connect_s:g} seconds. Look whether it is on, "
                "whether its address is right, and whether a firewall stands between.",
                kind="timeout",
            )
        except OSError as error:
            problem = of_socket(error)
        else:
            sock.clock = self.clock
            return sock
        raise problem  # outside of the handlers: no exception with an address in it stays attached

    def _checked(self, host: str, port: int, limit: Clock) -> list[SockAddress]:
        addresses = resolve(host, port, limit.left())
        for _, place in addresses:
            reason = forbidden(place[0].partition("%")[0], self.allow_loopback, self.allow_private)
            if reason:
                raise GrabError(f"The camera is not called. {reason}", kind="forbidden_address", permanent=True)
        return addresses[:MAX_ADDRESSES]

    def _secured(self, raw: socket.socket, host: str, limit: Clock) -> _TimedTls:
        raw.settimeout(limit.left())  # OpenSSL's whole handshake counts as one operation
        try:
            name = host.rstrip(".").partition("%")[0]
            return cast("_TimedTls", tls_context(self.verify_tls).wrap_socket(raw, server_hostname=name))
        except BaseException:
            raw.close()
            raise


@functools.cache
def tls_context(verify: bool) -> ssl.SSLContext:
    """Made once for each kind: loading the certificates takes longer than a whole grab."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _TimedTls
    if verify:
        import certifi

        context.load_default_certs()  # where an own authority is added
        context.load_verify_locations(certifi.where())
        return context
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED  # old cameras know no better,
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # and who it is, is not asked anyway
    return context


def resolve(host: str, port: int, timeout_s: float) -> list[SockAddress]:
    """All addresses of a host, in the order to try. Raises GrabError, or Late where the name server takes too long."""
    ip = literal_ip(host)
    if ip is not None:
        family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
        return [(family, (str(ip), port))]
    answers: queue.SimpleQueue[list[SockAddress] | OSError | UnicodeError] = queue.SimpleQueue()
    started = time.monotonic()
    if not _lookups.acquire(timeout=timeout_s):
        raise Late
    threading.Thread(target=_look_up, args=(host, port, answers.put), daemon=True, name="resolve").start()
    try:
        answer = answers.get(timeout=max(0.0, timeout_s - (time.monotonic() - started)))
    except queue.Empty:
        answer = Late()
    if isinstance(answer, Late):
        raise answer
    if isinstance(answer, Exception) or not answer:
        raise GrabError(
            "The camera's name is not known in the network. Look for a slip in the address, or enter the IP address.",
            kind="unknown_host",
        )
    return answer


def _look_up(host: str, port: int, answer: Callable[[list[SockAddress] | OSError | UnicodeError], None]) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        answer(list(dict.fromkeys((family, place) for family, _, _, _, place in found)))
    except (OSError, UnicodeError) as error:
        answer(error)
    finally:
        _lookups.release()


def _connect_any(addresses: list[SockAddress], limit: Clock) -> _TimedSocket:
    """Tries one address after the other; each gets its share of the time that is left."""
    failure: OSError = Late()
    for tried, (family, place) in enumerate(addresses):
        sock = _TimedSocket(family, socket.SOCK_STREAM)
        sock.settimeout(limit.left() / (len(addresses) - tried))
        try:
            sock.connect(place)
        except OSError as error:
            sock.close()
            failure = error
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
    raise failure


def of_socket(error: OSError) -> GrabError:
    """What a failed connection means for the user."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return GrabError(
            f"The camera's certificate is not trusted ({error.verify_message or 'it does not fit its name'}). Add its "
            "authority to this machine, or turn the check of the certificate off for this camera.",
            kind="tls",
            permanent=True,
        )
    if isinstance(error, ssl.SSLError):
        return GrabError(
            "No encrypted connection to the camera comes about. Look whether its port is the one for encrypted "
            "connections (https, rtsps).",
            kind="tls",
            permanent=True,
        )
    if isinstance(error, ConnectionRefusedError):
        return GrabError(
            "The camera's machine is there, but nothing listens at this port. Look at the port, and whether the "
            "camera's service is on.",
            kind="refused",
        )
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL):
        return GrabError(
            "There is no way to the camera's address. Look at its cable, its address, and the network between.",
            kind="unreachable",
        )
    return GrabError(
        "The camera closed the connection. Look whether it is overloaded or restarting.", kind="unreachable"
    )
