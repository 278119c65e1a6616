"""What a camera is reached by: checking an address, showing it without its secrets, and which machines may be called.

Pure: no network, no settings, no Django.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Literal, TypeAlias
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from detection.vision.types import MediaInfo

SourceKind = Literal["rtsp", "http", "mjpeg", "usb", "file"]  # http: one still picture for each GET
Transport = Literal["tcp", "udp"]
IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

SCHEMES = {"rtsp": ("rtsp", "rtsps"), "http": ("http", "https"), "mjpeg": ("http", "https")}
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
MAX_LENGTH = 1000
DEVICE = re.compile(r"\d{1,3}|/dev/video\d{1,3}|/dev/v4l/by-(id|path)/[^/]+")
# What may stand in a path or a query as it is; everything else is percent-encoded.
PATH_SAFE = "%/:=&?~+!$,;'@()*[]|"

# Of Amazon (the second one for its containers), Google, Oracle, Scaleway, Alibaba, Azure, and Oracle's old one.
METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42",
        "100.100.100.200", "168.63.129.16", "192.0.0.192",
    )
)  # fmt: skip
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")  # each network puts the inner address elsewhere
THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")


@dataclass(frozen=True, slots=True, repr=False)
class Source:
    """Where a camera's pictures come from. ``repr`` and ``str`` show what ``shown`` shows, never the secrets."""

    kind: SourceKind
    address: str  # complete: a URL with its credentials, a device, or a file's name
    rtsp_transport: Transport = "tcp"
    verify_tls: bool = True

    def __repr__(self) -> str:
        return f"<Source {self.kind} {shown(self.kind, self.address)}>"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One picture of a source."""

    content: bytes  # the file: as the camera sent it, or a JPEG of the frame
    info: MediaInfo
    preview: bytes  # a small JPEG
    fingerprint: str  # SHA-256 of the decoded pixels and their size: equal only for the very same picture
    taken_at: datetime  # UTC: when its first byte, or the frame, was there


def clean_address(kind: str, address: str, username: str = "", password: str = "") -> str:
    """The complete address as it is kept, user name and password inside it, percent-encoded.

    Raises ValueError with a sentence for the user, which repeats nothing of what was entered.
    """
    address = address.strip()
    if not address:
        raise ValueError("Enter the camera's address.")
    if len(address) > MAX_LENGTH:
        raise ValueError(f"The address is longer than {MAX_LENGTH} characters.")
    if any(_is_control(character) for character in address + username + password):
        raise ValueError("There is a line break or another control character in the address, user name or password.")
    if kind in SCHEMES:
        cleaned = _clean_url(kind, address, username, password)
        if len(cleaned) > MAX_LENGTH:
            raise ValueError(f"The address with user name and password is longer than {MAX_LENGTH} characters.")
        return cleaned
    if username or password:
        raise ValueError("A device and a file need no user name and no password: leave both empty.")
    if kind == "usb":
        return _clean_device(address)
    if kind == "file":
        return _clean_file(address)
    raise ValueError("Choose what kind of camera it is.")


def _is_control(character: str) -> bool:
    return ord(character) < 32 or 127 <= ord(character) < 160


def _clean_url(kind: str, address: str, username: str, password: str) -> str:
    schemes = SCHEMES[kind]
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise ValueError(
            "The address cannot be read: its host or port is wrong. Signs such as @ : / # in a password go into the "
            "field for the password."
        ) from None
    if parts.scheme not in schemes or not address.lower().startswith(f"{parts.scheme}://"):
        raise ValueError(f"Begin the address with {schemes[0]}:// or {schemes[1]}://.")
    _check_parts(parts, port)
    user, secret = unquote(parts.username or ""), unquote(parts.password or "")
    if username or password:
        user, secret = username or user, password
    if any(_is_control(character) for character in user + secret):
        raise ValueError("There is a control character in the user name or the password.")
    if ":" in user:
        raise ValueError("A user name cannot have a colon in it.")
    host = parts.hostname or ""
    place = f"[{host}]" if ":" in host else host
    if port is not None:
        place += f":{port}"
    if user or secret:
        login = quote(user, safe="")
        place = f"{login}:{quote(secret, safe='')}@{place}" if secret else f"{login}@{place}"
    return urlunsplit((parts.scheme, place, quote(parts.path, PATH_SAFE), quote(parts.query, PATH_SAFE), ""))


def _check_parts(parts: SplitResult, port: int | None) -> None:
    host = parts.hostname or ""
    if not host or not re.fullmatch(r"[^\s\\^`{}|<>\"%,;!$&'()*+=/?#@]+", host):
        raise ValueError("The address needs a host: the camera's name in the network or its IP address.")
    if port == 0:
        raise ValueError("The port must be between 1 and 65535.")
    if re.search(r"\s", parts.netloc + parts.path + parts.query):
        raise ValueError("There is a space in the address. Write it as %20 where it belongs there.")
    if parts.fragment or ("@" in parts.path and "@" not in parts.netloc):
        raise ValueError(
            "The address has a # or @ where none can be. Enter user name and password in their own fields, or write "
            "%23 for # and %40 for @."
        )
    ip = literal_ip(host)
    # Loopback and private addresses are judged by the settings, when the camera is called.
    reason = forbidden(ip, allow_loopback=True, allow_private=True) if ip else None
    if reason:
        raise ValueError(reason)


def _clean_device(address: str) -> str:
    if not DEVICE.fullmatch(address) or ".." in address:
        raise ValueError("Enter the device's number, or its path: /dev/video0 or /dev/v4l/by-id/….")
    return address


def _clean_file(address: str) -> str:
    path = PurePosixPath(address)
    if path.is_absolute() or ".." in path.parts or not path.name or "\\" in address:
        raise ValueError("Enter the name of a file below the folder for camera files, without / at its start or “..”.")
    return str(path)


def shown(kind: str, address: str) -> str:
    """What may be shown of an address: scheme, host and port of a URL, the device, the file's name."""
    if kind not in SCHEMES:
        # A URL that was entered under the wrong kind has its secrets all the same.
        return address if kind in ("usb", "file") and "://" not in address else "…"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "…", parts.port
    except ValueError:
        return "…"
    place = f"[{host}]" if ":" in host else host
    place += f":{port}" if port is not None else ""
    more = "/…" if parts.path not in ("", "/") or parts.query else ""
    return f"{parts.scheme}://{place}{more}"


