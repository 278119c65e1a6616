"""What Sentry is told: by the hooks alone, and by real processes at an ingest that speaks its protocol."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from detection import correlation
from detection.fields import WrongKey
from detection.models import LeaseLost
from detection.vision.types import DetectorError, MediaError
from project import sentry
from tests import planted
from tests.conftest import ROOT
from tests.processes import PATIENCE, environment
from tests.programs import Programs, programs
from tests.s3 import s3_server
from tests.sentry_ingest import PROJECT, Ingest, sentry_ingest
from tests.services import find_free_port
from workers.again import TryAgain
from workers.grab import GrabError
from workers.notify import NotifyError

pytestmark = pytest.mark.slow
RELEASE, ENVIRONMENT = "9.9.9+rehearsal", "rehearsal"


# ---- what is news


def hint(error: BaseException, record: logging.LogRecord | None = None) -> dict[str, object]:
    found: dict[str, object] = {"exc_info": (type(error), error, None)}
    return found if record is None else found | {"log_record": record}


def expected() -> list[BaseException]:
    import amqp
    import redis
    from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
    from celery.beat import SchedulingError
    from django.core.exceptions import DisallowedHost, PermissionDenied
    from django.http import Http404, UnreadablePostError
    from kombu.exceptions import OperationalError

    unsent = SchedulingError("Couldn't apply scheduled task sweep")
    unsent.__cause__ = OperationalError("Connection refused")
    return [
        ConnectionRefusedError(111, "Connection refused"),
        BrokenPipeError(),
        OperationalError("the broker is away"),
        redis.ConnectionError("away"),
        redis.TimeoutError("slow"),
        amqp.ConnectionForced("restart"),
        amqp.RecoverableConnectionError("gone"),
        WorkerLostError("signal 11"),
        SoftTimeLimitExceeded(),
        TimeLimitExceeded(),
        MediaError("truncated", "The file is cut off."),
        DetectorError("No such model.", permanent=True),
        GrabError("The camera did not answer.", kind="timeout"),
        NotifyError("The mail server did not answer.", permanent=False),
        WrongKey(),
        LeaseLost("another has it"),
        TryAgain(2),
        Http404("no"),
        PermissionDenied("no"),
        DisallowedHost("evil.example"),
        UnreadablePostError("gone"),
        unsent,
    ]


@pytest.mark.parametrize("error", expected(), ids=lambda error: type(error).__name__)
def test_what_is_expected_to_go_wrong_is_no_event(error: BaseException) -> None:
    assert sentry.before_send({}, hint(error)) is None


def unexpected() -> list[BaseException]:
    from celery.beat import SchedulingError

    unsent = SchedulingError("Couldn't apply scheduled task sweep")
    unsent.__cause__ = TypeError("not JSON")
    return [RuntimeError("a bug"), KeyError("a"), OSError(5, "Input/output error"), MemoryError(), unsent]


@pytest.mark.parametrize("error", unexpected(), ids=lambda error: type(error).__name__)
def test_what_nobody_expected_is_an_event(error: BaseException) -> None:
    assert sentry.before_send({"level": "error"}, hint(error))["level"] == "error"


def line(name: str, message: str = "copy 5: its process died") -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, message, (), None, "_at_the_rows")


def test_a_line_of_the_log_without_an_error_is_no_event_but_where_work_was_lost() -> None:
    assert sentry.before_send({}, {"log_record": line("workers.working", "media 5 failed: cut off")}) is None
    sent = sentry.before_send({"tags": {}}, {"log_record": line("workers.crash")})
    assert sent["fingerprint"] == ["workers.crash", "_at_the_rows"]  # not one for each copy


def test_a_database_that_is_away_is_told_once_a_minute(monkeypatch) -> None:
    from django.db import InterfaceError, OperationalError

    clock = [1000.0]
    monkeypatch.setattr(sentry.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sentry, "_database_said_at", 0.0)
    told = []
    for _ in range(200):
        told += [
            sentry.before_send({}, hint(error)) is not None
            for error in (OperationalError("connection refused"), InterfaceError("connection already closed"))
        ]
        clock[0] += 0.5
    assert sum(told) == 2


def test_an_event_has_the_reference_of_what_was_done_and_never_that_of_something_else() -> None:
    with correlation.bound("ref-1"):
        event = sentry.before_send({"tags": {"correlation_id": "older", "a": "b"}}, hint(KeyError("a")))
    assert event["tags"] == {"a": "b", "correlation_id": "ref-1"}
    event = sentry.before_send({"tags": {"correlation_id": "older"}}, hint(KeyError("a")))
    assert event["tags"] == {}


def test_an_event_is_scrubbed() -> None:
    event = {"exception": {"values": [{"value": f"at {planted.camera_url('10.0.0.5', 80)}"}]}}
    assert planted.found_in(str(sentry.before_send(event, hint(KeyError("a"))))) == []


@pytest.mark.parametrize("given", ["https://example.org", "nonsense", "http://k@host/", "1"])
def test_a_dsn_that_is_none_is_refused_in_words(given: str) -> None:
    with pytest.raises(ValueError, match="the DSN of a Sentry project"):
        sentry.dsn(given)


def test_a_share_is_from_0_to_1() -> None:
    assert [sentry.share(given) for given in ("0", "0.25", "1")] == [0.0, 0.25, 1.0]
    for given in ("-0.1", "1.1", "nan", "all", ""):
        with pytest.raises(ValueError, match="a share from 0 to 1"):
            sentry.share(given)


@pytest.mark.parametrize(
    ("context", "rate"),
    [
        ({"wsgi_environ": {"PATH_INFO": "/sightings/"}}, 0.5),
        ({"wsgi_environ": {"PATH_INFO": "/health/live"}}, 0.0),
        ({"wsgi_environ": {"PATH_INFO": "/static/site.css"}}, 0.0),
        ({"wsgi_environ": {"PATH_INFO": "/metrics"}}, 0.0),
        ({"wsgi_environ": {"PATH_INFO": "/healthy-dogs"}}, 0.5),
        ({"transaction_context": {"name": "workers.tasks.sweep"}}, 0.0),
        ({"transaction_context": {"name": "workers.tasks.analyse"}}, 0.5),
        ({"transaction_context": {"name": "workers.tasks.analyse"}, "parent_sampled": True}, 1.0),
        ({"transaction_context": {"name": "workers.tasks.analyse"}, "parent_sampled": False}, 0.0),
    ],
)
def test_what_comes_every_second_is_not_timed(context: dict[str, object], rate: float) -> None:
    assert sentry._Sampler(0.5)(context) == rate


# ---- real processes


@pytest.fixture(scope="module")
def ingest() -> Iterator[Ingest]:
    with sentry_ingest(planted.SENTRY_KEY) as found:
        yield found


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server(key=planted.S3_KEY, secret=planted.S3_SECRET) as url:
        yield url


@pytest.fixture(scope="module")
def site(ingest: Ingest, bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Web, workers and beat of an installation that is full of secrets and tells our Sentry."""
    folder = tmp_path_factory.mktemp("sentry")
    given = environment(
        folder / "data",
        find_free_port(),
        **planted.settings(
            SENTRY_DSN=planted.sentry_dsn("127.0.0.1", int(ingest.dsn.rpartition(":")[2].split("/")[0]), PROJECT),
            SENTRY_ENVIRONMENT=ENVIRONMENT,
            STORAGE_URL=bucket,
            SENTRY_TRACES_SAMPLE_RATE="1",
            CODE_VERSION=RELEASE,
            MAX_ATTEMPTS="2",
            LOG_LEVEL="DEBUG",
        ),
    )
    with programs(given | {"DJANGO_SETTINGS_MODULE": "tests.sentry_settings"}, folder / "logs") as held:
        held.start_broker()
        held.manage("migrate", "-v0")
        held.manage("collectstatic", "--noinput", "-v0")
        held.manage("shell", "-c", HOUR_AGO)
        held.start("web", "grab", "analyse", "beat")
        held.wait("the pages answer", lambda: ask(held, "/login/").status_code == 200)
        yield held


