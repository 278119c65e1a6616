"""Each request has its correlation id and one line in the log, which says how it ended and where its time went."""

from __future__ import annotations

import logging
from io import BytesIO

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory

from detection import correlation
from detection.models import Analysis
from detection.timing import tallied
from detection.views.request_line import RequestLine, TimedBody, level_of
from project import logs
from tests.cast import a_done_analysis, a_media
from tests.heard import Heard, listening
from tests.views.conftest import Queue
from tests.views.files import a_jpeg

NAME = "detection.requests"


@pytest.fixture
def heard():
    with listening(NAME) as heard:
        yield heard


# The id


def test_the_id_that_comes_with_a_request_goes_with_its_answer(viewer: Client) -> None:
    assert viewer.get("/", headers={"X-Request-ID": "proxy-17.a_b"}).headers["X-Request-ID"] == "proxy-17.a_b"


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 65, "<script>", "a\tb"])
def test_else_it_is_a_new_one(viewer: Client, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given}
    ids = {viewer.get("/", headers=headers).headers["X-Request-ID"] for _ in range(2)}
    assert len(ids) == 2
    assert given not in ids


def test_also_what_is_refused_before_any_view_has_one() -> None:
    for path in ("/login/", "/no/such/page", "/health/live", "/static/nightjar/none.css"):
        answer = Client().get(path, headers={"X-Request-ID": "probe-1"})
        assert answer.headers["X-Request-ID"] == "probe-1", path
    assert Client().get("/", headers={"host": "evil.example", "X-Request-ID": "probe-1"})["X-Request-ID"] == "probe-1"


def test_what_an_upload_makes_has_the_id_and_the_page_shows_it(
    operator: Client, queue: Queue, incoming: object
) -> None:
    file = SimpleUploadedFile("yard.jpg", a_jpeg())
    operator.post("/upload/", {"files": [file]}, headers={"X-Request-ID": "upload-7"})
    analysis = Analysis.objects.get()
    assert analysis.correlation_id == "upload-7"
    page = operator.get(analysis.get_absolute_url()).text
    assert "Reference" in page
    assert "upload-7" in page
    assert "<dt>Reference" not in viewer_page(operator, a_done_analysis())


def viewer_page(client: Client, analysis: Analysis) -> str:
    """Of an analysis that was made before there were ids."""
    Analysis.objects.filter(pk=analysis.pk).update(correlation_id="")
    return client.get(analysis.get_absolute_url()).text


# The line


def test_a_request_is_one_line_with_all_that_is_known_of_it(viewer: Client, heard: Heard) -> None:
    answer = viewer.get("/media/?label=car", headers={"X-Request-ID": "abc"})
    facts = heard.facts(NAME)
    assert heard.ids(NAME) == ["abc"]
    assert (facts["levelname"], facts["method"], facts["path"], facts["status"]) == ("INFO", "GET", "/media/", 200)
    assert facts["user_id"] == int(viewer.session["_auth_user_id"])
    assert facts["client"] == "127.0.0.1"
    assert facts["bytes"] == len(answer.content)
    assert facts["duration_ms"] >= facts["db_ms"] >= 0
    assert facts["db_queries"] > 0
    assert "reason" not in facts


@pytest.mark.django_db
def test_nobodys_request_costs_no_statement_for_its_line(heard: Heard, django_assert_num_queries) -> None:
    with django_assert_num_queries(0):
        Client().get("/login/")
    assert (heard.facts(NAME)["user_id"], heard.facts(NAME)["db_queries"]) == (None, 0)


@pytest.mark.parametrize(
    ("path", "status", "level"),
    [
        ("/login/", 200, "INFO"),
        ("/", 302, "INFO"),
        ("/no/such/page", 404, "INFO"),
        ("/health/live", 200, "DEBUG"),
        ("/favicon.ico", 302, "DEBUG"),
        ("/metrics", 401, "WARNING"),
    ],
)
@pytest.mark.django_db
def test_how_loud_a_line_is_goes_by_the_answer(heard: Heard, path: str, status: int, level: str) -> None:
    assert Client().get(path).status_code == status
    assert heard.facts(NAME)["levelname"] == level


@pytest.mark.parametrize(
    ("status", "path", "level"),
    [
        (200, "/static/nightjar/site.css", logging.DEBUG),
        (404, "/static/nightjar/none.css", logging.INFO),
        (503, "/health/ready", logging.WARNING),
        (503, "/media/", logging.ERROR),
        (500, "/", logging.ERROR),
        (429, "/login/", logging.WARNING),
        (403, "/metrics", logging.WARNING),
        (304, "/media/1/file", logging.INFO),
    ],
)
def test_what_is_asked_all_day_by_machines_is_quiet_while_it_is_well(status: int, path: str, level: int) -> None:
    assert level_of(status, path) == level


