"""The child process of a grab worker: does one order after the other until its standard input ends.

Started as ``python -m workers.grab.child`` with a socket as its standard input.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from detection.vision.probe import MEMORY_BYTES
from workers.grab.types import LOOK_S, GrabError, Limits, Policy, own_reason
from workers.grab.wire import Message, receive, send

Handler: TypeAlias = Callable[[Message, Limits], Message]

IDLE_S = 10  # how often an idle child looks whether its parent is still there
ALARM_S = 5  # after its limit the kernel ends a child that hangs, also where nobody is left to kill it


def look(order: Message, limits: Limits) -> Message:
    from workers.grab.look import seen

    return seen(order.content, limits)


def watch(order: Message, limits: Limits) -> Message:
    from workers.grab import devices, rtsp

    fields = order.fields
    address = str(fields["address"])
    policy = Policy(**{**fields["policy"], "files_dir": Path(fields["policy"]["files_dir"])})
    if fields["do"] == "rtsp":
        return rtsp.grab(address, str(fields["rtsp_transport"]), bool(fields["verify_tls"]), limits, policy)
    if fields["do"] == "usb":
        return devices.from_device(address, limits)
    return devices.from_file(address, limits, policy)


HANDLERS: dict[str, Handler] = {"look": look, "rtsp": watch, "usb": watch, "file": watch}


def answer(order: Message) -> Message:
    """What comes of an order; a failure is an answer as well."""
    try:
        return HANDLERS[order.fields["do"]](order, Limits(**order.fields["limits"]))
    except GrabError as error:
        return _failure(error)
    except MemoryError:
        return _failure(
            GrabError("Looking at this picture takes more memory than is allowed.", kind="too_large", permanent=True)
        )
    except Exception as error:  # noqa: BLE001  # whatever a hostile camera finds to break must not end as silence
        return _failure(own_reason(error))


def _failure(error: GrabError) -> Message:
    return Message({"error": {"message": str(error), "kind": error.kind, "permanent": error.permanent}})


def serve(sock: socket.socket) -> None:
    """Answers orders until the other end is closed or the parent is gone."""
    parent = os.getppid()
    while os.getppid() == parent:
        sock.settimeout(IDLE_S)
        try:
            if not sock.recv(1, socket.MSG_PEEK):
                return
        except TimeoutError:
            continue
        order = receive(sock, 2**32)
        limit_s = LOOK_S if order.fields["do"] == "look" else order.fields["limits"]["total_s"]
        signal.setitimer(signal.ITIMER_REAL, limit_s + ALARM_S)  # nothing handles it: the kernel ends us
        done = answer(order)
        done.fields["resident"] = _resident_bytes()
        send(sock, done)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _resident_bytes() -> int:
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS refuses to bound the address space
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def main() -> None:
    _bound()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the worker, which then closes our input
    with socket.socket(fileno=os.dup(0)) as sock:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        import workers.grab.look  # noqa: F401  # what takes long to import, before we say that we are ready

        send(sock, Message({}))
        with suppress(EOFError, OSError):
            serve(sock)


if __name__ == "__main__":
    main()
