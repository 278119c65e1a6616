"""What the form may show of an address again, and which addresses it refuses before they are tried."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from django.conf import settings

from detection.sources import SCHEMES, forbidden, literal_ip


@dataclass(frozen=True, slots=True)
class Login:
    """An address without what belongs to nobody else, and the user name that was inside."""

    address: str
    username: str
    has_password: bool


def without_login(address: str) -> Login:
    """Takes user name and password out of a complete address, as ``clean_address`` answers it."""
    parts = urlsplit(address)
    if not parts.netloc:
        return Login(address, "", has_password=False)
    place = parts.netloc.rpartition("@")[2]
    bare = urlunsplit((parts.scheme, place, parts.path, parts.query, parts.fragment))
    return Login(bare, unquote(parts.username or ""), has_password=bool(parts.password))


def refusal(kind: str, address: str) -> str | None:
    """Why this address may not be called, as far as it can be told without looking up a name."""
    host = urlsplit(address).hostname or "" if kind in SCHEMES else ""
    ip = "127.0.0.1" if host == "localhost" or host.endswith(".localhost") else literal_ip(host) if host else None
    if ip is None:
        return None
    return forbidden(ip, allow_loopback=settings.CAMERA_ALLOW_LOOPBACK, allow_private=settings.CAMERA_ALLOW_PRIVATE)
