from __future__ import annotations

import gzip
import logging
import socket
import ssl
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from detection.management.commands._simulated import SimulatedCameras
from tests.grab.servers import full_port, saying, server
from tests.processes import PATIENCE
from workers.grab import GrabError, Limits, Policy, Source, grab
from workers.grab.line import tls_context
from workers.grab.types import FAULTS

OK = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n"


def refusal(source: Source, limits: Limits, policy: Policy) -> GrabError:
    with pytest.raises(GrabError) as caught:
        grab(source, limits, policy)
    assert str(caught.value).endswith(".")
    assert caught.value.__context__ is None  # a library's exception would have the address in it
    return caught.value


def picture(cameras: SimulatedCameras, limits: Limits, policy: Policy) -> bytes:
    cameras.behave(0, "ok")
    return grab(Source("http", cameras.address(0)), limits, policy).content


@pytest.mark.parametrize("kind", ["http", "mjpeg", "mjpeg_bare"])
def test_a_camera_gives_its_picture(kind: str, cameras: SimulatedCameras, limits: Limits, policy: Policy) -> None:
    cameras.behave(1, "ok")
    before = datetime.now(UTC)
    source = Source("http" if kind == "http" else "mjpeg", cameras.address(1, kind))
    first, second = grab(source, limits, policy), grab(source, limits, policy)
    assert (first.info.kind, first.info.format, first.info.width, first.info.height) == ("image", "jpeg", 640, 360)
    assert first.content.startswith(b"\xff\xd8")
    assert first.content.endswith(b"\xff\xd9")
    assert first.preview.startswith(b"\xff\xd8")
    assert len(first.preview) < len(first.content)
    assert len(first.fingerprint) == 64
    assert first.fingerprint != second.fingerprint
    assert before - timedelta(seconds=0.1) <= first.taken_at <= second.taken_at <= datetime.now(UTC)


def test_a_frozen_camera_has_the_same_fingerprint(cameras: SimulatedCameras, limits: Limits, policy: Policy) -> None:
    cameras.behave(2, "frozen")
    source = Source("http", cameras.address(2))
    assert grab(source, limits, policy).fingerprint == grab(source, limits, policy).fingerprint


@pytest.mark.parametrize("kind", ["http", "mjpeg"])
@pytest.mark.parametrize(
    ("behaviour", "code", "permanent"),
    [
        ("silent", "timeout", False),
        ("half", "timeout", False),
        ("trickle", "timeout", False),
        ("cut", "garbage", False),
        ("garbage", "garbage", False),
        ("html", "garbage", False),
        ("redirect", "forbidden_address", True),
        ("redirect_loop", "redirects", True),
        ("unauthorised", "unauthorised", True),
        ("missing", "not_found", True),
        ("broken", "server_error", False),
        ("huge", "too_large", True),
        ("refused", "refused", False),
    ],
)
def test_a_bad_camera_is_told_by_its_fault_and_in_time(
    behaviour: str, code: str, permanent: bool, kind: str, cameras: SimulatedCameras, limits: Limits, policy: Policy
) -> None:
    cameras.behave(3, behaviour)
    started = time.monotonic()
    error = refusal(Source(kind, cameras.address(3, kind)), limits, policy)
    assert (error.kind, error.permanent) == (code, permanent)
    assert time.monotonic() - started < limits.total_s + 0.5


@pytest.mark.parametrize("kind", ["http", "mjpeg"])
@pytest.mark.parametrize("behaviour", ["basic", "digest"])
def test_the_password_opens_and_a_wrong_one_does_not(
    behaviour: str, kind: str, cameras: SimulatedCameras, limits: Limits, policy: Policy
) -> None:
    cameras.behave(4, behaviour)
    address = cameras.address(4, kind)
    right, wrong = (address.replace("//", f"//camera:{word}@") for word in ("s3cret", "wr0ng"))
    assert grab(Source(kind, right), limits, policy).info.width == 640
    assert refusal(Source(kind, wrong), limits, policy).kind == "unauthorised"
    assert refusal(Source(kind, address), limits, policy).kind == "unauthorised"