HOUR_AGO = """
from datetime import timedelta
from celery.beat import PersistentScheduler
from django.conf import settings
from project.celery import app
scheduler = PersistentScheduler(app=app, schedule_filename=settings.CELERY["beat_schedule_filename"])
entry = scheduler.schedule["prune"]
entry.last_run_at = entry.default_now() - timedelta(hours=2)
scheduler.sync()
scheduler.close()
"""  # beat was off for that long

UNEXPECTED = """
from django.core.files.base import ContentFile
from detection import correlation
from detection.models import Analysis
from tests.cast import a_media
from workers.tasks import send_analysis
with correlation.bound("ref-of-the-analysis"):
    analysis = Analysis.request(a_media())
    Analysis.objects.filter(pk=analysis.pk).update(params={"no such": "parameter"})
    analysis.refresh_from_db()
    send_analysis(analysis)
print(analysis.pk)
"""

CRASHED = """
from detection import correlation
from detection.models import Chunk
from tests.cast import a_media, a_running_analysis
from workers import crash
with correlation.bound("ref-of-the-crash"):
    analysis = a_running_analysis(a_media(b"a clip that crashes"))
Chunk.claim(analysis.chunks.first().pk, "gone:1")
crash.report_crash("gone:1", "Worker exited prematurely: signal 11 (SIGSEGV)")
"""

