"""No credentials in the log and in Sentry, whatever a library puts into its exception."""

from __future__ import annotations

import io
import json
import logging
import time

import pytest

from project.logs import Scrubbed
from project.scrub import before_breadcrumb, before_send, before_send_transaction, scrub

ADDRESSES = [
    "rtsp://admin:s3cret@10.0.0.5:554/stream1",
    "RTSPS://admin:s3cret@camera.local/stream",
    "http://admin:s3cret@10.0.0.5/snap.jpg?x=1",
    "rtsp://admin:s3cret@[fd00::5]:554/stream",
    "rtsp://admin:s3cr%65t%40s3cret@10.0.0.5/",
    "rtsp://s3cret@10.0.0.5/",
    "rtsp://:s3cret@10.0.0.5/",
    "rtsp://admin:@s3cret@@10.0.0.5/",
    "rtsp://admin:a@s3cret@10.0.0.5/",
    "rtsp://admin:a/s3cret@10.0.0.5/",
    "rtsp://admin:a#s3cret?b@10.0.0.5/",
    "rtsp://admin:a:s3cret:b@10.0.0.5/",
    "rtsp://admin:a b s3cret@10.0.0.5/",
    "rtsp://admin:a'b\"s3cret@10.0.0.5/",
    "rtsp://admin:<s3cret>@10.0.0.5/",
    "rtsp://admin:äö•s3cret@10.0.0.5/",
    "rtsp://ad:min:s3cret@10.0.0.5/",
    "postgres://nightjar:s3cret@db/nightjar",
    "redis://:s3cret@127.0.0.1:6379/0",
    "s3://AKIA:s3cret@host/bucket",
    "mailtos://u:s3cret@smtp.example.org",
    "http://10.0.0.5/cgi?user=admin&pwd=s3cret",
    "http://10.0.0.5/cgi?usr=s3cret&x=1",
    "http://10.0.0.5/cgi?loginuse=s3cret&loginpas=s3cret",
    "http://10.0.0.5/cgi?X-Amz-Signature=s3cret&X-Amz-Date=1",
    "http://10.0.0.5/cgi?a=1&PASSWORD=s3cret#top",
    "http://10.0.0.5/cgi?pass=a%26s3cret",
    "http://10.0.0.5/cgi?pass=a's3cret",
    "http://10.0.0.5/cgi?access_token=s3cret",
    "http://10.0.0.5/cgi?api_key=s3cret",
    "http://10.0.0.5/cgi?auth=s3cret;secret=s3cret",
    "/cgi?passwd=s3cret",
    "/login?next=http%3A%2F%2Fadmin%3As3cret%40host%2Fx",
    "/login?next=%2Fcgi%3Fpwd%3Ds3cret%26x%3D1",
    "user=admin&pwd=s3cret",
    "Authorization: Basic YWRtaW46czNjcmV0",
    "authorization: Bearer s3cret.s3cret",
    'Proxy-Authorization: Digest username="s3cret", realm="cam", response="s3cret"',
    "{'Authorization': 'Basic s3cret', 'Accept': '*/*'}",
    '{"authorization": "Digest username=\\"s3cret\\", response=\\"s3cret\\"", "accept": 1}',
    "b'GET / HTTP/1.1\\r\\nAuthorization: Basic czNjcmV0\\r\\n'",
    "sent Basic YWRtaW46czNjcmV0 to it",
    "Cookie: sessionid=s3cret",
    "Connection(host='db', user='nightjar', password='a s3cret')",
]
SECRETS = ("s3cret", "YWRtaW46czNjcmV0", "czNjcmV0")


def is_clean(text: str) -> bool:
    return not any(secret in text for secret in SECRETS)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "around", ["{}", "Could not open “{}”: refused", "open('{}', 5)", 'url="{}" failed', "({}), then {}\nnext", "x={} "]
)
def test_no_credential_is_left(address: str, around: str) -> None:
    text = scrub(around.replace("{}", address))
    assert is_clean(text), text
    assert "•••" in text


@pytest.mark.parametrize(
    ("given", "scrubbed"),
    [
        ("rtsp://admin:s3cret@10.0.0.5:554/stream1 timed out", "rtsp://•••@10.0.0.5:554/stream1 timed out"),
        ("rtsp://u:s3cret@[fd00::5]:554/a", "rtsp://•••@[fd00::5]:554/a"),
        ("http://h/a?user=u&x=1&pwd=s3cret&y=2", "http://h/a?user=•••&x=1&pwd=•••&y=2"),
        ("Authorization: Basic abc\nAccept: */*", "Authorization: •••\nAccept: */*"),
        ("{'Authorization': 'Basic abc', 'Accept': 1}", "{'Authorization': •••, 'Accept': 1}"),
        ("a://u:p@h,b://u:p@i", "a://•••@i"),
    ],
)
def test_the_rest_stays_readable(given: str, scrubbed: str) -> None:
    assert scrub(given) == scrubbed


@pytest.mark.parametrize(
    "harmless",
    [
        "",
        "http://127.0.0.1:8000 is up, ask somebody@example.org",
        "http://[::1]:8000/cameras/3/?page=2&sort=name",
        "rtsp://10.0.0.5:554/… did not answer within 4 s",
        "2026-03-02 12:00:01,5 INFO workers.capture: camera 5, capture 17: 640x360",
        "Task workers.tasks.grab[3f0c] succeeded in 0.2s",
        "basic understanding, Basic authentication is required",
        "mail to somebody@example.org at 10:30",
    ],
)
def test_what_is_no_credential_stays_as_it_is(harmless: str) -> None:
    assert scrub(harmless) == harmless


