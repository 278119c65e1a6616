"""Telling people, against real servers: what they get, and what becomes of the row where they do not."""

from __future__ import annotations

import logging
import smtplib
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from django.core.mail import EmailMessage
from django.utils import timezone

from detection.models import Camera, CameraEvent, Notification
from tests.grab.servers import saying, server
from tests.receivers import Hook, MailServer
from workers import notify
from workers.again import TryAgain
from workers.notify import webhook
from workers.sweep import give_up

pytestmark = pytest.mark.django_db

AT = datetime(2026, 7, 1, 16, 22, 41, tzinfo=UTC)
WHY = "The camera did not answer within 8 seconds: look whether it has power."


@pytest.fixture(autouse=True)
def nobody(settings):
    """No channel is set up until a test does; no renewals, which another connection would make."""
    settings.RENEW_S = 3600
    settings.SITE_URL = "https://nightjar.example.org"
    settings.NOTIFY_EMAILS = []
    settings.NOTIFY_WEBHOOK_URL = ""
    settings.NOTIFY_APPRISE_URLS = []


@pytest.fixture
def hook(settings):
    with Hook() as hook:
        settings.NOTIFY_WEBHOOK_URL = f"http://camera:s3cret-word@127.0.0.1:{hook.port}/hooks/s3cret-path?k=s3cret-key"
        settings.NOTIFY_APPRISE_URLS = [f"json://camera:s3cret-word@127.0.0.1:{hook.port}/s3cret-path?+k=s3cret-key"]
        yield hook


@pytest.fixture
def post_office(settings):
    with MailServer() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "nightjar", "s3cret-word"
        settings.NOTIFY_EMAILS = ["guard@example.org", "owner@example.org"]
        settings.DEFAULT_FROM_EMAIL = "nightjar@example.org"
        yield server


def told_by(channel: str, kind: str = "offline", name: str = "Gate") -> Notification:
    """A notification that is due."""
    camera = Camera.objects.create(name=name, time_zone="Europe/Berlin")
    event = CameraEvent.objects.create(camera=camera, kind=kind, at=AT, why=WHY if kind != "back" else "")
    return Notification.objects.create(event=event, channel=channel, due_at=AT)


def after(row: Notification) -> Notification:
    """The row as it is once a worker was at it, whether or not it is to be tried again."""
    with suppress(TryAgain):
        notify.deliver(row.pk)
    row.refresh_from_db()
    return row


# What they get


def test_a_mail_says_what_when_why_and_where_to_look(post_office):
    row = told_by("email")
    assert after(row).state == "done"
    (mail,) = post_office.mails
    assert mail.to == ["guard@example.org", "owner@example.org"]
    assert mail.content["Subject"] == "Nightjar: Gate went offline"
    assert mail.content["From"] == "nightjar@example.org"
    assert mail.content["Auto-Submitted"] == "auto-generated"
    assert mail.content.get_content_type() == "text/plain"
    assert mail.content.get_content().splitlines() == [
        "Gate went offline at 18:22:41 on 1 July 2026 (Europe/Berlin).",
        "",
        f"Why: {WHY}",
        "",
        f"https://nightjar.example.org/cameras/{row.event.camera_id}/",
    ]


def test_a_mail_that_is_sent_twice_has_the_same_message_id(post_office):
    row = told_by("email")
    after(row)
    Notification.objects.update(state="queued")
    after(row)
    one, two = (mail.content["Message-ID"] for mail in post_office.mails)
    assert one == two == f"<camera-event-{row.event_id}@nightjar.example.org>"


def test_a_name_with_a_line_break_adds_no_header_to_the_mail(post_office):
    assert after(told_by("email", name="Gate\nBcc: x@example.org")).state == "done"
    (mail,) = post_office.mails
    assert mail.content["Subject"] == "Nightjar: Gate Bcc: x@example.org went offline"
    assert mail.content["Bcc"] is None


def test_a_name_beyond_ascii_comes_through(post_office):
    after(told_by("email", name="Größe – 門"))
    # The line is folded right behind its name, and Python's parser leaves the fold's space in front.
    assert post_office.mails[0].content["Subject"].strip() == "Nightjar: Größe – 門 went offline"


