"""A relay between FFmpeg and the camera, in the child, for one connection.

FFmpeg resolves names itself and follows redirects, so it is never told the camera's address: it talks to this relay on
the loopback, which holds a connection to a checked address. TLS is spoken here, too, and verified. The requests pass as
they are; servers see the relay's address in them, as behind any port forwarding.

With UDP, the control connection passes here and the pictures come from the camera directly to FFmpeg's ports.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from workers.grab.line import Late, of_socket
from workers.grab.replies import Replies
from workers.grab.types import GrabError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from workers.grab.line import Clock

BLOCK = 64 * 1024


class Relay:
    """Runs in a thread while the ``with`` lasts. ``problem`` is what made it hang up on FFmpeg."""

    def __init__(self, camera: socket.socket, clock: Clock) -> None:
        self.problem: GrabError | None = None
        self.heard = False  # whether the camera has said anything at all
        self.replies = Replies()
        self._camera, self._clock = camera, clock
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.port = int(self._listener.getsockname()[1])
        self._client: socket.socket | None = None
        self._waits_for = selectors.EVENT_READ  # of the camera
        self._thread = threading.Thread(target=self._run, daemon=True, name="relay")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (self._listener, self._client, self._camera):
            if sock is not None:
                with suppress(OSError):  # wakes the thread up
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
        self._thread.join(1.0)

    def _run(self) -> None:
        try:
            with self._listener:
                self._listener.settimeout(self._clock.left())
                self._client, _ = self._listener.accept()
            with self._client:
                self._explain(self._client)
        except OSError:
            pass  # nobody came, or the grab is over
        finally:
            self._camera.close()

    def _explain(self, client: socket.socket) -> None:
        """Pumps; the reason is there before FFmpeg sees its connection closed."""
        try:
            self._pump(client)
        except GrabError as error:
            self.problem = error
        except Late:
            pass
        except OSError as error:
            if not self.heard:
                self.problem = of_socket(error)

    def _pump(self, client: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ)
            selector.register(self._camera, selectors.EVENT_READ)
            while True:
                selector.modify(self._camera, self._waits_for)
                ready = [key.fileobj for key, _ in selector.select(self._clock.left())]
                if client in ready:
                    asked = client.recv(BLOCK)
                    if not asked:
                        return
                    self._camera.sendall(asked)
                if self._camera in ready and not self._pass_on(client):
                    return

    def _pass_on(self, client: socket.socket) -> bool:
        while True:
            said = self._heard_now()
            if said is None:
                return True
            if not said:
                if not self.heard:
                    raise ConnectionResetError
                return False
            self.heard = True
            client.settimeout(self._clock.left())
            client.sendall(self.replies.feed(said))
            # What TLS has decrypted already does not show in a select.
            if not (isinstance(self._camera, ssl.SSLSocket) and self._camera.pending()):
                return True

    def _heard_now(self) -> bytes | None:
        """What the camera has said, nothing where it hung up, None where that is nothing yet.

        TLS says things of its own (the tickets right after a handshake): waiting for more than these here would keep
        FFmpeg's request from the camera, which waits for it.
        """
        self._waits_for = selectors.EVENT_READ
        self._camera.setblocking(False)
        try:
            return self._camera.recv(BLOCK)
        except ssl.SSLWantWriteError:
            self._waits_for = selectors.EVENT_WRITE
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        return None
