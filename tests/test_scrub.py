"""No credentials in the log and in Sentry, whatever a library puts into its exception."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import time
from urllib.parse import quote

import pytest

from detection import scrub as scrubbing
from detection.scrub import before_breadcrumb, before_send, before_send_transaction, know, scrub, without_literals
from project import logs
from tests import planted
from tests.conftest import ROOT

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
HIDDEN = scrubbing.HIDDEN
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
        "User name or password is wrong.",
        "workers.tasks.analyse",
        "c7a0b2d4-1111-2222-3333-444455556666",
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
        "b'" + "\\\\" * 100_000,
        "b'" * 100_000,
        "'secret':" * 30_000,
        "Key (" * 50_000,
        '="' * 50_000,
        "password:" * 30_000,
        "_key" * 50_000,
    ],
)
def test_a_hostile_text_takes_no_time(long: str) -> None:
    began = time.process_time()
    scrub(long + "@=%3f")
    assert time.process_time() - began < 4


FORMS = ["json", "console"]


def logged(say, form: str = "json") -> str:
    """What a handler with our formatter writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter(form))
    logger = logging.Logger("of a test")  # noqa: LOG001 - of nobody else
    logger.addHandler(handler)
    say(logger)
    return stream.getvalue()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_line_of_the_log_is_scrubbed_with_its_arguments_and_facts(address: str, form: str) -> None:
    facts = {"where": address, "password": "s3cret", "x-token": "s3cret", "stages": {address: 1, "of": address}}
    facts |= dict.fromkeys(("private_key", "credentials", "auth", "dsn", "access_key"), "s3cret")
    text = logged(lambda logger: logger.warning("%s: %r", "No picture", address, extra=facts), form)
    assert is_clean(text), text
    assert "No picture: " in text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_traceback_is_scrubbed_with_its_causes(address: str, form: str) -> None:
    def say(logger: logging.Logger) -> None:
        try:
            try:
                raise OSError(5, "cannot open", address)
            except OSError as error:
                raise RuntimeError(f"no stream at {address}") from error
        except RuntimeError:
            logger.exception("It failed", stack_info=True)

    text = logged(say, form)
    assert is_clean(text), text
    assert "RuntimeError: no stream at " in text
    assert "Traceback" in text


@pytest.mark.parametrize(
    "said",
    [
        "{'password': 's3cret', 'name': 'x'}",
        '{"csrfmiddlewaretoken": "s3cret"}',
        "{'sessionid': 's3cret'}",
        "sessionid=s3cret; csrftoken=s3cret",
        "DETAIL:  Key (session_key)=(s3cret) already exists.",
        "DETAIL:  Failing row contains (1, s3cret, null).",
        f"wrote b'{'x' * 70}s3cret'",
        f'wrote b"{"x" * 70}s3cret',
        '{"api_key": "s3cret", "x": 1}',
        "{'key': 's3cret'}",
        '{"auth": "s3cret"}',
        "{'private_key': 's3cret', 'credentials': 's3cret', 'sentry_dsn': 's3cret'}",
        "password: s3cret",
        "secret_key: s3cret, and so on",
        "access_key=s3cret",
        "apikey:s3cret",
        "NIGHTJAR_TOKEN=s3cret",
        "GET /user=admin_password=s3cret_channel=1.sdp",
        "rtsp://10.0.0.5/user=s3cret_password=s3cret_channel=1.sdp",
    ],
)
def test_what_libraries_say_of_forms_rows_and_bytes_has_no_value_in_it(said: str) -> None:
    assert is_clean(scrub(said)), scrub(said)
    assert HIDDEN in scrub(said)


def test_short_bytes_stay_for_they_are_words_of_a_protocol() -> None:
    assert scrub("it answered b'RTSP/1.0 404'") == "it answered b'RTSP/1.0 404'"


def test_a_statement_is_shown_without_its_values() -> None:
    sql = (
        "(0.001) SELECT * FROM \"session\" WHERE key = 's3cret' AND x = 'it''s s3cret'; args=('s3cret',); alias=default"
    )
    assert is_clean(without_literals(sql))
    assert without_literals(sql).startswith('(0.001) SELECT * FROM "session" WHERE key = ')


def test_djangos_own_lines_of_statements_are_shown_without_values() -> None:
    def say(logger: logging.Logger) -> None:
        logger.name = "django.db.backends"
        sql = "SELECT 's3cret'"
        facts = {"duration": 0.1, "sql": sql, "params": ("s3cret",), "alias": "default"}
        logger.warning("(%.3f) %s; args=%s; alias=%s", 0.1, sql, ("s3cret",), "default", extra=facts)

    text = logged(say)
    assert is_clean(text)
    assert "SELECT" in text


