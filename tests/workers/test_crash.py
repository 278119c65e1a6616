"""What the main process does when one of its processes dies; with real processes in tests/story."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from billiard.exceptions import WorkerLostError
from django.db import InterfaceError, OperationalError
from kombu.utils.imports import symbol_by_name

from detection import correlation
from detection.models import Analysis, Chunk, Proxy
from tests.cast import a_media, a_running_analysis
from tests.heard import listening
from workers import crash, outcome, stopping, tasks

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _keeps_its_connection(monkeypatch):
    """Closing it would end the test's transaction."""
    monkeypatch.setattr(crash.connections, "close_all", lambda: None)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("Worker exited prematurely: signal 11 (SIGSEGV) Job: 3.", "it crashed (SIGSEGV)"),
        (
            "Worker exited prematurely: signal 9 (SIGKILL) Job: 0.",
            "it was killed (SIGKILL), by the system for want of memory or by a person",
        ),
        ("Worker exited prematurely: signal 15 (SIGTERM) Job: 0.", "it was ended by SIGTERM"),
        ("Worker exited prematurely: exitcode 7 Job: 0.", "it left with code 7"),
        ("Something else.", "it was gone"),
    ],
)
def test_a_death_is_said_in_words(error, words):
    assert crash.in_words(error) == words


def test_the_log_says_of_what_it_died(caplog):
    Chunk.claim(a_running_analysis().chunks.first().pk, "host:7")
    crash.report_crash("host:7", "Worker exited prematurely: signal 11 (SIGSEGV) Job: 3.")
    said = "its process host:7 died: The worker process ended over it: it crashed (SIGSEGV)."
    assert said in caplog.text


def test_all_that_the_process_had_is_free_at_once_and_nothing_of_others():
    chunk, of_another = a_running_analysis().chunks.all()
    planning = Analysis.request(a_media(b"planning"))
    copying = Proxy.objects.create(media=a_media(b"copying"))
    Chunk.claim(chunk.pk, "host:7")
    Chunk.claim(of_another.pk, "host:8")
    Analysis.claim(planning.pk, "host:7")
    Proxy.claim(copying.pk, "host:7")
    crash.report_crash("host:7", "Worker exited prematurely: signal 11 (SIGSEGV) Job: 3.")
    for row in (chunk, planning, copying):
        row.refresh_from_db()
        assert (row.state, row.lease) == ("queued", None)
        assert row.error == "The worker process ended over it: it crashed (SIGSEGV)."
    of_another.refresh_from_db()
    assert of_another.state == "running"


def test_what_takes_longer_than_the_limit_in_native_code_has_failed_for_good(settings):
    settings.TASK_TIME_LIMIT_S = 120
    chunk = a_running_analysis().chunks.first()
    Chunk.claim(chunk.pk, "host:7")
    crash.report_too_long("host:7")
    chunk.refresh_from_db()
    assert (chunk.state, chunk.error_kind) == ("failed", "too_long")
    assert "2 minutes" in chunk.error


def test_a_copy_that_takes_too_long_names_its_own_setting(settings):
    settings.PROXY_TIME_LIMIT_S = 7200
    copying = Proxy.objects.create(media=a_media())
    Proxy.claim(copying.pk, "host:7")
    crash.report_too_long("host:7")
    copying.refresh_from_db()
    assert copying.error == "It took longer than 120 minutes: raise PROXY_TIME_LIMIT_S, then retry."


def test_what_ends_because_its_worker_stops_is_no_crash():
    chunk = a_running_analysis().chunks.first()
    Chunk.claim(chunk.pk, "host:7")
    stopping.say()
    try:
        crash.report_crash("host:7", "Worker exited prematurely: signal 9 (SIGKILL) Job: 3.")
    finally:
        stopping.unsay()
    chunk.refresh_from_db()
    assert (chunk.state, chunk.attempts) == ("queued", 0)


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("connection already closed")])
def test_with_the_database_away_the_lease_says_it_later(error, monkeypatch, caplog):
    def away(*_, **__):
        raise error

    monkeypatch.setattr(Chunk, "crashed", away)
    with caplog.at_level(logging.ERROR):
        crash.report_crash("host:7", "Worker exited prematurely: signal 9 (SIGKILL) Job: 3.")
    assert "host:7" in caplog.text


