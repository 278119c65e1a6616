"""Telling people of what happened to a camera: by e-mail, to a webhook, through Apprise.

A notification is work as any other: claimed, sent, recorded. It may reach people twice, where a worker is lost between
sending and recording, and never silently not at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.notify.message import Message

TOTAL_S = 60.0  # for one channel, whatever the other side does; workers of threads have no other limit

# Where each channel's ``send(message)`` is. It raises NotifyError.
CHANNELS = {
    "email": "workers.notify.mail",
    "webhook": "workers.notify.webhook",
    "apprise": "workers.notify.services",
}


class NotifyError(Exception):
    """People could not be told. The sentence names a host at most, never the rest of an address, which has secrets."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


def deliver(pk: int) -> None:
    """Sends what is to be told, and records that. Raises TryAgain for what may pass."""
    from detection.models import CameraEvent, Notification
    from workers import outcome
    from workers.lease import worker_name
    from workers.notify.message import of_event
    from workers.working import renew_connection, working_on

    notification = Notification.claim(pk, worker_name())
    if notification is None:
        return
    with working_on(notification):
        event = CameraEvent.objects.select_related("camera").filter(pk=notification.event_id).first()
        if event is None:  # removed with its camera since; so is the row
            return
        send(notification.channel, of_event(event))
        renew_connection()
        notification.sent()
        outcome.note(outcome.DONE)


def send(channel: str, message: Message) -> None:
    """Sends a message through a channel. Raises NotifyError, whatever went wrong and within bounded time."""
    within(TOTAL_S, lambda: import_module(CHANNELS[channel]).send(message))


def within(limit_s: float, work: Callable[[], object]) -> None:
    """Does the work, or stops waiting for it. Raises NotifyError and nothing else.

    Time-outs of sockets hold from byte to byte: whoever sends a byte now and then could keep a worker for ever. And an
    error that nobody thought of may have the whole address in it, so only its name is passed on.
    """
    outcome: SimpleQueue[NotifyError | None] = SimpleQueue()

    def run() -> None:
        try:
            work()
        except NotifyError as error:
            outcome.put(error)
        except Exception as error:  # noqa: BLE001  # told below, without what it says
            name = type(error).__name__
            outcome.put(NotifyError(f"It could not be sent, for a reason nobody thought of: {name}.", permanent=False))
        else:
            outcome.put(None)

    threading.Thread(target=run, name="notify", daemon=True).start()
    try:
        failed = outcome.get(timeout=limit_s)
    except Empty:
        raise NotifyError(f"It was not sent within {limit_s:.0f} seconds.", permanent=False) from None
    if failed is not None:
        raise failed from None