def test_a_mistake_in_a_form_is_no_warning(operator: Client, heard: Heard) -> None:
    assert operator.post("/cameras/new", {"name": ""}).status_code == 422
    assert heard.facts(NAME)["levelname"] == "INFO"


def test_what_a_page_may_not_show_is_a_warning_with_its_reason_and_nothing_else_is_said(
    viewer: Client, heard: Heard
) -> None:
    viewer.get("/cameras/new")
    facts = heard.facts(NAME)
    assert (facts["levelname"], facts["status"]) == ("WARNING", 403)
    assert "Your account may not" in facts["reason"]


@pytest.mark.django_db
def test_djangos_own_line_becomes_the_reason() -> None:
    request = RequestFactory().get("/x")
    kept = logs.SaidByTheRequest()

    def refuse(request) -> HttpResponse:
        said = logging.makeLogRecord(
            {"name": "django.security.csrf", "msg": "Forbidden (%s)", "args": ("CSRF cookie not set.",)}
        )
        said.request = request
        assert not kept.filter(said)
        return HttpResponse(status=403)

    with listening(NAME) as heard:
        RequestLine(refuse)(request).close()
    assert heard.facts(NAME)["reason"] == "Forbidden (CSRF cookie not set.)"


def test_djangos_own_line_stays_where_it_has_a_traceback_or_nobody_else_says_it() -> None:
    kept = logs.SaidByTheRequest()
    request = RequestFactory().get("/x")
    facts = {"name": "django.request", "msg": "Internal Server Error: /x", "status_code": 500, "request": request}
    assert kept.filter(logging.makeLogRecord(facts))
    request.line = object()
    error = (ValueError, ValueError("bad"), None)
    assert kept.filter(logging.makeLogRecord(facts | {"exc_info": error}))
    assert not kept.filter(logging.makeLogRecord(facts))
    assert kept.filter(logging.makeLogRecord(facts | {"name": "workers.steps"}))


@pytest.mark.django_db
def test_a_path_begins_no_line_of_its_own(heard: Heard) -> None:
    Client().get("/%0a{%22level%22}/" + "x" * 1000)
    facts = heard.facts(NAME)
    assert facts["path"].startswith("/\\n{")
    assert len(facts["path"]) < 320


@pytest.mark.django_db
def test_what_is_streamed_has_its_line_when_all_of_it_is_sent() -> None:
    def stream(request) -> StreamingHttpResponse:
        return StreamingHttpResponse(iter([b"one", b"two"]))

    with listening(NAME) as heard:
        response = RequestLine(stream)(RequestFactory().get("/file", headers={"X-Request-ID": "abc"}))
        assert heard.lines == []
        assert b"".join(response) == b"onetwo"
        assert heard.lines == []
        response.close()
        response.close()
    assert heard.ids(NAME) == ["abc"]
    assert correlation.current() == ""


@pytest.mark.django_db
def test_what_is_said_and_asked_while_an_answer_is_streamed_belongs_to_its_request(settings) -> None:
    settings.SLOW_QUERY_S = 0

    def parts():
        for _ in range(2):
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            yield b"x"

    with listening(NAME, "detection.slow") as heard:
        response = RequestLine(lambda _: StreamingHttpResponse(parts()))(
            RequestFactory().get("/file", headers={"X-Request-ID": "abc"})
        )
        for _ in response:
            assert correlation.current() == "", "the web server's own"
        response.close()
    assert heard.ids("detection.slow") == ["abc", "abc"]
    assert (heard.facts(NAME)["db_queries"], heard.facts(NAME)["levelname"]) == (2, "INFO")


@pytest.mark.django_db
def test_an_answer_that_breaks_off_is_an_error_with_its_reason_though_its_status_was_sent(heard: Heard) -> None:
    def parts():
        yield b"one"
        raise OSError("the storage is\naway")

    response = RequestLine(lambda _: StreamingHttpResponse(parts()))(
        RequestFactory().get("/file", headers={"X-Request-ID": "abc"})
    )
    with pytest.raises(OSError, match="away"):
        list(response)
    response.close()
    facts = heard.facts(NAME)
    assert (facts["levelname"], facts["status"], heard.ids(NAME)) == ("ERROR", 200, ["abc"])
    assert facts["reason"] == "OSError: the storage is away"
    assert heard.of(NAME)[0].getMessage() == "GET /file 200 broke off"


