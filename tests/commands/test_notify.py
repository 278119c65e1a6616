"""The command that finds out whether people would be told."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core import mail
from django.core.management import CommandError, call_command

from detection.models import Notification
from tests.receivers import Hook

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def hook(settings):
    settings.NOTIFY_EMAILS = []
    settings.NOTIFY_APPRISE_URLS = []
    settings.SITE_URL = "https://nightjar.example.org"
    with Hook() as hook:
        settings.NOTIFY_WEBHOOK_URL = f"http://127.0.0.1:{hook.port}/s3cret"
        yield hook


def notify() -> tuple[str, str, str]:
    """What it says, what it complains of, and with which error it ends."""
    said, complained = StringIO(), StringIO()
    failure = ""
    try:
        call_command("notify", "--test", stdout=said, stderr=complained)
    except CommandError as error:
        failure = f"{error} (exit code {error.returncode})"
    return said.getvalue(), complained.getvalue(), failure


def test_each_channel_that_works_is_named(hook, settings):
    settings.NOTIFY_EMAILS = ["guard@example.org"]
    settings.NOTIFY_APPRISE_URLS = [f"json://127.0.0.1:{hook.port}/"]
    assert notify() == ("e-mail: sent.\nwebhook: sent.\nApprise: sent.\n", "", "")
    assert hook.posts[0].json["event"] == "test"
    assert hook.posts[0].json["camera"] is None
    assert hook.posts[1].json["type"] == "info"
    assert mail.outbox[0].subject == "Nightjar: A test"
    assert mail.outbox[0].body.startswith("A test at ")
    assert "https://nightjar.example.org" in mail.outbox[0].body


def test_a_channel_that_does_not_is_an_error_and_the_others_are_tried(hook, settings):
    settings.NOTIFY_APPRISE_URLS = [f"json://127.0.0.1:{hook.port}/"]
    hook.answers = [404]
    said, complained, error = notify()
    assert said == "Apprise: sent.\n"
    assert complained == f"webhook: failed. The webhook at 127.0.0.1:{hook.port} answered 404.\n"
    assert error == "1 of 2 channels did not work: webhook. (exit code 1)"


def test_with_no_channel_it_says_what_to_set(settings):
    settings.NOTIFY_WEBHOOK_URL = ""
    assert "NOTIFY_EMAILS" in notify()[2]


def test_a_test_leaves_no_record(hook):
    notify()
    assert len(hook.posts) == 1
    assert not Notification.objects.exists()
