"""Flower, the view of Celery's queues, behind this site's own login.

Flower has no port of its own: it listens on a socket in a private folder, or on a machine that FLOWER_URL names, with a
password that nobody types. This view asks it and passes its answers on. Operators may look; what changes something is
for superusers. The two share no cookie: Flower is not told who asks, and cannot set anything in the browser.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from detection.views import errors

CONNECT_S = 2.0
READ_S = 10.0  # it asks the workers, each of which may take a second
TOTAL_S = 30.0
BODY_MAX_BYTES = 64 * 1024
ANSWER_MAX_BYTES = 64 * 1024**2
PIECE_BYTES = 64 * 1024
BEGIN_BYTES = 1024**2  # read at once: nearly every answer is whole then, and a slow browser holds no place
AT_ONCE, PLACE_S = 4, 3.0  # so that a Flower that hangs holds no more of the threads than these
RETRY_AFTER_S = 10
PREFIX = "/flower/"
READING_POSTS = {f"{PREFIX}tasks/datatable"}  # a table's question, too long for an address
PASSED_ON = ("Accept", "Content-Type", "If-None-Match", "If-Modified-Since", "X-Requested-With")
PASSED_BACK = ("Content-Type", "Content-Length", "ETag", "Last-Modified")
NOT_FOR_YOU = "Flower's pages are for operators. Ask an administrator for the group operator."
ONLY_SUPERUSERS = "Only a superuser may change something in Flower: your account may look."
FROM_ELSEWHERE = "This was not asked from a page of this site, so nothing was done."
NOT_THERE = (
    "Flower does not answer. Everything else works without it. Look whether its process runs, under “manage.py up” "
    "or whatever starts your processes, and at FLOWER_URL where it runs on another machine."
)
BUSY = "Flower is busy. Try again in a moment."
DISAGREE = (
    "Flower refuses the password of these pages. Give both processes the same FLOWER_PASSWORD and start them again."
)
FAILED = "Flower failed at this. Its log says why; everything else works without it."

# Flower has one line of script in a page, which says how it refreshes itself, and sets styles on single elements.
LINE_OF_SCRIPT = "\nvar autorefresh = 1;\n"
_HASH = base64.b64encode(hashlib.sha256(LINE_OF_SCRIPT.encode()).digest()).decode()
POLICY = "; ".join(
    (
        "default-src 'self'",
        f"script-src 'self' 'sha256-{_HASH}'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
        "form-action 'self'",
    )
)

_places = threading.BoundedSemaphore(AT_ONCE)


class FlowerAway(Exception):
    """Why Flower gives no answer, as a sentence that says what to do; its cause is for the log."""


@csrf_exempt  # Flower's scripts know nothing of our token; ``_from_here`` looks where the request comes from instead
@require_http_methods(["GET", "HEAD", "POST"])
@xframe_options_sameorigin
def flower(request: HttpRequest, rest: str = "") -> HttpResponseBase:
    """Whatever Flower answers to this; 503 where it does not."""
    if any(part in (".", "..") for part in rest.split("/")):
        raise Http404(f"There is no {rest} in Flower.")
    if not may_look(request.user):
        return _said(request, 403, "Not allowed", NOT_FOR_YOU)
    if request.method == "POST" and (why := _why_not_post(request)):
        return _said(request, 403, "Not allowed", why)
    try:
        return _passed_back(_asked(request), rest)
    except FlowerAway as away:
        cause = f" ({type(away.__cause__).__name__}: {away.__cause__})" if away.__cause__ else ""
        response = _said(request, 503, "Flower is not there", str(away), f"{away}{cause}")
        response["Retry-After"] = str(RETRY_AFTER_S)
        return response


def may_look(user: Any) -> bool:
    """Whether Flower is for this user; the system page links to it for nobody else."""
    return bool(user.has_perm("detection.view_heartbeat"))


def _why_not_post(request: HttpRequest) -> str:
    if not _from_here(request):
        return FROM_ELSEWHERE
    if request.path not in READING_POSTS and not request.user.is_superuser:
        return ONLY_SUPERUSERS
    return ""


def _from_here(request: HttpRequest) -> bool:
    """Whether a page of this site asks. Browsers say so in these headers, which no page can write."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return False
    here = f"{request.scheme}://{request.get_host()}"
    return request.headers.get("Origin") in {here, *settings.CSRF_TRUSTED_ORIGINS}


