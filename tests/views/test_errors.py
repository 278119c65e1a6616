"""Every error is said once in words that say what to do, and is one line in the log."""

from __future__ import annotations

import errno
import logging
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.files.storage import default_storage
from django.db import InterfaceError, OperationalError
from django.http import Http404, UnreadablePostError
from django.test import Client

from detection import correlation
from detection.views.faults import fault_of, is_mistake
from tests.cast import a_media
from tests.heard import listening

REFERENCE = "0123456789abcdef"


class Fails:
    """Makes the overview raise something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
        self._monkeypatch = monkeypatch
        self.client = client
        client.raise_request_exception = False

    def with_(self, error: BaseException, **headers: str):
        def fall(*_: object, **__: object) -> None:
            raise error

        self._monkeypatch.setattr("detection.views.home.entries", fall)
        return self.client.get("/", headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture
def overview(monkeypatch: pytest.MonkeyPatch, viewer: Client) -> Fails:
    return Fails(monkeypatch, viewer)


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(correlation, "current", lambda: REFERENCE)
    return REFERENCE


def a_full_disk() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


FAULTS = [
    (PermissionDenied(), 403, "may not do this"),
    (Http404(), 404, "nothing at this address"),
    (RuntimeError("a mistake"), 500, "written to the log"),
    (OperationalError("connection refused"), 503, "database cannot be reached"),
    (OperationalError("database is locked"), 503, "database cannot be reached"),
    (InterfaceError("connection already closed"), 503, "database cannot be reached"),
    (OperationalError("no such table: detection_media"), 500, "written to the log"),
    (OperationalError("database or disk is full"), 507, "disk is full"),
    (a_full_disk(), 507, "disk is full"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), 507, "disk is full"),
    (OSError(errno.EIO, "Input/output error"), 503, "where pictures and clips are kept"),
    (PermissionError(errno.EACCES, "Permission denied", default_storage.path("a/b")), 503, "where pictures and clips"),
    (PermissionError(errno.EACCES, "Permission denied", "/var/log/nightjar/nightjar.log"), 500, "written to the log"),
    (PermissionError(errno.EACCES, "Permission denied"), 500, "written to the log"),  # a socket's
    (OSError(errno.ESTALE, "Stale file handle"), 503, "where pictures and clips are kept"),
    (UnreadablePostError("gone"), 400, "cut off on its way"),
]


@pytest.mark.parametrize(("error", "status", "said"), FAULTS, ids=lambda value: str(value)[:40])
def test_each_fault_has_its_status_page_and_sentence(
    overview: Fails, reference: str, error: Exception, status: int, said: str
) -> None:
    page = overview.with_(error)
    assert page.status_code == status
    assert said in page.text
    assert "site.css" in page.text
    assert f"<code>{reference}</code>" in page.text
    script = overview.with_(error, accept="application/json")
    assert script.status_code == status
    assert said in script.json()["error"]
    assert script.json()["reference"] == reference
    part = overview.with_(error, hx_request="true")
    assert part.status_code == status
    assert part["Content-Type"].startswith("text/plain")
    assert said in part.text
    assert (reference in part.text) == (status >= 500)
    assert [page[name] for name in ("Cache-Control",)] == ["no-store"] or status in (403, 404)
    if status == 503:
        assert int(page["Retry-After"]) > 0


def test_the_technical_words_stay_in_the_log(overview: Fails, caplog: pytest.LogCaptureFixture) -> None:
    for error in (RuntimeError("inner words"), OperationalError("inner words"), a_full_disk()):
        assert "inner words" not in overview.with_(error).text
        assert "No space left" not in overview.with_(error).text
    assert "inner words" in caplog.text


@pytest.mark.parametrize(("error", "status", "said"), FAULTS, ids=lambda value: str(value)[:40])
def test_each_is_logged_once(
    overview: Fails, caplog: pytest.LogCaptureFixture, error: Exception, status: int, said: str
) -> None:
    caplog.set_level(logging.INFO)
    overview.with_(error)
    lines = [record for record in caplog.records if getattr(record, "status_code", getattr(record, "status", 0))]
    with_traceback = [record for record in lines if record.exc_info]
    assert len(with_traceback) == (status == 500)
    assert len([record for record in lines if not record.exc_info]) <= 1
    levels = {record.levelno for record in lines}
    assert levels == {logging.ERROR if status >= 500 else logging.INFO if status == 404 else logging.WARNING}


def test_a_cause_within_is_found() -> None:
    outer = RuntimeError("could not keep it")
    outer.__cause__ = a_full_disk()
    assert fault_of(outer).status == 507
    looped = RuntimeError("a")
    looped.__cause__ = RuntimeError("b")
    looped.__cause__.__cause__ = looped
    assert fault_of(looped).status == 500
    assert fault_of(None).status == 500


def test_a_mistake_that_is_made_while_a_fault_is_dealt_with_keeps_its_traceback(
    overview: Fails, caplog: pytest.LogCaptureFixture
) -> None:
    """People are told what is away; whoever mends the mistake needs the place."""
    mistake = KeyError("of ours")
    mistake.__context__ = OperationalError("connection refused")
    assert overview.with_(mistake).status_code == 503
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [mistake]


def test_what_was_raised_of_a_fault_or_in_spite_of_it_is_what_was_said() -> None:
    away = OperationalError("connection refused")
    named, silent = RuntimeError("of it"), RuntimeError("in spite of it")
    named.__cause__, named.__context__ = away, a_full_disk()
    silent.__context__, silent.__suppress_context__ = away, True
    assert (fault_of(named).status, is_mistake(named)) == (503, False)
    assert (fault_of(silent).status, is_mistake(silent)) == (500, True)
    named.__cause__ = ValueError("a cause that is no fault")
    assert fault_of(named).status == 500


def test_a_request_in_a_way_that_nothing_takes_is_told_which_would_do(viewer: Client, reference: str) -> None:
    page = viewer.post("/media/")
    assert page.status_code == 405
    assert page["Allow"] == "GET, HEAD"
    assert "This address takes GET, HEAD and not POST" in page.text
    assert 'aria-label="Main"' in page.text
    assert "frame-ancestors 'self'" in page["Content-Security-Policy"]
    assert int(page["Content-Length"]) == len(page.content)
    script = viewer.post("/media/", headers={"accept": "application/json"})
    assert script.status_code == 405
    assert script["Allow"] == "GET, HEAD"
    assert script.json() == {"error": script.json()["error"], "reference": reference}
    assert "takes GET, HEAD" in script.json()["error"]
    part = viewer.post("/media/", headers={"hx-request": "true"})
    assert part["Content-Type"].startswith("text/plain")
    assert int(part["Content-Length"]) == len(part.content) > 0


def test_a_page_keeps_its_navigation_where_the_user_is_known(viewer: Client) -> None:
    for answer in (viewer.get("/nowhere/"), viewer.get("/upload/")):
        assert answer.status_code in (403, 404)
        assert 'aria-label="Main"' in answer.text
        assert "To the overview" in answer.text
    assert 'aria-label="Main"' not in Client().get("/nowhere/").text


def test_an_error_page_does_without_the_database(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is logged in cannot be found out, and the page comes all the same."""

    def away(*_: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore.load", away)
    viewer.raise_request_exception = False
    lost = viewer.get("/nowhere/")
    assert lost.status_code == 404
    assert "site.css" in lost.text
    page = viewer.get("/media/")
    assert page.status_code == 503
    assert page["Retry-After"] == "5"
    assert "database cannot be reached" in page.text
    assert viewer.get("/login/").status_code in (200, 503)


def test_a_storage_server_that_is_away_is_503(
    viewer: Client, monkeypatch: pytest.MonkeyPatch, settings, tmp_path
) -> None:
    """A real client against a port where nobody listens."""
    from storages.backends.s3 import S3Storage

    from project.storage import from_url

    media = a_media()
    bucket = S3Storage(**from_url("s3://KEY:SECRET@127.0.0.1:9/bucket?tls=false")["OPTIONS"])
    monkeypatch.setattr(default_storage, "_wrapped", bucket)
    viewer.raise_request_exception = False
    answer = viewer.get(f"/media/{media.pk}/file")
    assert answer.status_code == 503
    assert "where pictures and clips are kept" in answer.text
    assert "SECRET" not in answer.text


def test_a_storage_folder_that_is_closed_to_us_is_503(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    media = a_media()

    def closed(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", media.file.path)

    monkeypatch.setattr("django.core.files.storage.filesystem.FileSystemStorage._open", closed)
    viewer.raise_request_exception = False
    answer = viewer.get(f"/media/{media.pk}/file")
    assert answer.status_code == 503
    assert media.file.path not in answer.text


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "nonsense", "a/b;q=x", ",;,", "application/json;q=0"])
def test_whatever_is_accepted_gets_an_answer(viewer: Client, accept: str) -> None:
    assert viewer.get("/nowhere/", headers={"accept": accept}).status_code == 404


def test_robots_do_not_drown_the_log(viewer: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for number in range(5):
        viewer.get(f"/wp-admin/{number}.php")
    assert caplog.records
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_a_path_begins_no_line_of_its_own(viewer: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    viewer.get("/nowhere/%0a2026-01-01 ERROR a line/")
    assert caplog.records
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_no_page_of_an_error_is_empty_of_what_to_do(db: None) -> None:
    """The words of all of them, at once."""
    from detection.views import errors, faults, limits

    said = [faults.DATABASE_AWAY, faults.STORAGE_AWAY, faults.DISK_FULL, faults.MISTAKE]
    for sentence in [fault.sentence for fault in said] + [errors.NOT_UNDERSTOOD, errors.FORM]:
        assert re.search(r"[Tt]ry again|[Tt]ell an administrator|Go back", sentence)
    assert limits.in_words(1) == "1 second"
    assert limits.in_words(89) == "89 seconds"
    assert limits.in_words(901) == "16 minutes"


def test_a_user_without_a_group_is_told_whom_to_ask(visit) -> None:
    answer = visit("").get("/cameras/")
    assert answer.status_code == 403
    assert "Ask an administrator" in answer.text
    assert User.objects.count() == 1


def test_a_form_that_is_larger_than_any_form_is_413(viewer: Client) -> None:
    body = b"username=" + b"x" * 3_000_000
    answer = viewer.generic("POST", "/login/", body, content_type="application/x-www-form-urlencoded")
    assert answer.status_code == 413
    assert "more in it than is taken at once" in answer.text


NOT_TAKEN = [
    ({"path": "/login/", "headers": {"host": "evil.example"}}, 400, "could not understand this request"),
    ({"path": "/login/?a=%00"}, 400, "could not understand this request"),
    ({"path": "/login/", "method": "POST", "data": b"x" * 70_000}, 413, "Log in first"),
]


@pytest.mark.parametrize(("asked", "status", "said"), NOT_TAKEN, ids=["a strange host", "a NUL", "too long a body"])
@pytest.mark.django_db
def test_what_is_refused_before_any_view_is_told_in_the_sites_look_and_in_json(
    reference: str, asked: dict[str, Any], status: int, said: str
) -> None:
    asked = {"method": "GET", "content_type": "application/x-www-form-urlencoded", "headers": {}} | asked
    page = Client().generic(**asked)
    assert page.status_code == status
    assert page["Content-Type"].startswith("text/html")
    assert said in page.text
    assert "site.css" in page.text
    assert f"<code>{reference}</code>" in page.text
    script = Client().generic(**asked | {"headers": asked["headers"] | {"accept": "application/json"}})
    assert script.status_code == status
    assert script.json() == {"error": script.json()["error"], "reference": reference}
    assert said in script.json()["error"]


TOO_LONG = "Log in first: this is more than is taken from somebody who is not logged in."


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [(b"username=a", 403, "CSRF: CSRF cookie not set."), (b"x" * 70_000, 413, TOO_LONG)],
    ids=["a form without its token", "too long a body"],
)
@pytest.mark.django_db
def test_a_refusal_of_ours_is_one_line_with_its_reason(body: bytes, status: int, reason: str) -> None:
    client = Client(enforce_csrf_checks=True)
    with listening("detection.requests", "detection.refusals", "django.request", "django.security") as heard:
        answer = client.post("/login/", body, content_type="application/x-www-form-urlencoded")
    assert answer.status_code == status
    assert [record.name for record, _ in heard.lines] == ["detection.requests"]
    facts = heard.facts("detection.requests")
    assert (facts["levelname"], facts["status"], facts["reason"]) == ("WARNING", status, reason)


def test_a_page_comes_without_its_style_where_nobody_knows_its_name(overview: Fails, settings) -> None:
    """Before `collectstatic`: a fault must not hide behind another."""
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "project.static.HashedStaticFilesStorage"}}
    page = overview.with_(OperationalError("connection refused"))
    assert page.status_code == 503
    assert "database cannot be reached" in page.text
    assert "site.css" not in page.text