def test_the_webhook_gets_the_event_as_json_with_a_key_to_drop_doubles_by(hook):
    row = told_by("webhook", "frozen")
    assert after(row).state == "done"
    (post,) = hook.posts
    assert post.path == "/hooks/s3cret-path?k=s3cret-key"
    assert post.headers["Idempotency-Key"] == f"camera-event-{row.event_id}"
    assert post.headers["Content-Type"] == "application/json"
    assert post.headers["Authorization"].startswith("Basic ")
    assert post.json == {
        "id": f"camera-event-{row.event_id}",
        "event": "camera.frozen",
        "camera": {
            "id": row.event.camera_id,
            "name": "Gate",
            "url": f"https://nightjar.example.org/cameras/{row.event.camera_id}/",
        },
        "at": "2026-07-01T16:22:41+00:00",
        "why": WHY,
    }


@pytest.mark.parametrize(("kind", "tone"), [("offline", "warning"), ("frozen", "warning"), ("back", "success")])
def test_apprise_tells_its_service(hook, kind, tone):
    assert after(told_by("apprise", kind)).state == "done"
    (post,) = hook.posts
    assert post.json["type"] == tone
    assert post.json["title"].startswith("Nightjar: Gate ")
    assert "18:22:41 on 1 July 2026" in post.json["message"]


def test_apprise_tells_the_others_where_one_service_fails(hook, settings, free_port):
    settings.NOTIFY_APPRISE_URLS = [f"json://127.0.0.1:{free_port}", *settings.NOTIFY_APPRISE_URLS]
    row = after(told_by("apprise"))
    assert (row.state, len(hook.posts)) == ("queued", 1)
    assert row.error == "Apprise could not tell JSON (address 1 of NOTIFY_APPRISE_URLS)."


def test_a_camera_whose_time_zone_is_unknown_here_is_told_of_in_utc(hook):
    row = told_by("apprise")
    Camera.objects.update(time_zone="Mars/Olympus")
    assert after(row).state == "done"
    assert "16:22:41 on 1 July 2026 (UTC)" in hook.posts[0].json["message"]


# Where they do not get it


@pytest.mark.parametrize("status", [500, 503, 408, 425, 429, 302])
def test_an_answer_that_may_pass_is_tried_again(hook, status):
    hook.answers = [status]
    row = after(told_by("webhook"))
    assert (row.state, row.attempts) == ("queued", 1)
    assert f"The webhook at 127.0.0.1:{hook.port} answered {status}" in row.error
    assert len(hook.posts) == 1  # and a redirect is not followed
    assert after(row).state == "done"
    assert (row.attempts, row.error, row.error_detail) == (2, "", "")


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_an_answer_that_will_not_change_ends_it(hook, status):
    hook.answers = [status]
    row = after(told_by("webhook"))
    assert (row.state, row.error_kind) == ("failed", "notify")
    assert row.error == f"The webhook at 127.0.0.1:{hook.port} answered {status}."


def test_the_pauses_double_until_it_fails_for_good(hook, settings):
    settings.NOTIFY_ATTEMPTS = 4
    hook.answers = [500] * 4
    row = told_by("webhook")
    pauses = []
    for _ in range(3):
        with pytest.raises(TryAgain) as again:
            notify.deliver(row.pk)
        pauses.append(again.value.delay_s)
    assert pauses == [2, 4, 8]
    notify.deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("failed", 4)
    notify.deliver(row.pk)  # whatever message comes now
    assert len(hook.posts) == 4


def test_a_webhook_that_says_nothing_is_left(hook, monkeypatch):
    monkeypatch.setattr(webhook, "ANSWER_S", 0.2)
    hook.answers = ["hang"]
    row = after(told_by("webhook"))
    assert (row.state, row.error) == ("queued", f"The webhook at 127.0.0.1:{hook.port} did not answer in time.")