def literal_ip(host: str) -> IpAddress | None:
    """The address that a host's text itself is, also in the old notations (127.1, 0x7f000001); None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host)) if host and host[0].isdigit() else None
    except (OSError, UnicodeEncodeError):
        return None


def forbidden(ip: IpAddress | str, allow_loopback: bool, allow_private: bool) -> str | None:
    """A sentence that says why this address may not be called, or None where it may."""
    address = ipaddress.ip_address(ip)
    inner = _inner(address)
    if inner is None:
        return _judge(address, allow_loopback, allow_private)
    outer = _judge(address, allow_loopback, allow_private) if _is_tunnel(address) else None
    return outer or next(filter(None, (_judge(each, allow_loopback, allow_private) for each in inner)), None)


def _is_tunnel(address: IpAddress) -> bool:
    """6to4 and Teredo addresses are addresses themselves; mapped and NAT64 ones are only another way of writing."""
    return isinstance(address, ipaddress.IPv6Address) and bool(address.sixtofour or address.teredo)


def _inner(address: IpAddress) -> tuple[IpAddress, ...] | None:
    """The IPv4 addresses inside an IPv6 address (RFC 4291, 3056, 4380, 6052), None where there are none."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address.ipv4_mapped:
        return (address.ipv4_mapped,)
    if address.sixtofour:
        return (address.sixtofour,)
    if address.teredo:
        return address.teredo
    if address in NAT64:
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    return None


def _judge(address: IpAddress, allow_loopback: bool, allow_private: bool) -> str | None:
    if address in METADATA:
        return "This is the address of a cloud's metadata service, not of a camera."
    if address.version == 6 and address in LOCAL_NAT64:
        return "This address (64:ff9b:1:…) stands for another one that cannot be told (RFC 8215). Enter that one."
    if address.is_loopback:
        sentence = "This is an address of the server itself, which the setting for loopback cameras does not allow."
        return None if allow_loopback else sentence
    if address.is_link_local:
        return "This is a link-local address (169.254.x.x or fe80::…). Give the camera an address of your network."
    if address.is_unspecified or (address.version == 4 and address in THIS_NETWORK):
        return "This address (0.x.x.x or ::) is not the address of one machine."
    if address.is_multicast:
        return "This is a multicast address. Enter the camera's own address."
    if address.is_reserved:
        return "This is a reserved or a broadcast address, which no camera can have."
    if not allow_private and (not address.is_global or getattr(address, "is_site_local", False)):
        return "This is a private address, which the setting for private cameras does not allow."
    return None
