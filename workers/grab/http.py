"""One picture over HTTP: a still picture, or the first whole one of an MJPEG stream."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from detection.sources import PORTS, SCHEMES
from workers.grab.body import CUT_OFF, Body, first_part
from workers.grab.line import Clock, Line, of_socket
from workers.grab.login import Login
from workers.grab.types import GrabError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from urllib.parse import SplitResult

    from detection.sources import Source
    from workers.grab.types import Limits, Policy

MAX_REDIRECTS = 3
A_STREAM = "The camera sends a stream here, not one picture. Choose HTTP stream (MJPEG) for this address."
NOT_HTTP = "What answers there does not speak HTTP as a camera does. Look at the address and its port."


@dataclass(frozen=True, slots=True)
class Fetched:
    content: bytes
    at_s: float  # seconds since the epoch: when the picture's first byte was there


def fetch(source: Source, limits: Limits, policy: Policy) -> Fetched:
    """The bytes that the camera gives as a picture; nobody has looked yet whether they are one. Raises GrabError."""
    started = time.monotonic()
    clock = Clock(started + min(limits.first_frame_s, limits.total_s))
    line = Line(policy.allow_loopback, policy.allow_private, source.verify_tls, limits.connect_s, clock)
    body = Body(clock, started + limits.total_s, limits.max_bytes)
    try:
        with _Session() as session:
            session.trust_env = False  # neither proxies nor .netrc
            session.mount("http://", _Adapter(line))
            session.mount("https://", _Adapter(line))
            with _answer(session, source.address) as response:
                if source.kind == "http" and response.headers.get("Content-Type", "").lower().startswith("multipart/"):
                    raise GrabError(A_STREAM, kind="garbage")
                body.open(response)
                content = first_part(body) if source.kind == "mjpeg" else body.rest()
                return Fetched(content, body.began_at_s)
    except (TimeoutError, ReadTimeoutError):
        problem = _late(body, limits)
    except ProtocolError as error:
        problem = GrabError(CUT_OFF, kind="garbage") if body.began_at_s else _of_failure(error)
    except (RequestException, HTTPError, http.client.HTTPException, OSError, ValueError) as error:
        problem = _of_failure(error)
    raise problem  # outside of the handlers: what was caught has the address in it, and must not stay attached


def _late(body: Body, limits: Limits) -> GrabError:
    if body.began_at_s:
        sentence = f"The camera's picture was not whole after {limits.total_s:g} seconds. Look at the network."
    else:
        sentence = (
            f"The camera took the connection, but sent no picture within {limits.first_frame_s:g} seconds. Look "
            "whether it is overloaded, and restart it if it stays so."
        )
    return GrabError(sentence, kind="timeout")


def _of_failure(error: Exception) -> GrabError:
    """What a failure of the libraries below means; their own messages have the address in them."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and not isinstance(cause, RequestException):
            return of_socket(cause)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return GrabError(
            "The camera's address, or the one that it sends its callers to, cannot be called. Enter it again.",
            kind="redirects",
            permanent=True,
        )
    return GrabError(NOT_HTTP, kind="garbage")


def _answer(session: requests.Session, address: str) -> requests.Response:
    """The answer with status 200, after redirects and a login."""
    parts = urlsplit(address)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    home, url = _origin(parts), _bare(parts)
    for _ in range(MAX_REDIRECTS + 1):
        is_home = _origin(urlsplit(url)) == home
        login = Login(user, password)  # of this address: the camera asks at each anew
        response = _ask(session, url, login if is_home else Login("", ""))
        if response.status_code not in (301, 302, 303, 307, 308):
            if response.status_code != 200:
                with response:
                    _refuse(response.status_code, login, "" if is_home else url)
            return response
        with response:
            there = urlsplit(urljoin(url, response.headers.get("Location", "")))
        if there.scheme not in SCHEMES["http"]:
            break
        url = _bare(there)
    raise GrabError(
        "The camera sends its callers from one address to the next. Enter the address of the picture itself.",
        kind="redirects",
        permanent=True,
    )


