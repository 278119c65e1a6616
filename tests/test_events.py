"""What workers tell of their tasks: none of it is lost between threads, and no secret is in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection

from project.celery import app
from project.events import Dispatcher
from tests import planted


@pytest.fixture
def told(monkeypatch) -> list[dict[str, Any]]:
    """Every event that leaves the dispatcher."""
    left: list[dict[str, Any]] = []

    def publish(_: Dispatcher, events: Any, *__: object, **___: object) -> None:
        left.extend(events if isinstance(events, list) else [events])
        time.sleep(0.0005)  # until the broker has it, in which others go on

    monkeypatch.setattr(Dispatcher, "_publish", publish)
    return left


@pytest.fixture
def dispatcher() -> Iterator[Dispatcher]:
    with Connection("memory://") as connection:
        yield app.events.Dispatcher(connection, buffer_group=["task"], buffer_limit=5, on_send_buffered=lambda: None)


def test_workers_use_it(dispatcher: Dispatcher) -> None:
    assert isinstance(dispatcher, Dispatcher)


def test_no_event_is_lost_where_tasks_are_threads(dispatcher: Dispatcher, told: list[dict[str, Any]]) -> None:
    def work(number: int) -> None:
        for n in range(200):
            dispatcher.send("task-succeeded", uuid=f"{number}-{n}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        dispatcher.flush()
    dispatcher.flush()
    assert sorted(event["uuid"] for event in told) == sorted(f"{i}-{n}" for i in range(8) for n in range(200))


def test_the_words_of_an_error_are_scrubbed(dispatcher: Dispatcher, told: list[dict[str, Any]]) -> None:
    words = f"OSError: no route to {planted.camera_url('10.0.0.5', 80)}"
    dispatcher.send("task-failed", uuid="1", exception=words, traceback=f"line 1\n{words}\nline 3", runtime=0.5)
    dispatcher.flush()
    (event,) = told
    assert planted.found_in(str(event)) == []
    assert event["exception"].startswith("OSError: no route to ")
    assert event["traceback"].endswith("\nline 3")
    assert event["runtime"] == 0.5