def test_the_password_is_not_said_before_it_is_asked_for_nor_to_another_origin(
    cameras: SimulatedCameras, limits: Limits, policy: Policy
) -> None:
    heard: list[bytes] = []

    def elsewhere(connection: socket.socket) -> None:
        heard.append(connection.recv(65536))
        connection.sendall(b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')

    with server(elsewhere) as there:

        def home(connection: socket.socket) -> None:
            heard.append(connection.recv(65536))
            location = f"Location: http://127.0.0.1:{there}/".encode()
            connection.sendall(b"HTTP/1.1 302 Go\r\n" + location + b"\r\nContent-Length: 0\r\n\r\n")

        with server(home) as port:
            error = refusal(Source("http", f"http://camera:s3cret@127.0.0.1:{port}/"), limits, policy)
    assert error.kind == "redirects"
    assert len(heard) == 2
    assert not any(b"authorization" in request.lower() for request in heard)


@pytest.mark.parametrize("status", [b"401 No", b"403 No"])
def test_who_is_sent_on_to_https_is_told_to_enter_that_address(
    status: bytes, certificate: Path, limits: Limits, policy: Policy
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    challenge = b'\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'
    with server(saying(b"HTTP/1.1 " + status + challenge), context) as there:
        to = f"https://127.0.0.1:{there}"
        head = f"HTTP/1.1 301 Go\r\nLocation: {to}/hush.jpg?token=hush\r\n\r\n"
        with server(saying(head.encode())) as port:
            address = f"http://camera:hush@127.0.0.1:{port}/"
            error = refusal(Source("http", address, verify_tls=False), limits, policy)
    assert (error.kind, error.permanent) == ("redirects", True)
    assert f"to {to}, and the password is not sent there." in str(error)
    assert "hush" not in str(error)


def test_the_body_of_a_redirect_is_not_read(cameras: SimulatedCameras, limits: Limits, policy: Policy) -> None:
    cameras.behave(8, "ok")
    bomb = gzip.compress(bytes(4_000_000))
    sent = 0

    def endless(connection: socket.socket) -> None:
        nonlocal sent
        connection.recv(65536)
        head = f"HTTP/1.1 302 Go\r\nLocation: {cameras.address(8)}\r\nContent-Encoding: gzip\r\n\r\n"
        connection.sendall(head.encode())
        while True:
            connection.sendall(bomb)
            sent += len(bomb)

    with server(endless) as port:
        assert grab(Source("http", f"http://127.0.0.1:{port}/"), limits, policy).info.width == 640
    assert sent < 10_000_000, "what the network holds, and no more"


@pytest.mark.parametrize(
    "location", ["http://.x/", "http://*/", "http://[::1/", "http://cam:x/", "http://\xff/", "file:///x"]
)
def test_a_redirect_to_what_is_no_address_is_the_cameras_fault(location: str, limits: Limits, policy: Policy) -> None:
    with server(saying(f"HTTP/1.1 302 Go\r\nLocation: {location}\r\n\r\n".encode("latin-1"))) as port:
        assert refusal(Source("http", f"http://127.0.0.1:{port}/"), limits, policy).kind in FAULTS


def test_what_nobody_foresaw_counts_against_the_camera_and_tells_nothing(
    limits: Limits, policy: Policy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("workers.grab.http.fetch", lambda *_: {}["hush"])
    error = refusal(Source("http", "http://camera/"), limits, policy)
    assert (error.kind, str(error)) == ("damaged", "The grab failed for a reason of its own (KeyError).")
    assert "KeyError" in caplog.text
    assert "hush" not in caplog.text


def test_no_message_has_a_nul_in_it() -> None:
    assert str(GrabError("Broken\0.", kind="garbage")) == "Broken."


def test_no_secret_is_in_an_error_or_in_the_log(
    cameras: SimulatedCameras, limits: Limits, policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cameras.behave(5, "ok")
    grab(Source("http", cameras.address(5).replace("//", "//camera:hush@") + "?pwd=hush"), limits, policy)
    for behaviour in ("silent", "cut", "html", "redirect_loop", "basic", "digest", "missing", "broken", "refused"):
        cameras.behave(6, behaviour)
        source = Source("http", cameras.address(6).replace("//", "//camera:hush@") + "?pwd=hush")
        error = refusal(source, limits, policy)
        told = f"{error} {error!r} {source} {source!r} {''.join(traceback.format_exception(error))}"
        assert "hush" not in told
        assert "cameras/" not in told
    assert "hush" not in caplog.text


@pytest.mark.parametrize("others", [[], ["93.184.216.34"]])
def test_a_name_that_leads_to_a_forbidden_address_is_not_called(
    others: list[str], limits: Limits, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, 80)) for place in [*others, "169.254.169.254"]]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it was called"))
    assert refusal(Source("http", "http://camera.example/"), limits, policy).kind == "forbidden_address"


def test_the_settings_forbid_loopback_and_private_addresses(limits: Limits, policy: Policy) -> None:
    strict = replace(policy, allow_loopback=False, allow_private=False)
    for host in ("127.0.0.1", "localhost", "[::1]", "2130706433", "10.1.2.3", "[::ffff:192.168.1.1]"):
        assert refusal(Source("http", f"http://{host}:9/"), limits, strict).kind == "forbidden_address"


@pytest.mark.parametrize("place", ["10.0.0.5", "192.168.7.20"])
def test_private_addresses_alone_are_forbidden_also_behind_a_name(
    place: str, limits: Limits, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = replace(policy, allow_private=False)
    places = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it was called"))
    for host in (place, "camera.example"):
        error = refusal(Source("http", f"http://{host}/"), limits, strict)
        assert (error.kind, error.permanent) == ("forbidden_address", True)


def test_a_redirect_to_a_name_that_leads_to_a_forbidden_address_is_not_followed(
    limits: Limits, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = socket.socket.connect

    def only_here(sock: socket.socket, place: tuple[str, int]) -> None:
        if place[0] != "127.0.0.1":
            pytest.fail("it was called")
        connect(sock, place)

    places = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
    monkeypatch.setattr(socket.socket, "connect", only_here)
    with server(saying(b"HTTP/1.1 302 Go\r\nLocation: http://metadata.example/latest\r\n\r\n")) as port:
        error = refusal(Source("http", f"http://127.0.0.1:{port}/"), limits, policy)
    assert (error.kind, error.permanent) == ("forbidden_address", True)


def test_connecting_has_a_limit_of_its_own(limits: Limits, policy: Policy) -> None:
    quick = replace(limits, connect_s=0.5, first_frame_s=5.0, total_s=6.0)
    # No answer to the connection; no answer to TLS, which belongs to connecting.
    for scheme, deaf in (("http", full_port()), ("https", server(saying(hold=True)))):
        with deaf as port:
            started = time.monotonic()
            error = refusal(Source("http", f"{scheme}://127.0.0.1:{port}/"), quick, policy)
            assert time.monotonic() - started < 2 * PATIENCE
            assert (error.kind, error.permanent) == ("timeout", False)
            assert "could not be connected to within 0.5 seconds" in str(error)


def test_an_unknown_name_and_a_slow_name_server_are_told(
    limits: Limits, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = refusal(Source("http", "http://camera.example/"), limits, policy)
    assert (error.kind, error.permanent) == ("unknown_host", False)  # a name server may be out for a while
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3 * PATIENCE) or [])
    started = time.monotonic()
    assert refusal(Source("http", "http://camera.example/"), limits, policy).kind == "timeout"
    assert time.monotonic() - started < 2.5 * PATIENCE


@pytest.mark.parametrize("answer", [b"\x00\xff" * 200, b"SSH-2.0-OpenSSH_9\r\n", b"", b"HTTP/1.1 999 x\r\n\r\n"])
def test_what_is_no_http_is_told(answer: bytes, limits: Limits, policy: Policy) -> None:
    with server(saying(answer)) as port:
        assert refusal(Source("http", f"http://127.0.0.1:{port}/"), limits, policy).kind in (
            "garbage",
            "unreachable",
            "server_error",
        )


def test_a_stream_that_is_asked_for_as_a_picture_is_told(
    cameras: SimulatedCameras, limits: Limits, policy: Policy
) -> None:
    cameras.behave(1, "ok")
    started = time.monotonic()
    assert "Choose HTTP stream (MJPEG)" in str(refusal(Source("http", cameras.address(1, "mjpeg")), limits, policy))
    assert time.monotonic() - started < limits.first_frame_s


def test_odd_streams_are_understood(cameras: SimulatedCameras, limits: Limits, policy: Policy) -> None:
    jpeg = picture(cameras, limits, policy)
    bodies = [
        b"\r\n--x\r\n\r\n" + jpeg + b"\r\n--x\r\n",
        b"--x\nContent-type: image/jpeg\n\n" + jpeg + b"\n--x\n",
        b"----x\r\nCONTENT-LENGTH: %d\r\n\r\n" % len(jpeg) + jpeg,
        b"--x\r\n\r\n" + jpeg,  # and hangs up
        jpeg,
    ]
    for body in bodies:
        with server(saying(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n", body)) as port:
            got = grab(Source("mjpeg", f"http://127.0.0.1:{port}/"), limits, policy)
            assert got.info.width == 640
            assert got.fingerprint
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (jpeg[:1000], jpeg[1000:])) + b"0\r\n\r\n"
    with server(saying(OK + b"Transfer-Encoding: chunked\r\n\r\n", chunked)) as port:
        assert grab(Source("http", f"http://127.0.0.1:{port}/"), limits, policy).content == jpeg


def test_a_whole_picture_with_silence_after_it_is_taken_when_time_is_over(
    cameras: SimulatedCameras, limits: Limits, policy: Policy
) -> None:
    jpeg = picture(cameras, limits, policy)
    for kind, head, tail in (("http", b"", b""), ("mjpeg", b"--x\r\n\r\n", b"\r\n"), ("mjpeg", b"", b"\n")):
        with server(saying(OK + b"\r\n" + head, jpeg, tail, hold=True)) as port:
            started = time.monotonic()
            assert grab(Source(kind, f"http://127.0.0.1:{port}/"), limits, policy).content == jpeg
            assert time.monotonic() - started < limits.total_s + 0.5
        with server(saying(OK + b"\r\n" + head, jpeg[:-2], tail, hold=True)) as port:
            assert refusal(Source(kind, f"http://127.0.0.1:{port}/"), limits, policy).kind == "timeout"


def test_a_picture_with_too_many_pixels_is_refused(cameras: SimulatedCameras, limits: Limits, policy: Policy) -> None:
    cameras.behave(7, "ok")
    error = refusal(Source("http", cameras.address(7)), replace(limits, max_pixels=1000), policy)
    assert (error.kind, error.permanent) == ("too_large", True)


def test_a_self_signed_certificate_is_taken_only_where_it_is_not_verified(
    certificate: Path, cameras: SimulatedCameras, limits: Limits, policy: Policy
) -> None:
    jpeg = picture(cameras, limits, policy)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with server(saying(OK + b"\r\n", jpeg), context) as port:
        address = f"https://127.0.0.1:{port}/"
        assert grab(Source("http", address, verify_tls=False), limits, policy).content == jpeg
        error = refusal(Source("http", address), limits, policy)
        assert (error.kind, error.permanent) == ("tls", True)
    with server(saying(hold=True), context) as port:
        assert refusal(Source("http", f"https://127.0.0.1:{port}/", verify_tls=False), limits, policy).kind == "timeout"
    with server(saying(OK)) as port:
        assert refusal(Source("http", f"https://127.0.0.1:{port}/"), limits, policy).kind == "tls"
    with server(lambda connection: time.sleep(2)) as port:  # no handshake
        assert refusal(Source("http", f"https://127.0.0.1:{port}/"), limits, policy).kind == "timeout"


@pytest.fixture
def new_contexts() -> Iterator[None]:
    """What is trusted is read once by a process: here anew, and once more after the test."""
    tls_context.cache_clear()
    yield
    tls_context.cache_clear()


def test_an_own_authority_is_trusted_for_pictures_of_the_name_that_it_certifies(
    new_contexts: None,
    certificate: Path,
    cameras: SimulatedCameras,
    limits: Limits,
    policy: Policy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jpeg = picture(cameras, limits, policy)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with server(saying(OK + b"\r\n", jpeg), context) as port:
        source = Source("http", f"https://127.0.0.1:{port}/")
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        assert refusal(source, limits, policy).kind == "tls"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        tls_context.cache_clear()
        assert grab(source, limits, policy).content == jpeg
        error = refusal(Source("http", f"https://localhost:{port}/"), limits, policy)  # not in the certificate
        assert (error.kind, error.permanent) == ("tls", True)


def test_many_threads_grab_at_once_and_the_bad_do_not_hold_up_the_good(
    cameras: SimulatedCameras, limits: Limits, policy: Policy
) -> None:
    for number in range(24):
        cameras.behave(number, "silent" if number % 3 == 0 else "ok")

    def one(number: int) -> str:
        try:
            return grab(Source("http", cameras.address(number)), limits, policy).info.format
        except GrabError as error:
            return error.kind

    with ThreadPoolExecutor(24) as threads:
        got = list(threads.map(one, [number % 24 for number in range(96)]))
    assert got == ["timeout" if number % 3 == 0 else "jpeg" for number in range(24)] * 4