FAILING = """
from detection import correlation
from tests.sentry_site import failing
with correlation.bound("ref-of-the-task"):
    failing.apply_async((5,), queue="housekeeping")
"""


def ask(site: Programs, path: str, **more: object) -> requests.Response:
    address = f"http://127.0.0.1:{site.environment['PORT']}{path}"
    try:
        return requests.request(str(more.pop("method", "GET")), address, timeout=30, **more)  # type: ignore[arg-type]
    except requests.ConnectionError:
        answer = requests.Response()
        answer.status_code = 0
        return answer


def with_words(ingest: Ingest, words: str) -> list[dict[str, object]]:
    return [event for event, (_, said) in zip(ingest.events, ingest.errors(), strict=True) if words in said]


def is_ours(sent: dict[str, object]) -> bool:
    return (sent["release"], sent["environment"]) == (RELEASE, ENVIRONMENT)


def test_an_error_in_a_request_is_told_once_with_its_reference_and_without_its_secrets(
    site: Programs, ingest: Ingest
) -> None:
    answer = ask(
        site,
        f"/mistake?token={planted.CAMERA_TOKEN}&password={planted.WRONG_PASSWORD}&page=2",
        method="POST",
        headers={**planted.headers(), "X-Request-ID": "ref-of-the-request"},
        files={"file": ("yard.png", planted.UPLOAD.encode() * 100)},
        data={"password": planted.ADMIN_PASSWORD},
    )
    assert answer.status_code == 500
    site.wait("the error is told", lambda: with_words(ingest, "mistake with"), 30)
    time.sleep(1)  # a second one would have come with it
    (event,) = with_words(ingest, "mistake with")
    assert is_ours(event)
    assert event["tags"]["correlation_id"] == "ref-of-the-request"
    assert event["server_name"] == socket.gethostname()
    assert [value["type"] for value in event["exception"]["values"]] == ["OSError", "RuntimeError"]
    assert "page=2" in str(event["request"]["query_string"])
    assert not event["request"].get("data")
    assert "vars" not in event["exception"]["values"][-1]["stacktrace"]["frames"][-1]
    assert "user" not in event or not event["user"].get("username")


def test_an_error_in_an_analysis_is_told_once_after_its_last_attempt_with_its_reference(
    site: Programs, ingest: Ingest
) -> None:
    pk = site.manage("shell", "-c", UNEXPECTED).split()[-1]
    failed = f"from detection.models import Analysis; print('STATE', Analysis.objects.get(pk={pk}).state)"
    site.wait("it has failed", lambda: "STATE failed" in site.manage("shell", "-c", failed), 60)
    of_it = lambda: [event for event in ingest.events if tag(event) == "ref-of-the-analysis"]  # noqa: E731
    site.wait("the error is told", of_it, 30)
    time.sleep(1)
    (event,) = of_it()
    assert is_ours(event)
    assert event["logger"] == "workers.working"
    assert "no such" in event["exception"]["values"][-1]["value"]


