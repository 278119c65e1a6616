"""A grab child in which some pictures and addresses crash or hang native code, or take the child over."""

from __future__ import annotations

import ctypes
import socket

from workers.grab import child
from workers.grab.types import Limits
from workers.grab.wire import HEAD, Message

good = dict(child.HANDLERS)


def badly(order: Message, limits: Limits) -> Message:
    told = order.content + str(order.fields.get("address", "")).encode()
    if b"CRASH" in told:
        ctypes.string_at(0)
    if b"HANG" in told:
        ctypes.PyDLL(None).sleep(60)  # holds the interpreter's lock, as a decoder in an endless loop may
    if b"SAYS" in told:
        say(told.partition(b"SAYS")[2])
    return good[order.fields["do"]](order, limits)


def say(text: bytes) -> None:
    """Answers what no child would."""
    raw = socket.socket(fileno=next(number for number in range(3, 64) if is_socket(number)))
    raw.sendall(HEAD.pack(len(text), 0, 0) + text)


def is_socket(number: int) -> bool:
    try:
        with socket.socket(fileno=number) as sock:
            sock.detach()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    child.HANDLERS.update(dict.fromkeys(good, badly))
    child.main()
