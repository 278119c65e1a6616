"""The shared cache: what the web processes count and remember together, on the broker's Redis unless told otherwise.

Nothing in it is the truth, and no page may need it. So it is given half a second; while it is away it is asked again
every few seconds only, everything is as if it were empty, and the log says once that it went and once that it is back.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

T = TypeVar("T")
log = logging.getLogger(__name__)

TIMEOUT_S = 0.5
ASK_AGAIN_S = 5.0
ENTRIES_MAX = 20_000  # of a cache in this process's memory
PREFIX = "nightjar"
TRUST = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
SCHEMES = ("redis", "rediss", "unix")
WANTED = "redis://HOST:6379/1, rediss://…, unix:///SOCKET?db=1, or “local”"


def checked(url: str) -> str:
    """The address itself. Raises ValueError that says what it must be."""
    if url in ("", "local"):
        return url
    try:
        parts = urlsplit(url)
        database = parts.path.strip("/") if parts.scheme != "unix" else ""  # redis-py takes what is none for 0
        if parts.scheme not in SCHEMES or not (parts.hostname or parts.scheme == "unix") or not _is_number(database):
            raise ValueError(WANTED)
        ConnectionPool.from_url(url).make_connection()  # connects nowhere: what it cannot read, no page could
    except (ValueError, TypeError, RedisError) as error:  # a port that is none, an option that nobody knows
        raise ValueError(WANTED) from error
    return url


def _is_number(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit())


def configuration(cache_url: str, broker_url: str) -> dict[str, Any]:
    """Django's CACHES["default"]: where CACHE_URL says, else beside the broker, else in each process's own memory."""
    url = cache_url or beside(broker_url)
    if url in ("", "local"):
        return {
            "BACKEND": "project.cache.LocalCache",
            "LOCATION": PREFIX,
            "OPTIONS": {"MAX_ENTRIES": ENTRIES_MAX},
        }
    return {
        "BACKEND": "project.cache.SharedCache",
        "LOCATION": [url],  # as it is: Django would cut a text at commas, and a password may have one
        "KEY_PREFIX": PREFIX,
        "OPTIONS": {
            "serializer": "project.cache.Plain",
            "socket_connect_timeout": TIMEOUT_S,
            "socket_timeout": TIMEOUT_S,
            # Once more at once: after a restart of the server the connections at hand are all dead. But a server that
            # does not answer is not waited for twice.
            "retry": Retry(NoBackoff(), 1, (RedisConnectionError,)),
        },
    }


def beside(broker_url: str) -> str:
    """Another database on the broker's server; empty where that is no plain Redis."""
    parts = urlsplit(broker_url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme in ("redis+socket", "unix"):
        number = _other(query.get("virtual_host") or query.get("db") or "0")
        return f"unix://{parts.path}?{urlencode({'db': number})}"
    if parts.scheme in ("redis", "rediss"):
        number = _other(unquote(parts.path).strip("/") or query.pop("virtual_host", "") or "0")
        # Celery and redis-py call whom to trust by the same names, but how far by different ones.
        trust = {name: value.lower().removeprefix("cert_") if name == "ssl_cert_reqs" else value
                 for name, value in query.items() if name in TRUST}  # fmt: skip
        return urlunsplit((parts.scheme, parts.netloc, f"/{number}", urlencode(trust), ""))
    return ""


def _other(database: str) -> int:
    number = int(database) if database.isdigit() else 0
    return number + 1 if number < 15 else number - 1  # a server has 16 of them unless told otherwise


class Plain:
    """Values as JSON: whoever can write to the server must not be able to run code here, as with pickles."""

    def dumps(self, value: Any) -> str | int:
        return value if type(value) is int else json.dumps(value)

    def loads(self, stored: bytes) -> Any:
        return json.loads(stored)


class LocalCache(LocMemCache):
    """In this process's memory: of several processes each counts for itself."""

    def count(self, key: str, keep_s: int) -> int:
        """One more; how many there are now."""
        self.add(key, 0, keep_s)
        try:
            return int(self.incr(key))
        except ValueError:  # thrown out in this moment, to make room
            return 1


class Breaker:
    """Whether it is worth asking. Of all threads one at a time finds out whether it is back."""

    def __init__(self, ask_again_s: float = ASK_AGAIN_S) -> None:
        self._ask_again_s = ask_again_s
        self._lock = threading.Lock()
        self._since: float | None = None  # away since
        self._until = 0.0

    def lets_through(self) -> bool:
        if self._since is None:
            return True
        with self._lock:
            now = time.monotonic()
            if now < self._until:
                return False
            self._until = now + self._ask_again_s
            return True

    def worked(self) -> None:
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            log.warning("The shared cache is back after %.0f s.", time.monotonic() - since)

    def failed(self, error: Exception) -> None:
        with self._lock:
            now = time.monotonic()
            is_first = self._since is None
            if is_first:
                self._since = now
            self._until = now + self._ask_again_s
        if is_first:
            log.error(
                "The shared cache is away (%s: %s). Pages go on without it; requests are not counted against their "
                "limits until it is back.",
                type(error).__name__,
                error,
            )


_breakers: dict[tuple[str, ...], Breaker] = {}
_breakers_lock = threading.Lock()


def breaker_of(servers: Iterable[str]) -> Breaker:
    """One for all threads of this process: Django makes each of them a cache of its own."""
    with _breakers_lock:
        return _breakers.setdefault(tuple(servers), Breaker())


class SharedCache(RedisCache):
    """On a Redis-compatible server; empty while that is away."""

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._breaker = breaker_of([server] if isinstance(server, str) else server)

    def _try(self, act: Callable[[], T], otherwise: T) -> T:
        if not self._breaker.lets_through():
            return otherwise
        try:
            found = act()
        except (RedisError, OSError) as error:
            self._breaker.failed(error)
            return otherwise
        self._breaker.worked()
        return found

    def ask(self) -> None:
        """Raises RedisError or OSError where the server is away; for the doctor."""
        self._cache.get_client(write=True).ping()

    def count(self, key: str, keep_s: int) -> int:
        """One more, in one step for all processes; how many there are now, 0 where nobody can tell."""
        full_key = self.make_and_validate_key(key)

        def counted() -> int:
            pipeline = self._cache.get_client(full_key, write=True).pipeline()
            pipeline.set(full_key, 0, ex=keep_s, nx=True)
            pipeline.incr(full_key)
            return int(pipeline.execute()[1])

        return self._try(counted, 0)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        return self._try(lambda: super(SharedCache, self).add(key, value, timeout, version), False)

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        try:
            return self._try(lambda: super(SharedCache, self).get(key, default, version), default)
        except ValueError:
            log.warning("What the shared cache has as “%s” cannot be read, and counts as not there.", key)
            return default

    def incr(self, key: Any, delta: int = 1, version: Any = None) -> int:
        found = self._try(lambda: super(SharedCache, self).incr(key, delta, version), None)
        if found is None:
            raise ValueError(f"Key '{key}' not found.")  # as Django's own caches say it
        return int(found)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> None:
        self._try(lambda: super(SharedCache, self).set(key, value, timeout, version), None)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        return self._try(lambda: super(SharedCache, self).touch(key, timeout, version), False)

    def delete(self, key: Any, version: Any = None) -> bool:
        return self._try(lambda: super(SharedCache, self).delete(key, version), False)

    def get_many(self, keys: Any, version: Any = None) -> dict[Any, Any]:
        found = {key: self.get(key, self, version) for key in keys}
        return {key: value for key, value in found.items() if value is not self}

    def has_key(self, key: Any, version: Any = None) -> bool:
        return self._try(lambda: super(SharedCache, self).has_key(key, version), False)

    def set_many(self, data: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> list[Any]:
        return self._try(lambda: super(SharedCache, self).set_many(data, timeout, version), list(data))

    def delete_many(self, keys: Any, version: Any = None) -> None:
        self._try(lambda: super(SharedCache, self).delete_many(keys, version), None)

    def clear(self) -> None:
        """What is ours: others may keep theirs in the same database."""

        def cleared() -> None:
            client = self._cache.get_client(write=True)
            for keys in _batches(client.scan_iter(f"{self.key_prefix}:*", count=500)):
                client.delete(*keys)

        self._try(cleared, None)


def _batches(keys: Iterable[Any], size: int = 500) -> Iterable[list[Any]]:
    batch: list[Any] = []
    for key in keys:
        batch.append(key)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