def tag(event: dict[str, object]) -> str:
    return (event.get("tags") or {}).get("correlation_id", "")


def test_a_task_that_is_tried_again_is_told_of_when_it_has_failed_for_good(site: Programs, ingest: Ingest) -> None:
    site.manage("shell", "-c", FAILING)
    site.wait("the error is told", lambda: with_words(ingest, "failed at"), 30)
    time.sleep(1)
    (event,) = with_words(ingest, "failed at")
    assert is_ours(event)
    assert tag(event) == "ref-of-the-task"
    assert event["transaction"] == "tests.sentry_site.failing"
    assert event["extra"]["celery-job"]["args"] == "[Filtered]"


def test_a_process_that_died_over_its_work_is_told_of_with_the_reference_of_the_work(
    site: Programs, ingest: Ingest
) -> None:
    site.manage("shell", "-c", CRASHED)
    site.wait("it is told", lambda: with_words(ingest, "its process gone:1 died"), 30)
    (event,) = with_words(ingest, "its process gone:1 died")
    assert is_ours(event)
    assert tag(event) == "ref-of-the-crash"
    assert event["fingerprint"] == ["workers.crash", "_at_the_rows"]


def test_the_hourly_task_checks_in_when_beat_sends_it_and_when_it_is_done(site: Programs, ingest: Ingest) -> None:
    of_prune = lambda: [sent for sent in ingest.check_ins if sent["monitor_slug"] == "prune"]  # noqa: E731
    site.wait("it is done", lambda: "ok" in [sent["status"] for sent in of_prune()], 60)
    begun, done = of_prune()[:2]
    assert (begun["status"], done["status"]) == ("in_progress", "ok")
    assert begun["check_in_id"] == done["check_in_id"]
    assert begun["monitor_config"]["schedule"] == {"type": "interval", "value": 1, "unit": "hour"}
    assert is_ours(begun)
    assert is_ours(done)


def test_the_sweep_checks_in_once_a_minute_though_it_is_called_each_second(site: Programs, ingest: Ingest) -> None:
    of_sweep = lambda: [sent for sent in ingest.check_ins if sent["monitor_slug"] == "sweep"]  # noqa: E731
    site.wait("it is told", of_sweep, 60)
    before = len(of_sweep())
    time.sleep(4)
    assert len(of_sweep()) <= before + 1  # the next may just be due
    first = of_sweep()[0]
    assert first["status"] == "ok"
    assert first["monitor_config"]["schedule"] == {"type": "interval", "value": 1, "unit": "minute"}
    assert is_ours(first)
    assert {sent["monitor_slug"] for sent in ingest.check_ins} == {"sweep", "prune"}


def test_requests_and_tasks_are_timed_with_their_reference_but_not_the_sweep(site: Programs, ingest: Ingest) -> None:
    assert ask(site, "/login/", headers={"X-Request-ID": "ref-of-a-timed-request"}).status_code == 200
    timed = lambda: [sent for sent in ingest.of("transaction") if tag(sent) == "ref-of-a-timed-request"]  # noqa: E731
    site.wait("it is told", timed, 30)
    assert timed()[0]["transaction"] == "/login/"
    assert is_ours(timed()[0])
    names = {sent["transaction"] for sent in ingest.of("transaction")}
    assert not {"workers.tasks.sweep", "workers.tasks.tidy"} & names


def test_the_broker_may_be_away_without_an_event(site: Programs, ingest: Ingest) -> None:
    before, noticed = len(ingest.events), site.said().count("the broker at")
    site.stop("broker")
    time.sleep(6)
    site.start_broker()
    assert ask(site, "/login/").status_code == 200
    time.sleep(4)
    assert site.said().count("the broker at") > noticed  # else no event says little
    assert ingest.errors()[before:] == []


def test_no_secret_was_sent_and_nothing_that_the_protocol_refuses(site: Programs, ingest: Ingest) -> None:
    """The last of these, over all that the others sent."""
    assert ingest.refusals == []
    assert len(ingest.events) >= 3
    bodies = json.dumps([item.body for item in ingest.items], ensure_ascii=False)
    assert planted.found_in(bodies) == []
    # The envelopes around them name the key that they are sent with, as they must.
    headers = json.dumps([item.envelope for item in ingest.items], ensure_ascii=False)
    assert planted.found_in(headers.replace(planted.SENTRY_KEY, "")) == []


