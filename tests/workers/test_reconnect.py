"""A worker or beat waits for its broker as long as it takes, and says so once."""

from __future__ import annotations

import logging

import pytest
from kombu import Connection

from workers.reconnect import connected


class TiredError(Exception):
    """Somebody who has waited long enough."""


def said(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "workers.reconnect"]


def test_an_outage_is_a_line_without_the_password_however_often_it_is_tried(free_port, caplog):
    waits = []

    def wait() -> None:
        waits.append(1)
        if len(waits) == 8:  # they come every second, and between them
            raise TiredError

    with Connection(f"redis://:pl4nted@127.0.0.1:{free_port}/0") as connection, pytest.raises(TiredError):
        connected(connection, wait)
    (record,) = said(caplog)
    assert record.levelno == logging.ERROR
    assert f"127.0.0.1:{free_port}" in record.getMessage()
    assert "pl4nted" not in record.getMessage()


def test_its_end_is_another(caplog):
    class Back(Connection):
        """It cannot be reached at first."""

        def ensure_connection(self, errback, *args, callback, **options):
            for _ in range(3):
                errback(OSError("refused"), 1)
                callback()
            return self

    waits = []
    with Back("memory://") as connection:
        assert connected(connection, lambda: waits.append(1)) is connection
    assert len(waits) == 3
    assert [record.levelname for record in said(caplog)] == ["ERROR", "WARNING"]
    assert "is back after 0 s" in caplog.text


def test_where_it_is_there_nothing_is_said(caplog):
    with Connection("memory://") as connection:
        assert connected(connection, pytest.fail) is connection
    assert not said(caplog)
