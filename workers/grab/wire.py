"""What passes between a worker and its child: messages of a JSON object and bytes, over a socket.

No pickles: a child that a hostile picture took over must not be able to do more than send a wrong answer.
"""

from __future__ import annotations

import json
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

HEAD = struct.Struct("!III")  # lengths of the JSON text, the first and the second blob
MAX_FIELDS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Message:
    fields: dict[str, Any]
    content: bytes = field(default=b"", repr=False)
    preview: bytes = field(default=b"", repr=False)


def send(sock: socket.socket, message: Message, until: float | None = None) -> None:
    """Raises TimeoutError where it is not taken until then (``time.monotonic``), OSError where nobody is there."""
    text = json.dumps(message.fields).encode()
    _bound(sock, until)
    sock.sendall(HEAD.pack(len(text), len(message.content), len(message.preview)) + text)
    for blob in (message.content, message.preview):
        if blob:
            _bound(sock, until)
            sock.sendall(blob)


def receive(sock: socket.socket, most: int, until: float | None = None) -> Message:
    """The next message. Raises TimeoutError, EOFError where the other side is gone, ValueError where it is none."""
    lengths = HEAD.unpack(_take(sock, HEAD.size, until))
    if lengths[0] > MAX_FIELDS or lengths[1] + lengths[2] > most:
        raise ValueError("a message is longer than agreed")
    fields = json.loads(_take(sock, lengths[0], until))
    if not isinstance(fields, dict):
        raise ValueError("a message is no object")  # noqa: TRY004  # bad data, not a bad call
    return Message(fields, bytes(_take(sock, lengths[1], until)), bytes(_take(sock, lengths[2], until)))


def _take(sock: socket.socket, length: int, until: float | None) -> bytearray:
    data = bytearray(length)
    view, at = memoryview(data), 0
    while at < length:
        _bound(sock, until)
        got = sock.recv_into(view[at:])
        if not got:
            raise EOFError
        at += got
    return data


def _bound(sock: socket.socket, until: float | None) -> None:
    if until is None:
        sock.settimeout(None)
        return
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)