def _ask(session: requests.Session, url: str, login: Login) -> requests.Response:
    """One GET; where the camera asks for it, once more with the password."""
    response = _get(session, url, None)
    for _ in range(2):  # a second time where a Digest's number had run out
        header = login.answer(response) if response.status_code == 401 else None
        if header is None:
            break
        response.close()
        response = _get(session, url, header)
    return response


def _get(session: requests.Session, url: str, authorization: str | None) -> requests.Response:
    parts = urlsplit(url)
    headers = {
        "Host": parts.netloc,
        "User-Agent": "Nightjar",
        "Accept": "image/*, multipart/x-mixed-replace, */*;q=0.5",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    if authorization:
        headers["Authorization"] = authorization
    prepared = requests.Request("GET", url, headers=headers, cookies=session.cookies).prepare()
    return session.send(prepared, stream=True, allow_redirects=False)


def _bare(parts: SplitResult) -> str:
    """The URL without user name, password and fragment, and without a port that is the usual one."""
    host = parts.hostname or ""
    place = f"[{host}]" if ":" in host else host
    if parts.port not in (None, PORTS.get(parts.scheme)):
        place += f":{parts.port}"
    return urlunsplit((parts.scheme, place, parts.path or "/", parts.query, ""))


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)


def _refuse(status: int, login: Login, elsewhere: str) -> NoReturn:
    """``elsewhere``: where a redirect led, if that is another origin."""
    if status in (401, 403) and elsewhere and (login.user or login.password):
        there = urlsplit(elsewhere)
        raise GrabError(
            f"The camera sends its callers to {there.scheme}://{there.netloc}, and the password is not sent there. "
            "Enter that address.",
            kind="redirects",
            permanent=True,
        )
    if status in (401, 403):
        raise GrabError(
            "The camera does not accept this user name and password, or this user may not see its pictures."
            if login.user or login.password
            else "The camera asks for a user name and a password. Enter them.",
            kind="unauthorised",
            permanent=True,
        )
    if status in (404, 410):
        raise GrabError(
            "The camera has nothing at this address. Look at the part behind its host in the camera's manual.",
            kind="not_found",
            permanent=True,
        )
    if status >= 500:
        raise GrabError(f"The camera reports a fault of its own (status {status}).", kind="server_error")
    raise GrabError(
        f"The camera answers with status {status} instead of a picture. Look at its address.",
        kind="http_status",
        permanent=400 <= status < 500,
    )


class _Session(requests.Session):
    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[requests.Response]:
        """None: they are followed above. The original reads a redirect's body, however long, also when told not to."""
        return iter(())


class _Connection(HTTPConnection):
    """urllib3's connection, opened by our line."""

    def __init__(self, line: Line, parts: SplitResult) -> None:
        self._line, self._tls = line, parts.scheme == "https"
        super().__init__(parts.hostname or "", parts.port or PORTS[parts.scheme])

    def _new_conn(self) -> socket.socket:
        return self._line.connect(self.host, self.port or 80, self._tls)


class _Adapter(HTTPAdapter):
    """Requests' way to the network: one connection for each request, without a pool, whose log tells addresses."""

    def __init__(self, line: Line) -> None:
        self._line = line
        super().__init__(pool_connections=1, pool_maxsize=1)

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        connection = _Connection(self._line, urlsplit(request.url or ""))
        try:
            connection.request(
                "GET", request.path_url, headers=dict(request.headers), preload_content=False, decode_content=True
            )
            raw: urllib3.HTTPResponse = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        # http.client leaves the socket to the response where the connection is to be closed after it.
        response = self.build_response(request, raw)
        response.close = _closing(response, connection)  # type: ignore[method-assign]
        return response


def _closing(response: requests.Response, connection: HTTPConnection) -> Any:
    def close() -> None:
        response.raw.close()
        connection.close()

    return close
