"""Flower behind the site's own login: who may ask what, what is passed on, what is said where it does not answer."""

from __future__ import annotations

import base64
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from django.test import Client

from detection.views import flower
from tests.cast import a_user
from tests.views.conftest import Visit

HERE = {"HTTP_ORIGIN": "http://testserver", "HTTP_SEC_FETCH_SITE": "same-origin"}
SCRIPT = {"HTTP_X_REQUESTED_WITH": "XMLHttpRequest"}
RESTART = "/flower/api/worker/pool/restart/analyse@host"


class Wire:
    """What stands in for Flower on its socket: it notes what it was asked, and answers as the test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.status = 200
        self.headers: dict[str, str] = {"Content-Type": "text/html; charset=UTF-8"}
        self.body = b"<h1>Workers</h1>"
        self.says_length = True
        self.before_answering: Callable[[], object] = lambda: None


@pytest.fixture
def wire(settings) -> Iterator[Wire]:
    found = Wire()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            found.asked.append((self.command, self.path, dict(self.headers), body))
            found.before_answering()
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            if found.says_length:
                self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(found.body)

        do_POST = do_HEAD = do_GET  # noqa: N815 (the library's names)

        def address_string(self) -> str:
            return "a Unix socket"

        def log_message(self, *_: object) -> None:
            pass

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # who asked is gone, which some tests want

    with tempfile.TemporaryDirectory(prefix="flower") as folder:
        path = Path(folder) / "flower.sock"
        settings.FLOWER_URL = f"unix://{path}"
        with Server(str(path), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            yield found
            server.shutdown()
            thread.join()


@pytest.fixture
def superuser(db) -> Client:
    user = a_user()
    user.is_superuser = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture(autouse=True)
def _all_places_are_free_afterwards() -> Iterator[None]:
    """What an answer holds is given back, however it ended."""
    yield
    taken = [flower._places.acquire(blocking=False) for _ in range(flower.AT_ONCE)]
    for _ in filter(None, taken):
        flower._places.release()
    assert all(taken)


def read(answer) -> str:
    """As the web server reads an answer: to its end, and then it closes it."""
    text = answer.getvalue().decode()
    answer.close()
    return text


# ---- who may


def test_an_operator_sees_what_flower_answers(visit: Visit, wire: Wire) -> None:
    answer = visit("operator").get("/flower/")
    assert (answer.status_code, read(answer)) == (200, "<h1>Workers</h1>")
    assert wire.asked[0][:2] == ("GET", "/flower/")


def test_whoever_is_logged_out_is_led_to_the_login_and_flower_is_not_asked(visit: Visit, wire: Wire) -> None:
    for path in ("/flower/", "/flower/api/workers", "/flower/static/js/flower.js", "/flower/metrics"):
        assert visit("anonymous").get(path)["Location"].startswith("/login/?next=/flower/")
    assert wire.asked == []


@pytest.mark.parametrize("group", ["", "viewer", "reviewer"])
def test_others_than_operators_are_told_whom_to_ask_and_flower_is_not_asked(
    visit: Visit, wire: Wire, group: str
) -> None:
    client = visit(group)
    for path in ("/flower/", "/flower/api/tasks", "/flower/metrics", "/flower/healthcheck"):
        answer = client.get(path)
        assert answer.status_code == 403
        assert "Ask an administrator for the group operator" in answer.text
    assert wire.asked == []


def test_an_operator_may_look_at_the_table_of_tasks_which_is_asked_for_by_post(visit: Visit, wire: Wire) -> None:
    answer = visit("operator").post("/flower/tasks/datatable", {"draw": "1"}, **HERE)
    assert read(answer) == "<h1>Workers</h1>"
    assert wire.asked[0][0] == "POST"
    assert b'name="draw"' in wire.asked[0][3]


@pytest.mark.parametrize(
    "path",
    [
        RESTART,
        "/flower/api/worker/shutdown/analyse@host",
        "/flower/api/task/revoke/1?terminate=true",
        "/flower/api/task/async-apply/workers.tasks.prune",
        "/flower/tasks/datatable/../../api/worker/shutdown/analyse@host",
        "/flower//tasks/datatable",
        "/flower/workers",
    ],
)
def test_an_operator_may_change_nothing(visit: Visit, wire: Wire, path: str) -> None:
    answer = visit("operator").post(path, **HERE, **SCRIPT)
    assert answer.status_code in (403, 404)
    assert wire.asked == []


def test_the_script_that_was_refused_gets_the_sentence_alone_to_show(visit: Visit, wire: Wire) -> None:
    answer = visit("operator").post(RESTART, **HERE, **SCRIPT)
    assert (answer.status_code, answer.text) == (403, flower.ONLY_SUPERUSERS)
    assert answer["Content-Type"].startswith("text/plain")


def test_a_superuser_may_change_something(superuser: Client, wire: Wire) -> None:
    wire.headers = {"Content-Type": "application/json"}
    wire.body = b'{"message": "Restarting"}'
    answer = superuser.post(f"{RESTART}?x=1", **HERE)
    assert read(answer) == '{"message": "Restarting"}'
    assert wire.asked[0][:2] == ("POST", f"{RESTART}?x=1")


@pytest.mark.parametrize(
    "headers",
    [
        {"HTTP_ORIGIN": "http://evil.example"},
        {"HTTP_ORIGIN": "null"},
        {"HTTP_ORIGIN": "https://testserver"},
        {"HTTP_ORIGIN": "http://testserver:8001"},
        {"HTTP_ORIGIN": "http://testserver.evil.example"},
        {"HTTP_ORIGIN": "http://testserver", "HTTP_SEC_FETCH_SITE": "cross-site"},
        {"HTTP_ORIGIN": "http://testserver", "HTTP_SEC_FETCH_SITE": "same-site"},
        {"HTTP_SEC_FETCH_SITE": "same-origin"},
        {"HTTP_REFERER": "http://testserver/flower/"},
        {},
    ],
)
def test_a_page_of_another_site_cannot_make_a_superuser_do_something(
    superuser: Client, wire: Wire, headers: dict[str, str]
) -> None:
    for path in (RESTART, "/flower/tasks/datatable"):
        answer = superuser.post(path, **headers)
        assert answer.status_code == 403
        assert flower.FROM_ELSEWHERE in answer.text
    assert wire.asked == []


def test_a_trusted_origin_counts_as_here(superuser: Client, wire: Wire, settings) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://nightjar.example.org"]
    assert read(superuser.post(RESTART, HTTP_ORIGIN="https://nightjar.example.org")) == "<h1>Workers</h1>"


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options", "trace"])
def test_no_other_method_is_passed_on(superuser: Client, wire: Wire, method: str) -> None:
    assert getattr(superuser, method)("/flower/api/workers", **HERE).status_code == 405
    assert wire.asked == []


# ---- what is passed on, and back


def test_flower_is_told_its_password_and_neither_cookie_nor_who_asks(visit: Visit, wire: Wire, settings) -> None:
    client = visit("operator")
    session = client.cookies["sessionid"].value
    read(
        client.get(
            "/flower/api/tasks?limit=5&search=a%20b",
            HTTP_AUTHORIZATION="Basic c3R1ZmY6c3R1ZmY=",
            HTTP_X_FORWARDED_FOR="10.9.8.7",
            HTTP_USER_AGENT="a browser",
            HTTP_ACCEPT="application/json",
        )
    )
    _, path, headers, _ = wire.asked[0]
    assert path == "/flower/api/tasks?limit=5&search=a%20b"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == "nightjar:only-for-tests"
    assert headers["Accept"] == "application/json"
    assert session not in str(headers)
    assert not {"Cookie", "X-Forwarded-For", "User-Agent", "Referer", "X-Csrftoken", "Origin"} & set(headers)


def test_flower_sets_no_cookie_and_no_header_of_its_own(visit: Visit, wire: Wire) -> None:
    wire.headers |= {
        "Set-Cookie": "sessionid=stolen; Path=/",
        "Access-Control-Allow-Origin": "*",
        "Content-Security-Policy": "default-src *",
        "X-Frame-Options": "ALLOWALL",
        "Server": "TornadoServer/6",
        "Connection": "keep-alive",
        "Strict-Transport-Security": "max-age=0",
        "WWW-Authenticate": "Basic",
        "ETag": '"1"',
    }
    client = visit("operator")
    before = client.cookies["sessionid"].value
    answer = client.get("/flower/")
    read(answer)
    assert client.cookies["sessionid"].value == before
    assert set(answer.cookies) == set()
    assert answer["ETag"] == '"1"'
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert answer["Content-Security-Policy"] == flower.POLICY
    assert answer["Cache-Control"] == "no-store"
    hidden = {"Access-Control-Allow-Origin", "Server", "Connection", "Strict-Transport-Security", "WWW-Authenticate"}
    assert not hidden & set(answer.headers)


def test_only_what_never_changes_is_kept_by_the_browser(visit: Visit, wire: Wire) -> None:
    answer = visit("operator").get("/flower/static/js/flower.js?v=1")
    read(answer)
    assert answer["Cache-Control"] == "private, max-age=86400"


@pytest.mark.parametrize(
    ("location", "wanted"),
    [("/flower/workers", "/flower/workers"), ("https://evil.example/", None), ("//evil.example/flower/", None)],
)
def test_flower_leads_nobody_away(visit: Visit, wire: Wire, location: str, wanted: str | None) -> None:
    wire.status, wire.body = 302, b""
    wire.headers = {"Location": location}
    answer = visit("operator").get("/flower/login")
    read(answer)
    assert answer.headers.get("Location") == wanted


@pytest.mark.parametrize("path", ["/flower/../admin/", "/flower/static/../../etc/passwd", "/flower/./", "/flower/a/.."])
def test_no_path_leads_out_of_flower(visit: Visit, wire: Wire, path: str) -> None:
    assert visit("operator").get(path).status_code in (302, 403, 404)
    assert wire.asked == []


def test_names_with_odd_characters_arrive_as_they_were_sent(visit: Visit, wire: Wire) -> None:
    read(visit("operator").get("/flower/worker/analyse@h%C3%B6st%3F%20%25"))
    assert wire.asked[0][1] == "/flower/worker/analyse@h%C3%B6st%3F%20%25"


def test_no_line_can_be_slipped_into_the_request(visit: Visit, wire: Wire) -> None:
    client = visit("operator")
    assert client.get("/flower/worker/x%0d%0aX-Evil:%201").status_code == 404
    assert wire.asked == []
    read(client.get("/flower/workers?a=%0d%0aX-Evil:%201", HTTP_ACCEPT="text/html"))
    assert wire.asked[0][1] == "/flower/workers?a=%0d%0aX-Evil:%201"


def test_a_long_answer_comes_in_pieces(visit: Visit, wire: Wire) -> None:
    wire.body = b"x" * 3_000_000
    answer = visit("operator").get("/flower/api/tasks")
    assert answer.streaming
    pieces = list(answer)
    answer.close()
    assert sum(map(len, pieces)) == 3_000_000
    assert max(map(len, pieces)) <= flower.PIECE_BYTES


def test_an_answer_without_end_is_broken_off(visit: Visit, wire: Wire, monkeypatch) -> None:
    monkeypatch.setattr(flower, "ANSWER_MAX_BYTES", 2_000_000)
    wire.body, wire.says_length = b"x" * 3_000_000, False
    answer = visit("operator").get("/flower/api/tasks")
    with pytest.raises(ConnectionError, match="broken off"):
        list(answer)


def test_a_browser_that_reads_slowly_holds_no_place(visit: Visit, wire: Wire) -> None:
    client = visit("operator")
    wire.body = b"x" * 1_000_000
    unread = [client.get("/flower/static/js/x.js") for _ in range(flower.AT_ONCE + 1)]
    assert [answer.status_code for answer in unread] == [200] * (flower.AT_ONCE + 1)
    assert [len(read(answer)) for answer in unread] == [1_000_000] * (flower.AT_ONCE + 1)


def test_an_answer_that_flower_does_not_get_through_with_is_none(visit: Visit, wire: Wire) -> None:
    wire.headers["Content-Length"] = "500"
    wire.says_length = False
    answer = visit("operator").get("/flower/")
    assert (answer.status_code, flower.NOT_THERE in answer.text) == (503, True)


def test_of_a_head_flower_says_the_length_and_nothing_comes(visit: Visit, wire: Wire) -> None:
    answer = visit("operator").head("/flower/")
    assert (answer.status_code, answer["Content-Length"], read(answer)) == (200, str(len(wire.body)), "")


def test_an_answer_that_nobody_reads_gives_its_place_back(visit: Visit, wire: Wire) -> None:
    visit("operator").get("/flower/").close()
    assert len(wire.asked) == 1  # the fixture looks at the places


def test_too_much_is_not_sent_to_flower(superuser: Client, wire: Wire) -> None:
    answer = superuser.post(RESTART, {"a": "x" * 70_000}, **HERE)
    assert answer.status_code == 413
    assert wire.asked == []


# ---- where it does not answer


def test_without_flower_a_page_of_the_site_says_what_to_do(visit: Visit, settings, tmp_path: Path) -> None:
    settings.FLOWER_URL = f"unix://{tmp_path}/nothing.sock"
    answer = visit("operator").get("/flower/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "10")
    assert "Flower does not answer. Everything else works without it." in answer.text
    assert "<nav" in answer.text
    assert str(tmp_path) not in answer.text


def test_a_script_is_told_in_a_sentence_that_flower_is_away(visit: Visit, settings, tmp_path: Path) -> None:
    settings.FLOWER_URL = f"unix://{tmp_path}/nothing.sock"
    answer = visit("operator").get("/flower/workers?json=1", **SCRIPT)
    assert (answer.status_code, answer.text) == (503, flower.NOT_THERE)


def test_flower_on_another_machine_is_asked_over_tcp(visit: Visit, settings) -> None:
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from afar")

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        settings.FLOWER_URL = f"http://127.0.0.1:{server.server_address[1]}"
        assert read(visit("operator").get("/flower/")) == "from afar"
    assert asked == ["/flower/"]


def test_a_wrong_password_between_the_two_is_said_and_no_browser_asks_for_one(visit: Visit, wire: Wire) -> None:
    wire.status = 401
    wire.headers = {"WWW-Authenticate": 'Basic realm="flower"'}
    answer = visit("operator").get("/flower/")
    assert answer.status_code == 503
    assert "Give both processes the same FLOWER_PASSWORD" in answer.text
    assert "WWW-Authenticate" not in answer.headers


def test_the_inner_parts_that_a_failing_flower_shows_are_not_shown(visit: Visit, wire: Wire) -> None:
    wire.status, wire.body = 500, b"Traceback: broker_url redis://:s3cret@host"
    answer = visit("operator").get("/flower/broker")
    assert answer.status_code == 503
    assert flower.FAILED in answer.text
    assert "s3cret" not in answer.text


def test_a_flower_that_hangs_holds_no_more_than_a_few_threads_and_not_for_long(
    visit: Visit, wire: Wire, monkeypatch
) -> None:
    monkeypatch.setattr(flower, "READ_S", 0.3)
    monkeypatch.setattr(flower, "PLACE_S", 0.1)
    goes_on = threading.Event()
    wire.before_answering = lambda: goes_on.wait(30)
    client = visit("operator")
    answer = client.get("/flower/")
    assert (answer.status_code, flower.NOT_THERE in answer.text) == (503, True)
    for _ in range(flower.AT_ONCE):
        flower._places.acquire()
    try:
        answer = client.get("/flower/")
        assert (answer.status_code, flower.BUSY in answer.text) == (503, True)
    finally:
        goes_on.set()
        for _ in range(flower.AT_ONCE):
            flower._places.release()


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000])
def test_what_is_no_answer_is_no_answer(visit: Visit, settings, said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.FLOWER_URL = f"http://127.0.0.1:{server.getsockname()[1]}"

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        answer = visit("operator").get("/flower/")
        thread.join(10)
    assert answer.status_code == 503
    assert flower.NOT_THERE in answer.text


@pytest.mark.parametrize(
    ("given", "is_right"),
    [
        ("http://flower:5555", True),
        ("https://flower.example.org/", True),
        ("unix:///run/nightjar/flower.sock", True),
        ("unix://relative", False),
        ("http://flower:5555/flower", False),
        ("http://me:pass@flower:5555", False),
        ("flower:5555", False),
        ("ftp://flower", False),
    ],
)
def test_an_address_of_flower_that_cannot_be_is_refused_at_the_start(given: str, is_right: bool) -> None:
    from project import addresses

    if is_right:
        assert addresses.flower(given) == given
    else:
        with pytest.raises(ValueError, match="http://HOST:5555"):
            addresses.flower(given)


def test_a_data_folder_with_an_odd_name_is_found_as_well(visit: Visit, wire: Wire, settings, tmp_path: Path) -> None:
    real = Path(settings.FLOWER_URL.removeprefix("unix://"))
    odd = Path(tempfile.mkdtemp(prefix="a b%20c#?", dir=real.parent)) / "f"
    odd.symlink_to(real)
    settings.FLOWER_URL = odd.as_uri().replace("file:", "unix:", 1)  # as the settings make it
    assert read(visit("operator").get("/flower/")) == "<h1>Workers</h1>"
