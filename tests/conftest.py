"""What all tests share: the data and services they may use, and what happens where one is absent."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.processes import environment
from tests.s3 import s3_server
from tests.services import absent, find_free_port, new_database

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("NIGHTJAR_DATA") or ROOT / "../shared/data").resolve()
tables_are_emptied = False
RUNNER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
SERVICES = {
    "postgres": os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres"),
    # Of three that run side by side each has two databases of its own: a cache lies in the next one.
    "redis": os.environ.get("TEST_REDIS_URL", f"redis://127.0.0.1:6379/{9 + 2 * (RUNNER % 3)}"),
    "rabbitmq": os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The browser's tests need a browser and requirements-dev.txt: they run where somebody names them."""
    browser = ROOT / "tests" / "browser"
    named = any(Path(argument.split("::")[0]).resolve().is_relative_to(browser) for argument in config.args)
    return True if collection_path == browser and not named else None


@pytest.hookimpl(optionalhook=True)  # there is pytest-xdist with requirements-dev.txt only
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from tests.side_by_side import ByFile

    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        from tests.side_by_side import longest_first

        items[:] = longest_first(items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("needs_data") and not DATA.is_dir():
        absent(f"There is no test data at {DATA}: set NIGHTJAR_DATA.")
    _fill_what_was_emptied(item)


def _fill_what_was_emptied(item: pytest.Item) -> None:
    """A test with transactions of its own leaves empty tables: what the migrations put there is put there again.

    pytest-django lets those tests come last; side by side, file by file, others come after them.
    """
    from django.db import connection
    from pytest_django.plugin import blocking_manager_key

    global tables_are_emptied
    marker = item.get_closest_marker("django_db")
    names = set(getattr(item, "fixturenames", ()))
    if (marker and marker.kwargs.get("transaction")) or names & {"transactional_db", "live_server"}:
        tables_are_emptied = True
    elif tables_are_emptied and (marker or "db" in names):
        with item.config.stash[blocking_manager_key].unblock():
            connection.creation.deserialize_db_from_string(connection._test_serialized_contents)
        tables_are_emptied = False


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """What one test was counted for is not held against the next."""
    from django.core.cache import cache  # needs the settings

    from workers.tasks import away

    cache.clear()
    away.is_over()


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with the real clips, models and references."""
    if not DATA.is_dir():
        absent(f"There is no test data at {DATA}: set NIGHTJAR_DATA.")
    return DATA


def _service(name: str) -> str:
    url = SERVICES[name]
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), timeout=2).close()
    except OSError as error:
        absent(f"There is no {name} at {parts.hostname}:{parts.port} ({error}): set TEST_{name.upper()}_URL.")
    return url


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """A PostgreSQL server where the user may create databases; the path names one to connect to at first."""
    return _service("postgres")


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[str]:
    """A new database there."""
    with new_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A Redis database that tests may empty."""
    return _service("redis")


@pytest.fixture(scope="module")
def rabbitmq_url() -> Iterator[str]:
    """For one file of tests at a time: the queues have the same names for all."""
    with (Path(tempfile.gettempdir()) / "nightjar-tests-rabbitmq.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _service("rabbitmq")


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """A new bucket on a real S3 server."""
    with s3_server() as url:
        yield url


@pytest.fixture
def free_port() -> int:
    return find_free_port()


@pytest.fixture
def installation(tmp_path: Path, free_port: int) -> Callable[..., dict[str, str]]:
    """The environment of an installation of its own, for real processes, with what else is given."""
    return partial(environment, tmp_path / "data", free_port)