# What the installation itself holds secret


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted settings, as project/settings.py makes them known."""
    monkeypatch.setattr(scrubbing, "_known", set())
    monkeypatch.setattr(scrubbing, "_known_anywhere", None)
    know(
        [
            *(value for name, value in planted.settings().items() if name != "NOTIFY_EMAILS"),
            planted.database_url("db", 5432, "nightjar"),
            planted.redis_url("broker", 6379),
            planted.s3_url("s3", 9000),
            planted.sentry_dsn("sentry", 80),
        ]
    )


IN_SETTINGS = [
    name for name in planted.SECRETS if not name.startswith(("a ", "the administrator", "the content"))
]  # the others are typed, sent or uploaded


@pytest.mark.parametrize("name", IN_SETTINGS)
@pytest.mark.usefixtures("known")
def test_a_secret_of_the_installation_is_hidden_wherever_it_stands(name: str) -> None:
    secret = planted.SECRETS[name]
    for text in (
        secret,
        f"x{secret}x",
        quote(secret, safe=""),
        f"/a/{secret}/b",
        repr(f"'{secret}"),
        json.dumps(secret),
    ):
        assert planted.found_in(scrub(text)) == [], text


@pytest.mark.usefixtures("known")
def test_what_is_no_secret_in_the_same_settings_stays() -> None:
    text = "postgres at db:5432/nightjar, redis at broker:6379, s3:9000/footage, guard@example.org, http://127.0.0.1:9"
    assert scrub(text) == text


@pytest.mark.parametrize(
    "url",
    [
        "postgres://nightjar:pw#s3cret@db/nightjar",
        "postgres://nightjar:pw[s3cret@db/nightjar",
        "redis://:pw?s3cret@broker:6379/0",
        "amqp://nightjar:pw/s3cret@broker//",
        "sentinel://:pw#s3cret@broker:26379/0",
    ],
)
def test_a_password_with_signs_that_would_end_it_is_known_all_the_same(known: None, url: str) -> None:
    know([url])
    password = url.partition("//")[2].rpartition("@")[0].partition(":")[2]
    assert scrub(f"login failed with {password}!") == f"login failed with {HIDDEN}!"


def test_what_others_have_read_from_an_address_is_known_as_they_have_read_it(known: None) -> None:
    know(["postgres://nightjar:a,s3cret@db/nightjar"], parsed=["a,s3cret", "", "short"])
    assert scrub("it is a,s3cret, in short") == f"it is {HIDDEN}, in short"


def test_the_parts_of_an_address_that_are_mere_words_are_not_hunted(known: None) -> None:
    know(["psql://nightjar:pl4nted-pw@/sock/site.css", "https://hooks.example.org/upload/xK29bQ7/planted-long-word"])
    said = "an upload by nightjar, site.css, hooks.example.org"
    assert scrub(said) == said
    assert scrub("xK29bQ7 planted-long-word pl4nted-pw") == f"{HIDDEN} {HIDDEN} {HIDDEN}"


def test_a_secret_of_a_few_letters_is_not_hunted_in_other_words(known: None) -> None:
    know(["redis://:guest@broker/0", "a", "", "postgres://nightjar@db/nightjar", "smtp://somebody@mail:25"])
    assert scrub("a guest of the house of nightjar, somebody") == "a guest of the house of nightjar, somebody"


def test_the_real_settings_make_their_secrets_known() -> None:
    """Those of the tests, which stand in tests/settings.py."""
    assert scrub("the key is only-for-tests-0123456789abcdefghijklmnopqrstuvwxyz!") == f"the key is {HIDDEN}!"
    assert "b25seS1mb3It" not in scrub("b25seS1mb3ItdGVzdHMtMDEyMzQ1Njc4OWFiY2RlZmc=")


def test_the_real_settings_know_passwords_as_they_are_parsed() -> None:
    """In a process of its own, which has them."""
    code = "import django; django.setup(); from detection.scrub import scrub; print(scrub(input()))"
    given = {
        "DATABASE_URL": "postgres://nightjar:pl4nted,one@db/nightjar",
        "EMAIL_URL": "smtp://nightjar:pl4nted,two@mail:25",
        "STORAGE_URL": "s3://PL4NTED,KEY:pl4nted,three@host/bucket",
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "NIGHTJAR_LENIENT": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | given,
        input="pl4nted,one pl4nted,two pl4nted,three PL4NTED,KEY",
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [HIDDEN] * 4, done.stderr


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
