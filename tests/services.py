"""What tests find on this machine, and what one does where something it needs is not there."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn
from uuid import uuid4

import psycopg
import pytest

IS_CI = os.environ.get("CI", "").lower() == "true"


def absent(what: str) -> NoReturn:
    """Skips the test, except under CI, where a test that cannot run must not look like one that passed."""
    if IS_CI:
        pytest.fail(f"{what} (CI=true: not skipped)", pytrace=False)
    pytest.skip(what)


# Below those that a system lends to connections that go out: of those, one that is free now may be lent to anybody
# before the server that it is meant for has started.
PORTS = range(20_000, 32_000)
_next_port = itertools.count(os.getpid() * 1009)  # processes that look at the same time look at different ones


def find_free_port() -> int:
    """A port of this machine that nobody listens at just now; another one each time."""
    for number in itertools.islice(_next_port, len(PORTS)):
        port = PORTS[number % len(PORTS)]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


@contextmanager
def new_database(server_url: str, template: str = "template1") -> Iterator[str]:
    """A new database on a PostgreSQL server, empty or a copy of another."""
    name = f"nightjar_test_{uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield server_url.rpartition("/")[0] + f"/{name}"
    finally:
        with psycopg.connect(server_url, autocommit=True) as server:
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
