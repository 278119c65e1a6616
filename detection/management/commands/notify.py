"""Finds out whether people would be told."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from detection.models import Notification

NOTHING = (
    "No channel is set up, so nobody is told of anything: set NOTIFY_EMAILS with EMAIL_URL, NOTIFY_WEBHOOK_URL or "
    "NOTIFY_APPRISE_URLS."
)


class Command(BaseCommand):
    help = "Send a test message through each channel that is set up, now, and say which worked."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--test", action="store_true", required=True, help="send a test message to everybody")

    def handle(self, **_options: Any) -> None:
        from workers.notify import NotifyError, send
        from workers.notify.message import a_test

        channels = Notification.channels()
        if not channels:
            raise CommandError(NOTHING)
        message, failed = a_test(), []
        for channel in channels:
            try:
                send(channel, message)
            except NotifyError as error:
                failed.append(channel.label)
                self.stderr.write(f"{channel.label}: failed. {error}")
            else:
                self.stdout.write(f"{channel.label}: sent.")
        if failed:
            raise CommandError(f"{len(failed)} of {len(channels)} channels did not work: {', '.join(failed)}.")
