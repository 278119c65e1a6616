"""Where a request comes from: the peer, or, behind a proxy that is trusted, the one that the proxy speaks of.

Everybody can send `X-Forwarded-For`. So it counts only as far as trusted proxies wrote it: from the peer backwards, up
to the first address that is not one of theirs.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:  # the settings read this module, too
    from django.http import HttpRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNIX = "unix"  # in TRUSTED_PROXIES: whoever comes through a Unix socket, which has no address
HOPS_MAX = 20  # of a chain of proxies
IPV6_SITE = 64  # bits that belong to one household or machine; the rest are theirs to change as they like


def trusted_proxies(given: str) -> list[str]:
    """The entries of TRUSTED_PROXIES. Raises ValueError that says what they must be."""
    entries = [word.strip() for word in given.split(",") if word.strip()]
    try:
        return [str(_network(entry)) for entry in entries]
    except ValueError:
        raise ValueError(
            f"addresses like 10.0.0.5 and networks like 10.0.0.0/24 or fd00::/64, or “{UNIX}”, with commas between"
        ) from None


def _network(entry: str) -> Network | str:
    return UNIX if entry.lower() == UNIX else ipaddress.ip_network(entry)


def client_address(request: HttpRequest) -> str:
    """The address of who asks, without port or zone; empty where nobody knows it (a Unix socket without a word)."""
    return _client(request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR", ""), _trusted())


def client_site(request: HttpRequest) -> str:
    """What counts as one in limits and lock-outs: the address, of IPv6 the first 64 bits as an address."""
    return site_of(client_address(request))


def site_of(address: str) -> str:
    parsed = parse(address)
    if parsed is None or parsed.version == 4:
        return address
    return str(ipaddress.IPv6Network((int(parsed), IPV6_SITE), strict=False).network_address)


def comes_from_proxy(request: HttpRequest) -> bool:
    """Whether the peer is one whose forwarded headers count."""
    return _is_trusted(request.META.get("REMOTE_ADDR", ""), _trusted())


def parse(text: str) -> Address | None:
    """An address as proxies write them: with a port, in brackets, mapped into IPv6, with a zone; None for all else."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        # What follows “%” is a zone of this machine, and may be any text at all.
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _client(peer: str, forwarded: str, trusted: tuple[Network | str, ...]) -> str:
    if not _is_trusted(peer, trusted):
        return _written(peer)
    client = peer
    for hop in reversed(forwarded.split(",")[-HOPS_MAX:] if forwarded else []):
        address = parse(hop)
        if address is None:  # not written by any proxy that is known: who wrote the last one is all that is sure
            break
        client = str(address)
        if not _is_trusted(client, trusted):
            break
    return _written(client)


def _written(address: str) -> str:
    parsed = parse(address)
    return "" if parsed is None else str(parsed)


def _is_trusted(peer: str, trusted: tuple[Network | str, ...]) -> bool:
    address = parse(peer)
    if address is None:
        return UNIX in trusted
    return any(address in network for network in trusted if not isinstance(network, str))


def _trusted() -> tuple[Network | str, ...]:
    return _read(tuple(getattr(settings, "TRUSTED_PROXIES", ())))


@lru_cache(maxsize=4)
def _read(given: tuple[str, ...]) -> tuple[Network | str, ...]:
    return tuple(_network(entry) for entry in given)
