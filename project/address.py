"""The address of the web server: whether it is free, and whether anybody answers there."""

from __future__ import annotations

import http.client
import socket

from project.folders import StartError


def require_free(host: str, port: int) -> None:
    """Raises StartError where the web server could not listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        other = port + 1 if 0 < port < 65535 else 8000
        raise StartError(
            f"Nothing can be served on {host}:{port} ({reason}): stop what uses that port, or set another, "
            f"for example `PORT={other} make run`."
        ) from error


def url(host: str, port: int) -> str:
    """What to type into a browser on this machine."""
    return f"http://{reachable(host)}:{port}/"


def answers(host: str, port: int, timeout_s: float = 1.0) -> bool:
    """Whether the web server gives any answer at all."""
    connection = http.client.HTTPConnection(reachable(host), port, timeout=timeout_s)
    try:
        connection.request("HEAD", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def reachable(host: str) -> str:
    """An address to call: one that stands for all of them is none that every system can connect to."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "[::]": "[::1]", "::": "[::1]"}.get(host, host)  # noqa: S104
