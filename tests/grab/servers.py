"""A server on a raw socket that says what a test tells it to, for one connection after the other."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.services import absent


@contextmanager
def server(talk: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Its port; ``talk`` gets each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        def one(connection: socket.socket) -> None:
            with suppress(OSError), wrapped(connection) as secured:
                talk(secured)

        def wrapped(plain: socket.socket) -> socket.socket:
            return context.wrap_socket(plain, server_side=True) if context else plain

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def saying(*parts: bytes, hold: bool = False) -> Callable[[socket.socket], None]:
    """Reads one request and answers it with these bytes; with ``hold`` stays connected after that."""

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        for part in parts:
            connection.sendall(part)
        while hold and connection.recv(65536):
            pass

    return talk


@contextmanager
def full_port() -> Iterator[int]:
    """A port whose queue is full: the kernel answers no more attempts to connect, as where a firewall drops them."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as queued:
        for _ in range(8):
            client = queued.enter_context(socket.socket())
            client.settimeout(0.3)
            try:
                client.connect(listener.getsockname())
            except TimeoutError:
                break
        else:
            absent("This kernel takes more connections than a queue has places.")
        yield int(listener.getsockname()[1])
