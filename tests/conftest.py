"""What all tests share: the data and services they may use, and what happens where one is absent."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.processes import environment
from tests.s3 import s3_server
from tests.services import absent, find_free_port

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("NIGHTJAR_DATA") or ROOT / "../shared/data").resolve()
SERVICES = {
    "postgres": os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres"),
    "redis": os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/9"),
    "rabbitmq": os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The browser's tests need a browser and requirements-dev.txt: they run where somebody names them."""
    browser = ROOT / "tests" / "browser"
    named = any(Path(argument.split("::")[0]).resolve().is_relative_to(browser) for argument in config.args)
    return True if collection_path == browser and not named else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("needs_data") and not DATA.is_dir():
        absent(f"There is no test data at {DATA}: set NIGHTJAR_DATA.")


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


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A Redis database that tests may empty."""
    return _service("redis")


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    return _service("rabbitmq")


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