# ---- without one, and with one that is away

WATCHED = """
import logging, sys
asked = []
sys.addaudithook(lambda name, given: asked.append(given) if name in ("socket.connect", "socket.getaddrinfo") else None)
import django
django.setup()
from django.test import Client
client = Client(raise_request_exception=False, headers={"host": "localhost", "accept": "application/json"})
assert client.get("/mistake").status_code == 500
from wsgiref.util import setup_testing_defaults
from django.core.wsgi import get_wsgi_application
environ = {"PATH_INFO": "/nowhere", "HTTP_HOST": "localhost", "HTTP_ACCEPT": "application/json"}
setup_testing_defaults(environ)
get_wsgi_application()(environ, lambda *given: None).close()  # the client's own handler is never timed
try:
    raise RuntimeError("in a task")
except RuntimeError:
    logging.getLogger("workers.working").exception("it failed")
from workers import check_in
check_in.swept()
if "sentry_sdk" in sys.modules:
    sys.modules["sentry_sdk"].flush(5)
print("ASKED", len(asked), "LOADED", "sentry_sdk" in sys.modules)
"""


def watched(folder: Path, **more: str) -> str:
    (folder / "data").mkdir()
    given = environment(folder / "data", find_free_port(), CACHE_URL="local", **more)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        cwd=ROOT,
        env=given | {"DJANGO_SETTINGS_MODULE": "tests.sentry_settings"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_a_dsn_nothing_is_sent_and_the_library_is_not_even_loaded(tmp_path: Path) -> None:
    assert "ASKED 0 LOADED False" in watched(tmp_path)


def test_the_same_with_a_dsn_is_sent(tmp_path: Path) -> None:
    with sentry_ingest() as ingest:
        said = watched(tmp_path, SENTRY_DSN=ingest.dsn)
    assert "LOADED True" in said
    assert "ASKED 0" not in said
    assert sorted(name for name, _ in ingest.errors()) == ["RuntimeError", "RuntimeError"]
    assert [sent["monitor_slug"] for sent in ingest.check_ins] == ["sweep"]
    assert ingest.of("transaction") == []  # times are sent to whoever asks for them only


def test_of_the_errors_the_share_that_is_asked_for_is_sent(tmp_path: Path) -> None:
    with sentry_ingest() as ingest:
        watched(tmp_path, SENTRY_DSN=ingest.dsn, SENTRY_SAMPLE_RATE="0")
    assert [sent["monitor_slug"] for sent in ingest.check_ins] == ["sweep"]  # something was sent
    assert ingest.events == []


@pytest.fixture
def black_hole() -> Iterator[int]:
    """Takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


@pytest.mark.parametrize("how", ["silent", "refusing"])
def test_a_sentry_that_is_away_slows_nobody_down(how: str, black_hole: int, tmp_path: Path) -> None:
    port = black_hole if how == "silent" else find_free_port()
    (tmp_path / "data").mkdir()
    given = environment(
        tmp_path / "data", find_free_port(), CACHE_URL="local", SENTRY_DSN=planted.sentry_dsn("127.0.0.1", port)
    )
    with programs(given | {"DJANGO_SETTINGS_MODULE": "tests.sentry_settings"}, tmp_path / "logs") as held:
        held.start("web")
        plain = {"headers": {"Accept": "application/json"}}
        held.wait("the site answers", lambda: ask(held, "/mistake", **plain).status_code == 500)
        began = time.monotonic()
        for _ in range(20):
            assert ask(held, "/mistake", **plain).status_code == 500
        assert time.monotonic() - began < 20 * PATIENCE  # one that waited for its answer would take 30 s for each
        began = time.monotonic()
        held.stop("web")
        assert time.monotonic() - began < 20 * PATIENCE
        assert planted.found_in(held.said().replace(planted.CAMERA_TOKEN, "")) == []