@pytest.fixture
def request_of(monkeypatch):
    """Celery's request of a task in the main process, whose own part is left out; and whether that part was called."""
    called = []
    monkeypatch.setattr(crash.Request, "on_failure", lambda *_, **__: called.append("failure"))
    monkeypatch.setattr(crash.Request, "on_timeout", lambda *_, **__: called.append("timeout"))

    def _request_of(task):
        request = object.__new__(symbol_by_name(task.Request))
        request.worker_pid, request.name = 4711, task.name
        request._request_dict, request._args, request._delivery_info, request.id = {}, (7,), {}, "one"
        return request, called

    return _request_of


@pytest.mark.parametrize("how", ["crashed", "too long"])
def test_all_that_the_main_process_says_of_a_dead_task_has_the_id_of_its_message(request_of, monkeypatch, how):
    log = logging.getLogger("celery.worker.request")
    monkeypatch.setattr(crash.Request, "on_failure", lambda *_, **__: log.error("Celery's own line"))
    monkeypatch.setattr(crash.Request, "on_timeout", lambda *_, **__: log.error("Celery's own line"))
    request, _ = request_of(tasks.analyse_chunk)
    request._request_dict = {correlation.MESSAGE_HEADER: "upload-1", "retries": 2}
    with listening("workers.trail", log.name) as heard:
        if how == "crashed":
            request.on_failure(SimpleNamespace(exception=WorkerLostError("signal 11 (SIGSEGV)")))
        else:
            request.on_timeout(False, 120)
    assert [said_under for _, said_under in heard.lines] == ["upload-1", "upload-1"]
    facts = heard.facts("workers.trail")
    assert (facts["outcome"], facts["pk"], facts["attempt"]) == (how, 7, 3)


@pytest.mark.parametrize("task", [tasks.analyse, tasks.analyse_chunk, tasks.finish, tasks.make_proxy])
def test_the_main_process_tells_of_the_death_as_soon_as_it_sees_it(task, request_of):
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, crash.process_name(4711))
    request, called = request_of(task)
    lost = WorkerLostError("Worker exited prematurely: signal 11 (SIGSEGV) Job: 3.")
    request.on_failure(SimpleNamespace(exception=lost))
    chunk.refresh_from_db()
    assert (chunk.state, chunk.error) == ("queued", "The worker process ended over it: it crashed (SIGSEGV).")
    assert called == ["failure"]


def test_another_failure_is_the_works_own_to_tell(request_of):
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, crash.process_name(4711))
    request, called = request_of(tasks.analyse_chunk)
    request.on_failure(SimpleNamespace(exception=ValueError("wrong")))
    chunk.refresh_from_db()
    assert (chunk.state, called) == ("running", ["failure"])


def test_work_that_is_ended_at_its_time_limit_has_failed_and_names_the_setting(request_of):
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, crash.process_name(4711))
    request, called = request_of(tasks.analyse_chunk)
    request.on_timeout(True, 60)  # the soft one, which the work itself sees
    chunk.refresh_from_db()
    assert chunk.state == "running"
    request.on_timeout(False, 120)
    chunk.refresh_from_db()
    assert (chunk.state, chunk.error_kind) == ("failed", "too_long")
    assert "TASK_TIME_LIMIT_S" in chunk.error
    assert called == ["timeout", "timeout"]


def test_what_a_worker_that_is_ended_from_outside_had_is_free_and_counts_no_attempt(monkeypatch):
    chunk = Chunk.claim(a_running_analysis().chunks.first().pk, crash.process_name(4711))
    monkeypatch.setattr(crash.state, "should_terminate", 0)
    crash.report_crash(crash.process_name(4711), "signal 9 (SIGKILL)")
    chunk.refresh_from_db()
    assert (chunk.state, chunk.attempts) == ("queued", 0)


@pytest.mark.parametrize(("stops", "how"), [(False, outcome.CRASHED), (True, outcome.HANDED_BACK)])
def test_only_who_dies_by_itself_counts_as_crashed(request_of, monkeypatch, stops, how):
    """Or somebody would be called for each worker that is stopped while it is busy."""
    died: list[str] = []
    monkeypatch.setattr(crash.trail, "died", lambda _request, how: died.append(how))
    monkeypatch.setattr(stopping, "is_said", lambda: stops)
    request, _ = request_of(tasks.analyse_chunk)
    request.on_failure(SimpleNamespace(exception=WorkerLostError("signal 9 (SIGKILL)")))
    assert died == [how]
