"""What is read from the addresses and names among the settings. Each raises ValueError saying what it must be."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import environ
from django.core.exceptions import ImproperlyConfigured
from kombu import Connection
from kombu.utils.url import url_to_parts

from project.storage import from_url

DATABASES = {"sqlite": "sqlite3", "postgres": "postgresql", "postgresql": "postgresql", "psql": "postgresql"}
BROKERS = ("redis", "rediss", "redis+socket", "sentinel", "amqp", "amqps", "pyamqp")


def database(url: str) -> dict[str, Any]:
    """Django's DATABASES entry."""
    scheme = url.partition("://")[0]
    if scheme not in DATABASES:
        raise ValueError("sqlite:///FILE or postgres://USER:PASSWORD@HOST:5432/NAME")
    try:
        found = dict(environ.Env.db_url_config(url))
    except (ImproperlyConfigured, ValueError, TypeError) as error:
        raise ValueError("sqlite:///FILE or postgres://USER:PASSWORD@HOST:5432/NAME") from error
    if not found.get("NAME"):
        raise ValueError("an address that names a database, such as postgres://USER:PASSWORD@HOST:5432/nightjar")
    return found


def broker(url: str) -> str:
    """The address itself; an empty one stands for the embedded broker."""
    try:
        for one in url.split(";") if url else ():  # several: where the first is away, the next is asked
            parts = url_to_parts(one)
            if parts.scheme not in BROKERS:
                raise ValueError(parts.scheme)
            if parts.scheme.startswith("redis"):
                path = "" if parts.scheme == "redis+socket" else (parts.path or "").strip("/")
                int(parts.query.get("virtual_host", path) or 0)
            Connection(one)  # connects nowhere: an option that nobody knows would be found out by whoever does
    except (ValueError, TypeError) as error:  # a port or a database that is no number, too
        raise ValueError("redis://HOST:6379/0 or amqp://USER:PASSWORD@HOST:5672//") from error
    return url


def flower(url: str) -> str:
    """The address itself, of a socket of this machine or of Flower on another."""
    try:
        parts = urlsplit(url)
        is_server = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0  # or no port at all
    except ValueError:
        is_server, parts = False, urlsplit("")
    if not (parts.scheme == "unix" and parts.path.startswith("/")) and not (
        is_server and parts.path in ("", "/") and not parts.username
    ):
        raise ValueError("http://HOST:5555 or unix:///SOCKET")
    return url


def email(url: str) -> dict[str, Any]:
    """Django's EMAIL_… settings."""
    try:
        return dict(environ.Env.email_url_config(url))
    except (ImproperlyConfigured, KeyError, ValueError, TypeError) as error:
        raise ValueError("such as smtp+tls://USER:PASSWORD@HOST:587") from error


def storage(url: str) -> str:
    """The address itself, when media can be kept there."""
    try:
        from_url(url)
    except (ImproperlyConfigured, ValueError) as error:
        raise ValueError("file:///FOLDER or s3://KEY:SECRET@HOST/BUCKET") from error
    return url


def time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("a time zone such as UTC or Europe/Berlin") from error
    return name
