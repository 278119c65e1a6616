"""What a page waits for at most: a database or a broker that hangs must not hold all threads of the web process.

A server that is gone refuses at once. One that hangs, or a proxy before one that does, keeps the connection and says
nothing: no time-out of the network ends that. Workers wait as long as it takes, as they have nothing else to do.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from psycopg import OperationalError
from psycopg.errors import _WaitTimeout

STATEMENT_S = 30.0  # no page needs one that takes so long
BROKER_S = 1.5  # of which a message takes three (project/queues.py); what is not sent the sweep sends


def limit(app: Celery) -> None:
    connection_created.connect(_limit_statements, dispatch_uid="web_waits")
    limit_sending(app.conf)


def limit_sending(conf: Any) -> None:
    if str(conf.broker_url).startswith(("amqp", "pyamqp")):
        limits = {"read_timeout": BROKER_S, "write_timeout": BROKER_S}
    else:
        limits = {"socket_timeout": BROKER_S, "socket_connect_timeout": BROKER_S}
    conf.broker_transport_options = {**conf.broker_transport_options, **limits}
    conf.broker_connection_timeout = BROKER_S
    conf.broker_pool_limit = settings.WEB_THREADS  # or threads would wait for each other's


def _limit_statements(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if connection.vendor != "postgresql":
        return
    link = connection.connection
    wait = link.wait

    def wait_for_so_long(statement: Any, *args: Any, **more: Any) -> Any:
        if len(args) > 1 or more.get("timeout") is not None:  # somebody waits for less, and knows what to do then
            return wait(statement, *args, **more)
        try:
            return wait(statement, *args, **{**more, "timeout": STATEMENT_S})
        except _WaitTimeout:
            link.close()  # nobody knows what it is at
            raise OperationalError(f"the database gave no answer within {STATEMENT_S:g} s") from None

    link.wait = wait_for_so_long
