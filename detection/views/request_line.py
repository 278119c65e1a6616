"""The correlation id of every request, and the one line that the log has of it, at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from detection import correlation
from detection.address import client_address
from detection.timing import Tally, tallied

log = logging.getLogger("detection.requests")

PATH_SHOWN = 300
REASON_SHOWN = 500
ROUTINE = ("/health/", "/metrics", "/favicon.ico")  # and static files; asked for all day, by machines
# Robots ask for what is not there, and people make mistakes in forms.
ORDINARY = (404, 405, 409, 410, 416, 422)


class RequestLine:
    """The first of all: what any other does, and refuses, belongs to the request as well."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        line = Line(request, correlation.taken_over(request.headers.get(correlation.HTTP_HEADER)))
        request.line = line  # type: ignore[attr-defined]
        with correlation.bound(line.correlation_id), tallied() as tally:
            response = self.get_response(request)
        response.headers[correlation.HTTP_HEADER] = line.correlation_id
        line.answered(response, tally)
        return response


class Line:
    """What is known of a request by its end: when all of the answer is sent, or whoever asked has gone."""

    def __init__(self, request: HttpRequest, correlation_id: str) -> None:
        self.correlation_id = correlation_id
        self._request = request
        self._reason = ""
        self._broke_off = ""  # why, where an answer that was on its way could not be made to its end
        self._body = TimedBody(request)
        self._began = perf_counter()

    def because(self, reason: str) -> None:
        """Why it was refused; the first that is said counts."""
        self._reason = self._reason or reason

    def answered(self, response: HttpResponseBase, tally: Tally) -> None:
        """Writes the line when the answer is closed."""
        # A file that the web server sends by itself stays one to it: setting the content would take it from the server.
        if response.streaming and getattr(response, "file_to_stream", None) is None:
            self._watch(response, tally)
        answered, close, is_told = perf_counter(), response.close, False

        def end() -> None:
            nonlocal is_told
            try:
                close()
            finally:
                if not is_told:
                    is_told = True
                    with correlation.bound(self.correlation_id):
                        self._tell(response, tally, answered)

        response.close = end  # type: ignore[method-assign]

    def _watch(self, response: Any, tally: Tally) -> None:
        if not response.is_async:
            response.streaming_content = self._watched(response.streaming_content, tally)

    def _watched(self, parts: Iterable[bytes], tally: Tally) -> Iterator[bytes]:
        """What makes the parts of the answer belongs to the request, too. Who stops reading is not seen here."""
        pieces = iter(parts)
        while True:
            with correlation.bound(self.correlation_id), tallied(tally):
                try:
                    piece = next(pieces)
                except StopIteration:
                    return
                except Exception as error:
                    self._broke_off = reason_of(error)
                    raise
            yield piece

    def _tell(self, response: HttpResponseBase, tally: Tally, answered: float) -> None:
        ended, status = perf_counter(), response.status_code
        body_s = self._body.seconds
        # What the other side takes to send and to fetch is not ours.
        ours_s = answered - self._began - body_s
        is_slow = ours_s >= settings.SLOW_REQUEST_S
        path = _printable(self._request.path[:PATH_SHOWN])
        facts: dict[str, Any] = {
            "method": self._request.method,
            "path": path,
            "status": status,
            "duration_ms": _ms(ended - self._began),
            "db_ms": _ms(tally.seconds),
            "db_queries": tally.statements,
            "user_id": _user_id(self._request),
            "client": client_address(self._request),
        }
        if "Content-Length" in response.headers:
            facts["bytes"] = int(response.headers["Content-Length"])
        if self._broke_off:
            facts["reason"] = self._broke_off
        elif status >= 400 and (reason := getattr(response, "refusal", "") or self._reason):
            facts["reason"] = reason
        if is_slow or body_s > 0.1 or ended - answered > 0.1:
            facts |= {"body_ms": _ms(body_s), "send_ms": _ms(ended - answered)}
        if is_slow:
            # Neither the database nor the other side: the view's own work, the template, files, other machines.
            facts |= {"is_slow": True, "view": _view(self._request), "other_ms": _ms(ours_s - tally.seconds)}
        level = logging.ERROR if self._broke_off else level_of(status, self._request.path)
        log.log(
            max(level, logging.WARNING) if is_slow else level,
            "%s %s %s%s",
            self._request.method,
            path,
            status,
            " broke off" if self._broke_off else f" took {ours_s:.1f} s" if is_slow else "",
            extra=facts,
        )


class TimedBody:
    """Stands before what is left of a request's body, and counts how long reading it takes."""

    def __init__(self, request: HttpRequest) -> None:
        self.seconds = 0.0
        self._stream: Any = getattr(request, "_stream", None)
        if self._stream is not None and request.META.get("CONTENT_LENGTH"):
            request._stream = self  # type: ignore[assignment]

    def read(self, *size: int) -> bytes:
        return self._timed(self._stream.read, *size)

    def readline(self, *size: int) -> bytes:
        return self._timed(self._stream.readline, *size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _timed(self, read: Callable[..., bytes], *size: int) -> bytes:
        began = perf_counter()
        try:
            return read(*size)
        finally:
            self.seconds += perf_counter() - began


def level_of(status: int, path: str) -> int:
    """How loud its line is."""
    is_routine = path.startswith((*ROUTINE, f"/{settings.STATIC_URL.strip('/')}/"))
    if status >= 500:
        return logging.WARNING if is_routine else logging.ERROR
    if status >= 400:
        return logging.INFO if status in ORDINARY else logging.WARNING
    return logging.DEBUG if is_routine else logging.INFO


def reason_of(error: BaseException) -> str:
    """In one line, and not as long as somebody likes."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:REASON_SHOWN]}"


def _user_id(request: HttpRequest) -> int | None:
    """Whose it is, where that was looked up; never by a statement of its own."""
    user = getattr(request, "_cached_user", None)
    return None if user is None else user.pk


def _view(request: HttpRequest) -> str:
    match = request.resolver_match
    return "" if match is None else match.view_name or ""


def _printable(path: str) -> str:
    """A path is what somebody sends: it must not begin a line of its own."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in path)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
