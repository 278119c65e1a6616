"""What the broker holds, and Flower shows, are primary keys: never an address, a name or a password."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from celery import Celery, Task
from celery.exceptions import Retry
from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone
from kombu import Connection, Producer, Queue

from detection.models import Analysis, Camera, CameraEvent, Capture, Notification, Proxy, Trial
from detection.sources import Source
from tests.cast import ADDRESS, a_camera, a_media, a_running_analysis, a_user, do_chunks
from workers import capture as step
from workers import tasks
from workers.again import TryAgain
from workers.grab import GrabError
from workers.lanes import AGAIN, BULK

OURS = sorted(name for name in vars(tasks) if isinstance(getattr(tasks, name), Task))
QUEUES = tuple(
    sorted(
        {route["queue"] for route in settings.CELERY["task_routes"].values()}
        | {BULK + step for step in ("analyse", "chunks", "finish")}
        | {AGAIN, "probe"}
    )
)
SECRETS = ("s3cret", "viewer", "10.0.0.5", "Back yard", "the operator")


class Broker:
    """A broker in memory, and what lies in its queues."""

    def __init__(self, connection: Connection) -> None:
        self.channel = connection.channel()
        self.producer = Producer(self.channel)
        for name in QUEUES:
            Queue(name, channel=self.channel).declare()
            self.channel.queue_purge(name)

    def messages(self) -> list[tuple[str, list[object]]]:
        """Task and arguments of all messages, after a look for secrets at all that they carry."""
        found = []
        for name in QUEUES:
            while message := self.channel.basic_get(name, no_ack=True):
                body = message.body if isinstance(message.body, str) else bytes(message.body).decode()
                carried = f"{body} {message.headers} {message.properties}"
                assert not [secret for secret in SECRETS if secret in carried]
                assert message.content_type == "application/json"
                arguments, named, _ = json.loads(body)
                assert named == {}
                found.append((message.headers["task"].rpartition(".")[2], arguments))
        return found


@pytest.fixture
def broker(monkeypatch) -> Iterator[Broker]:
    with Connection("memory://") as connection:
        held = Broker(connection)

        @contextmanager
        def producer(_: Celery, given: Producer | None = None) -> Iterator[Producer]:
            yield given or held.producer

        monkeypatch.setattr(Celery, "producer_or_acquire", producer)
        monkeypatch.setattr(Celery, "connection_for_write", lambda _: Connection("memory://"))
        yield held


def registered() -> dict[str, Task]:
    """All tasks that a worker of ours would run."""
    from project.celery import app

    app.loader.import_default_modules()
    return {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}


def test_every_task_takes_one_primary_key_or_nothing():
    assert sorted(name.removeprefix("workers.tasks.") for name in registered()) == OURS
    for name, task in registered().items():
        parameters = inspect.signature(task.run).parameters.values()
        types = typing.get_type_hints(task.run)
        for parameter in parameters:
            assert parameter.name.endswith("_pk"), name
            assert types[parameter.name] is int, name
            assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD, name
        assert len(parameters) <= 1, name


def test_how_often_a_step_is_tried_is_said_by_its_row_alone():
    assert {name for name in OURS if getattr(tasks, name).max_retries is not None} == {"sweep", "tidy", "prune"}


def test_beat_only_sweeps_and_clears_away():
    """What is due follows from the rows: a second entry for that would be a second clock."""
    assert {name: entry["task"] for name, entry in settings.CELERY["beat_schedule"].items()} == {
        "sweep": tasks.sweep.name,
        "tidy": tasks.tidy.name,
        "prune": tasks.prune.name,
    }


def test_beat_sends_no_arguments():
    for entry in settings.CELERY["beat_schedule"].values():
        assert not entry.get("args")
        assert not entry.get("kwargs")


@pytest.mark.django_db
def test_a_capture_and_a_trial_are_sent_by_their_keys(broker):
    camera, user = a_camera("Back yard"), a_user("operator")
    capture = Capture.ask(camera, user)
    trial = Trial.ask(Source("http", ADDRESS), user)
    assert tasks.send_capture(capture)
    assert tasks.send_trial(trial)
    assert broker.messages() == [("grab", [capture.pk]), ("try_source", [trial.pk])]


@pytest.mark.django_db
def test_a_camera_in_trouble_is_sent_to_its_queue_by_its_captures_key(broker):
    capture = Capture.ask(a_camera("Back yard", failures=3))
    assert tasks.send_capture(capture)
    assert broker.channel.queue_declare("probe", passive=True).message_count == 1
    assert broker.messages() == [("grab", [capture.pk])]


def attempted(capture: Capture) -> None:
    """Runs its task as a worker does that has its message, and is to try again."""
    tasks.grab.push_request(id="one", args=(capture.pk,), kwargs={}, called_directly=False)
    try:
        with pytest.raises(Retry):
            tasks.grab.run(capture.pk)
    finally:
        tasks.grab.pop_request()


@pytest.mark.django_db
def test_a_repeated_attempt_is_sent_by_its_key(broker, monkeypatch):
    """Celery's retry sends the message anew, and could take an exception's text along."""
    capture = Capture.ask(a_camera("Back yard"))

    def fail(_: int) -> None:
        raise TryAgain(0.5) from OSError(ADDRESS)

    monkeypatch.setattr(step, "grab_one", fail)
    attempted(capture)
    assert broker.messages() == [("grab", [capture.pk])]


@pytest.mark.django_db
def test_a_repeated_attempt_is_not_to_be_taken_before_the_time_that_its_row_names(broker, monkeypatch, settings):
    settings.GRAB_ATTEMPTS = 10
    capture = Capture.ask(a_camera())
    Capture.objects.update(attempts=4)  # before the next one it pauses for 8 to 16 s

    def time_out(*_: object) -> None:
        raise GrabError("It did not answer in time.", kind="timeout")

    monkeypatch.setattr(step, "grab", time_out)
    began = timezone.now()
    attempted(capture)
    capture.refresh_from_db()
    assert capture.sent_at - began > timedelta(seconds=7)
    eta = datetime.fromisoformat(broker.channel.basic_get("grab", no_ack=True).headers["eta"])
    assert abs(eta - capture.sent_at) < timedelta(seconds=1)


@pytest.mark.django_db
def test_the_sweep_sends_keys_and_nothing_else(broker, settings):
    settings.NOTIFY_WEBHOOK_URL = "https://hooks.example.org/s3cret"
    camera = a_camera("Back yard", every_s=60)
    minute_ago = timezone.now() - timedelta(seconds=60)
    Camera.objects.filter(pk=camera.pk).update(accounted_until=minute_ago, next_at=camera.rule.next_after(minute_ago))
    lost = Capture.ask(a_camera("Back yard 2"), a_user("operator"))
    Capture.objects.filter(pk=lost.pk).update(sent_at=Now() - timedelta(minutes=1))
    CameraEvent.tell(camera, CameraEvent.Kind.OFFLINE, f"{ADDRESS} did not answer.")
    trial = Trial.ask(Source("http", ADDRESS), a_user("viewer"))
    queued = Analysis.request(a_media(b"one", name="Back yard.mp4"))
    running = a_running_analysis(a_media(b"two"))
    ready = a_running_analysis(a_media(b"three"))
    do_chunks(ready)
    proxy = Proxy.objects.create(media=a_media(b"four"))
    tasks.sweep()
    planned = camera.captures.get(state=Capture.State.PLANNED)
    assert sorted(broker.messages()) == sorted(
        [
            ("grab", [planned.pk]),
            ("grab", [lost.pk]),
            ("notify", [Notification.objects.get().pk]),
            ("try_source", [trial.pk]),
            ("analyse", [queued.pk]),
            *(("analyse_chunk", [chunk.pk]) for chunk in running.chunks.all()),
            ("finish", [ready.pk]),
            ("make_proxy", [proxy.pk]),
        ]
    )
