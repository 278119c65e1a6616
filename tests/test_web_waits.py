"""What a page waits for at most."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from celery import Celery

from project import queues, web_waits
from tests.conftest import ROOT


@pytest.fixture
def link(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """A connection of the web process."""
    monkeypatch.setattr(web_waits, "STATEMENT_S", 1.0)
    with psycopg.connect(postgres_url, autocommit=True) as link:
        web_waits._limit_statements(connection=SimpleNamespace(vendor="postgresql", connection=link))
        yield link


def test_a_statement_is_not_waited_for_for_ever_and_its_connection_is_closed(link: psycopg.Connection) -> None:
    with pytest.raises(psycopg.OperationalError, match="no answer within 1 s"):
        link.execute("SELECT pg_sleep(60)")
    assert link.closed


def test_those_that_are_quick_are_answered_one_by_one_or_in_parts(link: psycopg.Connection) -> None:
    assert link.execute("SELECT 7").fetchone() == (7,)
    with link.transaction(), link.cursor("in_parts") as cursor:
        cursor.itersize = 100
        cursor.execute("SELECT generate_series(1, 1000)")
        assert sum(row[0] for row in cursor) == 500_500
    assert link.execute("SELECT 8").fetchone() == (8,)


def test_a_notification_may_be_waited_for_as_long_as_somebody_says(link: psycopg.Connection) -> None:
    assert list(link.notifies(timeout=0.1)) == []
    assert link.execute("SELECT 9").fetchone() == (9,)


@pytest.mark.parametrize(
    ("broker", "limits"),
    [
        ("redis://127.0.0.1/0", {"socket_timeout": 1.5, "socket_connect_timeout": 1.5}),
        ("redis+socket:///broker.sock", {"socket_timeout": 1.5, "socket_connect_timeout": 1.5}),
        ("amqp://guest@127.0.0.1//", {"read_timeout": 1.5, "write_timeout": 1.5}),
    ],
)
def test_a_message_of_the_web_process_is_given_less_time_than_one_of_a_worker(
    broker: str, limits: dict[str, float], tmp_path: Path, settings: Any
) -> None:
    settings.WEB_THREADS = 40
    app = Celery(set_as_current=False)
    app.conf.update(
        queues.celery_settings(
            broker_url=broker, data_dir=tmp_path, sweep_s=1, time_limit_s=1800, proxy_time_limit_s=3600
        )
    )
    workers = dict(app.conf.broker_transport_options)
    web_waits.limit_sending(app.conf)
    assert app.conf.broker_transport_options == workers | limits
    assert app.conf.broker_pool_limit == 40, "no thread waits for another's connection"


def test_a_connection_that_is_lost_without_a_word_is_found_out_and_the_address_may_say_how_soon(
    installation: Callable[..., dict[str, str]], postgres_url: str
) -> None:
    given = installation(DATABASE_URL=f"{postgres_url}?keepalives_idle=7&sslmode=prefer")
    look = "import json; from django.db import connection as c; c.ensure_connection(); "
    look += "print(json.dumps(dict(p.split('=') for p in c.connection.pgconn and "
    look += "[f'{o.keyword.decode()}={(o.val or b\"\").decode()}' for o in c.connection.pgconn.info])))"
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", look],
        cwd=ROOT, env=given, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (found["connect_timeout"], found["tcp_user_timeout"], found["keepalives_interval"]) == ("5", "15000", "5")
    assert (found["keepalives_idle"], found["sslmode"]) == ("7", "prefer")