@pytest.mark.django_db
def test_whoever_goes_away_in_the_middle_breaks_nothing_off(heard: Heard) -> None:
    closed = []

    class Parts:
        def __iter__(self):
            return iter([b"one", b"two"])

        def close(self) -> None:
            closed.append(True)

    response = RequestLine(lambda _: StreamingHttpResponse(Parts()))(RequestFactory().get("/file"))
    assert next(iter(response)) == b"one"
    response.close()
    assert heard.facts(NAME)["levelname"] == "INFO"
    assert closed == [True]


@pytest.mark.django_db
def test_a_file_that_the_web_server_sends_by_itself_is_left_to_it(heard: Heard) -> None:
    file = BytesIO(b"a file")
    response = RequestLine(lambda _: FileResponse(file))(RequestFactory().get("/static/x.css"))
    assert response.file_to_stream is file
    assert response.getvalue() == b"a file"
    response.close()
    assert heard.facts(NAME)["status"] == 200


# Where the time went


def test_a_slow_request_is_a_warning_that_says_where_its_time_went(viewer: Client, heard: Heard, settings) -> None:
    settings.SLOW_REQUEST_S = 0.000001
    viewer.get("/media/")
    facts = heard.facts(NAME)
    assert (facts["levelname"], facts["is_slow"], facts["view"]) == ("WARNING", True, "media_list")
    assert {"db_ms", "db_queries", "body_ms", "send_ms", "other_ms"} <= set(facts)
    assert " took " in heard.of(NAME)[0].getMessage()


@pytest.mark.django_db
def test_what_the_other_side_takes_is_not_ours(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload over a slow line, and a clip that somebody watches, are not slow pages."""
    settings.SLOW_REQUEST_S = 0.3
    now = 1000.0  # no real clock: on a busy machine our own part may take as long
    monkeypatch.setattr("detection.views.request_line.perf_counter", lambda: now)

    class SlowLine(BytesIO):
        def read(self, *size: int) -> bytes:
            nonlocal now
            now += 0.4
            return super().read(*size)

    def view(request) -> HttpResponse:
        assert request.read() == b"x=1"
        return HttpResponse("ok")

    request = RequestFactory().post("/upload/", b"x=1", content_type="application/octet-stream")
    request._stream = SlowLine(b"x=1")
    with listening(NAME) as heard:
        response = RequestLine(view)(request)
        now += 0.4
        response.close()
    facts = heard.facts(NAME)
    assert facts["levelname"] == "INFO"
    assert "is_slow" not in facts
    assert (facts["body_ms"], facts["send_ms"], facts["duration_ms"]) == (400, 400, 800)


def test_a_request_without_a_body_is_left_as_it_is() -> None:
    request = RequestFactory().get("/")
    before = request._stream
    TimedBody(request)
    assert request._stream is before


@pytest.mark.django_db
def test_a_slow_statement_is_logged_without_its_values(settings) -> None:
    settings.SLOW_QUERY_S = 0.000001
    with listening("detection.slow") as heard, correlation.bound("abc"), connection.cursor() as cursor:
        cursor.execute("SELECT %s", ["s3cret"])
    facts = heard.facts("detection.slow")
    assert (facts["levelname"], facts["sql"], heard.ids("detection.slow")) == ("WARNING", "SELECT %s", ["abc"])
    assert "s3cret" not in str(facts)
    settings.SLOW_QUERY_S = 60
    with listening("detection.slow") as heard, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert heard.lines == []


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_commit_is_measured_too_for_there_the_disk_is_waited_for(settings) -> None:
    settings.SLOW_QUERY_S = 0
    connection.close()
    connection.ensure_connection()  # another is watched anew, and still measured once
    with listening("detection.slow") as heard, tallied() as tally, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    said = [record.sql for record in heard.of("detection.slow")]
    assert said == [*said[:-1], "COMMIT"]
    assert said.count("COMMIT") == 1
    assert tally.statements == len(said) - 1, "it is no statement of ours"


def test_a_media_that_is_fetched_is_one_line(viewer: Client, heard: Heard) -> None:
    media = a_media(b"a clip")
    response = viewer.get(f"/media/{media.pk}/file")
    assert b"".join(response.streaming_content if response.streaming else [response.content]) == b"a clip"
    response.close()
    assert heard.facts(NAME)["status"] == 200
