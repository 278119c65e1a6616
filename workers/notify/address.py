"""The part of an address that may be told: its rest may be a password or a token."""

from __future__ import annotations

from urllib.parse import urlsplit


def host_of(url: str) -> str:
    """Host and port, such as "hooks.example.org"; where it has none that can be found, a few neutral words."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        return "an address without a host"
    return host if port is None else f"{host}:{port}"