def test_what_a_webhook_says_beyond_its_status_is_not_waited_for(settings, monkeypatch):
    monkeypatch.setattr(webhook, "ANSWER_S", 3.0)
    with server(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", hold=True)) as port:
        settings.NOTIFY_WEBHOOK_URL = f"http://127.0.0.1:{port}/"
        assert after(told_by("webhook")).state == "done"


@pytest.mark.parametrize("url", ["s3cret-no-address-at-all", "s3cret://host/path"])
def test_an_address_of_a_webhook_that_cannot_be_called_ends_it(settings, url):
    settings.NOTIFY_WEBHOOK_URL = url
    row = after(told_by("webhook"))
    assert (row.state, row.error) == ("failed", "NOTIFY_WEBHOOK_URL is not an address that can be called.")


@pytest.mark.parametrize("channel", ["webhook", "apprise"])
def test_an_answer_that_drips_does_not_keep_the_worker(hook, monkeypatch, channel):
    monkeypatch.setattr(notify, "TOTAL_S", 0.4)
    hook.answers = ["drip"]
    row = after(told_by(channel))
    assert (row.state, row.error) == ("queued", "It was not sent within 0 seconds.")


def test_nobody_at_the_webhooks_port(settings, free_port):
    settings.NOTIFY_WEBHOOK_URL = f"http://127.0.0.1:{free_port}/"
    row = after(told_by("webhook"))
    assert row.state == "queued"
    assert row.error == f"The webhook at 127.0.0.1:{free_port} could not be reached, or broke off."


@pytest.mark.parametrize(
    ("rule", "answer", "state", "sentence"),
    [
        ("recipients", "550 no such user", "failed", "refused all addresses of NOTIFY_EMAILS (550)."),
        ("recipients", "450 come back later", "queued", "refused all addresses of NOTIFY_EMAILS (450)."),
        ("data", "451 disk full", "queued", "refused the mail (451)."),
        ("data", "554 looks like spam", "failed", "refused the mail (554)."),
        ("data", "", "queued", "did not answer in time, or broke off."),
        ("login", "535 go away", "failed", "refused the user name or password of EMAIL_URL (535)."),
        ("login", "454 not now", "queued", "refused the user name or password of EMAIL_URL (454)."),
    ],
)
def test_a_mail_server_that_refuses(post_office, settings, rule, answer, state, sentence):
    settings.EMAIL_TIMEOUT = 0.3
    setattr(post_office.rules, rule, answer)
    row = after(told_by("email"))
    assert (row.state, row.error) == (state, f"The mail server 127.0.0.1:{post_office.port} {sentence}")
    assert not post_office.mails


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            smtplib.SMTPRecipientsRefused({"a": (550, b""), "b": (450, b"")}),
            "refused all addresses of NOTIFY_EMAILS (550).",
        ),
        (ssl.SSLCertVerificationError(), "has a certificate that cannot be verified."),
    ],
)
def test_what_may_pass_for_one_address_or_with_a_new_certificate_is_tried_again(
    post_office, monkeypatch, error, sentence
):
    def fails(self):
        raise error

    monkeypatch.setattr(EmailMessage, "send", fails)
    row = after(told_by("email"))
    assert (row.state, row.error) == ("queued", f"The mail server 127.0.0.1:{post_office.port} {sentence}")


def test_a_mail_server_without_tls_gets_no_password(post_office, settings):
    settings.EMAIL_USE_TLS = True
    row = after(told_by("email"))
    assert row.state == "failed"
    assert "cannot do what EMAIL_URL asks for" in row.error


def test_no_mail_server(post_office, settings, free_port):
    settings.EMAIL_PORT = free_port
    row = after(told_by("email"))
    assert (row.state, row.error) == (
        "queued",
        f"The mail server 127.0.0.1:{free_port} could not be reached.",
    )


def test_an_address_that_apprise_does_not_know_ends_it(settings):
    settings.NOTIFY_APPRISE_URLS = ["nosuch://s3cret"]
    row = after(told_by("apprise"))
    assert row.state == "failed"
    assert row.error.startswith("Address 1 of NOTIFY_APPRISE_URLS is none that Apprise understands")


@pytest.mark.parametrize("channel", ["email", "webhook", "apprise"])
def test_a_channel_that_is_no_longer_set_up_ends_it(channel):
    row = after(told_by(channel))
    assert row.state == "failed"
    assert row.error.endswith("is not set any more.")


# Workers