def _said(request: HttpRequest, status: int, title: str, why: str, reason: str = "") -> HttpResponse:
    """Flower's scripts show the text of an answer as it is, so they are given no page."""
    if request.headers.get("X-Requested-With") == "XMLHttpRequest":
        response = HttpResponse(why, status=status, content_type="text/plain; charset=utf-8")
        response.refusal = reason or why  # type: ignore[attr-defined]  # for the one line of the log
        return response
    return errors.answer(request, status, title, why, reason=reason)


# ---- asking


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Answer:
    """What Flower answers, in pieces. Its end, or closing it, ends the connection and frees its place."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self.response = response
        self._connection: http.client.HTTPConnection | None = connection
        self._until = time.monotonic() + TOTAL_S
        self._promised: int | None = response.length
        self._length = 0
        self._begun: deque[bytes] = deque()

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here, and Flower has nothing more to do with it."""
        return self._connection is None

    def begin(self) -> None:
        """Reads so much of it that most answers are whole. Raises what ``_read`` raises."""
        while not self.is_whole and self._length < BEGIN_BYTES:
            self._begun.append(self._read())

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = self._begun.popleft() if self._begun else b"" if self.is_whole else self._read()
        if not piece:
            raise StopIteration
        return piece

    def _read(self) -> bytes:
        """The next piece; empty at the end. Raises OSError and HTTPException, and is closed then."""
        try:
            piece = self.response.read1(PIECE_BYTES)
            self._length += len(piece)
            if self._length > ANSWER_MAX_BYTES or time.monotonic() > self._until:
                raise ConnectionError("Flower's answer was broken off: it was too long, or took too long")
            if not piece and self._promised is not None and self._length < self._promised:
                raise ConnectionError("Flower's answer was cut off")
        except BaseException:
            self.close()
            raise
        if not piece:
            self.close()
        return piece

    def close(self) -> None:
        """May be called again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            _places.release()


def _asked(request: HttpRequest) -> Answer:
    """Raises FlowerAway."""
    body = _body(request)
    if not _places.acquire(timeout=PLACE_S):
        raise FlowerAway(BUSY)
    connection = _connection()
    try:
        connection.connect()
        if connection.sock is not None:
            connection.sock.settimeout(READ_S)
        connection.request(request.method or "GET", request.get_full_path(), body=body, headers=_headers(request))
        answer = Answer(connection, connection.getresponse())
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        _places.release()
        raise FlowerAway(NOT_THERE) from error
    except BaseException:
        connection.close()
        _places.release()
        raise
    if answer.response.status == 401:
        answer.close()
        raise FlowerAway(DISAGREE)
    if answer.response.status >= 500:  # its page of that shows its inner parts
        answer.close()
        raise FlowerAway(FAILED)
    try:
        answer.begin()
    except (OSError, http.client.HTTPException) as error:
        raise FlowerAway(NOT_THERE) from error
    return answer


def _connection() -> http.client.HTTPConnection:
    where = urlsplit(settings.FLOWER_URL)
    if where.scheme == "unix":
        return SocketConnection(unquote(where.path), CONNECT_S)
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    return kind(where.hostname or "localhost", where.port, timeout=CONNECT_S)


def _body(request: HttpRequest) -> bytes | None:
    if request.method != "POST":
        return None
    length = request.headers.get("Content-Length", "0")
    if not length.isascii() or not length.isdigit() or int(length) > BODY_MAX_BYTES:
        raise RequestDataTooBig("Flower is sent no more than a form.")
    return request.body


def _headers(request: HttpRequest) -> dict[str, str]:
    """Those that Flower needs, and no others: no cookie, no word of who asks."""
    login = base64.b64encode(f"nightjar:{settings.FLOWER_PASSWORD}".encode()).decode()
    given = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    return {**given, "Authorization": f"Basic {login}", "Connection": "close"}


# ---- answering


def _passed_back(answer: Answer, rest: str) -> HttpResponseBase:
    found = answer.response
    response: HttpResponseBase
    if answer.is_whole:
        response = HttpResponse(b"".join(answer), status=found.status)
    else:
        response = StreamingHttpResponse(answer, status=found.status)
    response.headers.pop("Content-Type", None)
    for name in PASSED_BACK:
        if value := found.headers.get(name):
            response[name] = value
    location = found.headers.get("Location", "")
    if location.startswith(PREFIX):
        response["Location"] = location
    response["Cache-Control"] = "private, max-age=86400" if rest.startswith("static/") else "no-store"
    response["Content-Security-Policy"] = POLICY
    return response