@pytest.mark.parametrize("address", ADDRESSES)
def test_to_scrub_twice_changes_nothing_more(address: str) -> None:
    once = scrub(address)
    assert is_clean(scrub(once))
    assert len(scrub(once)) <= len(once)


@pytest.mark.parametrize(
    "long",
    [
        "a://" * 50_000,
        "a://b:" * 30_000,
        "?user" * 40_000,
        "%3a%2f%2f" * 20_000,
        "authorization" * 10_000,
        "x" * 300_000 + "@",
        '="' * 50_000,
    ],
)
def test_a_hostile_text_takes_no_time(long: str) -> None:
    began = time.perf_counter()
    scrub(long + "@=%3f")
    assert time.perf_counter() - began < 4


def logged(say) -> str:
    """What a handler with the filter writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(Scrubbed())
    logger = logging.Logger("of a test")  # noqa: LOG001 - of nobody else
    logger.addHandler(handler)
    say(logger)
    return stream.getvalue()


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_line_of_the_log_is_scrubbed_with_its_arguments(address: str) -> None:
    text = logged(lambda logger: logger.warning("%s: %r", "No picture", address))
    assert is_clean(text), text
    assert text.startswith("No picture: ")


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_traceback_is_scrubbed_with_its_causes(address: str) -> None:
    def say(logger: logging.Logger) -> None:
        try:
            try:
                raise OSError(5, "cannot open", address)
            except OSError as error:
                raise RuntimeError(f"no stream at {address}") from error
        except RuntimeError:
            logger.exception("It failed", stack_info=True)

    text = logged(say)
    assert is_clean(text), text
    assert "RuntimeError: no stream at " in text
    assert "Traceback" in text


def test_arguments_that_do_not_fit_neither_raise_nor_show(capsys: pytest.CaptureFixture[str]) -> None:
    text = logged(lambda logger: logger.warning("at %d", ADDRESSES[0]))
    assert "do not fit" in text
    assert is_clean(text + capsys.readouterr().err)


@pytest.mark.parametrize("hook", [before_send, before_send_transaction, before_breadcrumb])
@pytest.mark.parametrize("address", ADDRESSES)
def test_an_event_is_scrubbed_everywhere(hook, address: str) -> None:
    event = {
        "exception": {
            "values": [{"type": "OSError", "value": address, "stacktrace": {"frames": [{"vars": {"a": address}}]}}]
        },
        "request": {"url": address, "query_string": "user=admin&pwd=s3cret", "headers": {"Authorization": "s3cret"}},
        "breadcrumbs": {"values": [{"message": address, "data": {"http.query": "pwd=s3cret"}}]},
        "spans": [{"description": f"GET {address}"}],
        "extra": {"args": (address, address.encode(), 5, None, 1.5), address: 1, "password": "s3cret"},
        "level": "error",
    }
    sent = hook(event, {})
    assert is_clean(json.dumps(sent, ensure_ascii=False))
    assert (sent["level"], sent["exception"]["values"][0]["type"], sent["extra"]["args"][2:]) == (
        "error",
        "OSError",
        (5, None, 1.5),
    )


def test_what_lies_in_a_circle_comes_to_an_end() -> None:
    event: dict[str, object] = {"value": ADDRESSES[0]}
    event["itself"] = event
    assert is_clean(str(before_send(event, {})))


def test_sentry_sends_nothing_secret() -> None:
    """Through the real client, with a transport that keeps what it is given."""
    import sentry_sdk
    from sentry_sdk.transport import Transport

    sent: list[str] = []

    class Kept(Transport):
        def capture_envelope(self, envelope) -> None:
            sent.append(envelope.serialize().decode())

    client = sentry_sdk.Client(
        dsn="https://public@example.invalid/1",
        transport=Kept,
        before_send=before_send,
        before_send_transaction=before_send_transaction,
        before_breadcrumb=before_breadcrumb,
        traces_sample_rate=1.0,
        include_local_variables=False,
        default_integrations=False,
    )
    with sentry_sdk.isolation_scope() as scope:
        scope.set_client(client)
        for address in ADDRESSES:
            sentry_sdk.add_breadcrumb(message=address, data={"url": address})
            with sentry_sdk.start_transaction(name=address), sentry_sdk.start_span(name=address):
                pass
            try:
                raise OSError(address)
            except OSError as error:
                sentry_sdk.capture_exception(error)
    client.close()
    assert len(sent) == 2 * len(ADDRESSES)
    assert is_clean("\n".join(sent))


def test_a_call_to_a_camera_leaves_no_crumb_and_no_address_in_a_trace() -> None:
    assert before_breadcrumb({"category": "httplib", "data": {"url": "http://10.0.0.5/t0ken/snap.jpg"}}) is None
    call = {"op": "http.client", "description": "GET http://10.0.0.5/t0ken/snap.jpg", "data": {"url": "t0ken"}}
    sent = before_send_transaction({"spans": [call, {"op": "db", "description": "SELECT 1"}]})
    assert "t0ken" not in str(sent)
    assert [span["description"] for span in sent["spans"]] == ["GET", "SELECT 1"]