def test_a_message_that_comes_twice_tells_once(hook):
    row = told_by("webhook")
    after(row)
    after(row)
    assert len(hook.posts) == row.attempts == 1


def test_what_is_not_yet_due_is_not_told(hook):
    row = told_by("webhook")
    Notification.objects.update(due_at=timezone.now() + timedelta(minutes=5))
    assert after(row).state == "queued"
    assert not hook.posts


def test_what_a_lost_worker_left_is_told_by_the_next(hook):
    row = told_by("webhook")
    Notification.claim(row.pk, "lost")
    assert after(row).state == "running"  # the lease still holds
    Notification.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert after(row).state == "done"
    assert (row.attempts, row.lapses, len(hook.posts)) == (1, 1, 1)


def test_what_costs_its_worker_every_time_ends(hook, settings):
    settings.MAX_LAPSES = 2
    row = told_by("webhook")
    for _ in range(3):
        Notification.claim(row.pk, "lost")
        Notification.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    give_up()
    row.refresh_from_db()
    assert (row.state, row.attempts, row.lapses) == ("failed", 1, 2)
    assert after(row).state == "failed"


def test_a_worker_that_was_overtaken_does_not_end_the_row(hook, monkeypatch):
    row = told_by("webhook")

    def slow(channel, message):
        Notification.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        assert Notification.claim(row.pk, "the next") is not None

    monkeypatch.setattr(notify, "send", slow)
    after(row)
    assert (row.state, row.worker, row.error) == ("running", "the next", "")


def test_a_camera_that_is_removed_takes_its_notifications_along(hook):
    row = told_by("webhook")
    Camera.objects.all().delete()
    notify.deliver(row.pk)
    assert not hook.posts


# Secrets


@pytest.mark.parametrize("how", [404, 500, 302, 200, "hang", "drip", "close", "odd"])
@pytest.mark.parametrize("channel", ["webhook", "apprise"])
def test_no_secret_of_an_address_is_told_whatever_happens(hook, monkeypatch, caplog, channel, how):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(webhook, "ANSWER_S", 0.2)
    monkeypatch.setattr(notify, "TOTAL_S", 0.5)
    hook.answers = [how]
    assert_no_secret(told_by(channel), caplog)
    assert "s3cret" in hook.posts[0].path


@pytest.mark.parametrize(
    "url",
    [
        "http://s3cret-user:s3cret-word@127.0.0.1:1/s3cret-path",
        "http://[s3cret-host/",
        "s3cret://host/path",
        "s3cret-no-address-at-all",
        "http://s3cret-word@:80/",
        "http://user:s3cret-word@127.0.0.1:s3cret-port/",
        "http://host.invalid/s3cret-path",
        "http://\ud800s3cret/",
    ],
)
@pytest.mark.parametrize("channel", ["webhook", "apprise"])
def test_no_secret_of_an_address_that_is_wrong_is_told(settings, caplog, channel, url):
    caplog.set_level(logging.DEBUG)
    settings.NOTIFY_WEBHOOK_URL = url
    settings.NOTIFY_APPRISE_URLS = [url, url.replace("http://", "json://"), url.replace("http://", "slack://")]
    row = assert_no_secret(told_by(channel), caplog)
    assert row.error


@pytest.mark.parametrize("answer", ["535 s3cret-word is wrong", "454 s3cret-word"])
def test_no_password_of_the_mail_server_is_told(post_office, caplog, answer):
    caplog.set_level(logging.DEBUG)
    post_office.rules.login = answer
    assert assert_no_secret(told_by("email"), caplog).error


def test_an_error_nobody_thought_of_is_told_without_what_it_says(hook, monkeypatch, caplog):
    def breaks(message):
        raise RuntimeError("cannot call s3cret-path")

    monkeypatch.setattr(webhook, "send", breaks)
    row = assert_no_secret(told_by("webhook"), caplog)
    assert row.error == "It could not be sent, for a reason nobody thought of: RuntimeError."


def assert_no_secret(row: Notification, caplog: pytest.LogCaptureFixture) -> Notification:
    after(row)
    for told in (caplog.text, row.error, row.error_detail):
        assert "s3cret" not in told
    return row
