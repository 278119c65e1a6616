"""Messages say in words what they are about."""

from __future__ import annotations

import inspect
import json

import pytest
from celery import Task
from kombu import Connection

from workers import tasks
from workers.named import ABOUT

OURS = {task.name: task for task in vars(tasks).values() if isinstance(task, Task)}
WITH_A_KEY = {name for name, task in OURS.items() if inspect.signature(task.run).parameters}


def sent(name: str, *args: int, **options: object) -> tuple[str, object]:
    """The words beside a message, and its arguments."""
    with Connection("memory://") as connection:
        OURS[name].apply_async(args, queue="words", connection=connection, **options)
        message = connection.default_channel.basic_get("words", no_ack=True)
    return message.headers["argsrepr"], json.loads(message.body)[0]


def test_every_task_with_a_key_has_a_word_for_it() -> None:
    assert set(ABOUT) == WITH_A_KEY


@pytest.mark.parametrize("name", sorted(WITH_A_KEY))
def test_a_message_carries_the_word_beside_the_number(name: str) -> None:
    assert sent(name, 17) == (f"{ABOUT[name]} 17", [17])


def test_a_message_without_a_key_says_nothing() -> None:
    assert sent("workers.tasks.sweep") == ("()", [])


def test_a_message_that_is_sent_again_says_it_again() -> None:
    task = OURS["workers.tasks.grab"]
    task.push_request(id="one", args=[19], kwargs={}, called_directly=False, is_eager=False)
    try:
        again = task.signature_from_request(task.request, (19,), {}, queue="words")
        with Connection("memory://") as connection:
            again.apply_async(connection=connection)
            message = connection.default_channel.basic_get("words", no_ack=True)
    finally:
        task.pop_request()
    assert message.headers["argsrepr"] == "capture 19"
