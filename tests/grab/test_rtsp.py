from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.grab.servers import saying, server
from tests.grab.test_http import refusal
from workers.grab import GrabError, Limits, Policy, Source, children, grab
from workers.grab import rtsp as grab_rtsp
from workers.grab.children import Pool
from workers.grab.line import Clock, Line
from workers.grab.relay import Relay
from workers.grab.replies import Replies

LOGIN = f"camera:{quote('s3cret @:/?#%', safe='')}"


@pytest.fixture
def patient(limits: Limits) -> Limits:
    """An encoder that starts on a busy machine takes a second or two."""
    return replace(limits, first_frame_s=6.0, total_s=8.0)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("path", ["h264", "mjpeg"])
def test_a_stream_gives_a_picture(
    path: str, transport: str, rtsp: Callable[..., object], patient: Limits, policy: Policy
) -> None:
    got = grab(Source("rtsp", rtsp().address(path), transport), patient, policy)
    assert (got.info.format, got.info.width, got.info.height) == ("jpeg", 320, 176)
    assert got.content.startswith(b"\xff\xd8")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("method", ["--basic", "--digest"])
def test_the_password_opens_a_stream_and_a_wrong_one_does_not(
    method: str, transport: str, rtsp: Callable[..., object], patient: Limits, policy: Policy
) -> None:
    guarded = rtsp(method)
    assert grab(Source("rtsp", guarded.address("h264", LOGIN), transport), patient, policy).info.width == 320
    for login in ("camera:hush", ""):
        error = refusal(Source("rtsp", guarded.address("h264", login), transport), patient, policy)
        assert (error.kind, error.permanent) == ("unauthorised", True)
        assert "hush" not in str(error)


def test_an_unknown_path_is_told(rtsp: Callable[..., object], patient: Limits, policy: Policy) -> None:
    error = refusal(Source("rtsp", rtsp().address("nothing")), patient, policy)
    assert (error.kind, error.permanent) == ("not_found", True)


def test_a_server_that_was_killed_is_grabbed_from_when_it_is_back(
    rtsp: Callable[..., object], patient: Limits, policy: Policy
) -> None:
    first = rtsp(fresh=True)
    source = Source("rtsp", first.address("h264"))
    assert grab(source, patient, policy).info.width == 320
    first.kill()
    assert refusal(source, patient, policy).kind == "refused"
    rtsp(port=first.port)
    assert grab(source, patient, policy).info.width == 320


def test_a_server_that_hangs_is_left_in_time(limits: Limits, policy: Policy) -> None:
    with server(saying(hold=True)) as port:
        started = time.monotonic()
        assert refusal(Source("rtsp", f"rtsp://127.0.0.1:{port}/"), limits, policy).kind == "timeout"
        assert time.monotonic() - started < limits.total_s + 2.5  # with the start of a child


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"RTSP/1.0 302 Go\r\nCSeq: 1\r\nLocation: rtsp://169.254.169.254/latest\r\n\r\n", "forbidden_address"),
        (b"RTSP/1.0 301 Go\r\nCSeq: 1\r\nLocation: rtsp://10.9.8.7/\r\n\r\n", "redirects"),
        (b"RTSP/1.0 503 Busy\r\nCSeq: 1\r\n\r\n", "server_error"),
        (b"HTTP/1.1 400 What\r\n\r\n", "garbage"),
        (b"\x00\x01\x02" * 500, "garbage"),
        (b"", "unreachable"),
    ],
)
def test_what_a_stream_cannot_be_got_from_is_told(answer: bytes, kind: str, limits: Limits, policy: Policy) -> None:
    with server(saying(answer)) as port:
        assert refusal(Source("rtsp", f"rtsp://127.0.0.1:{port}/"), limits, policy).kind == kind


def test_forbidden_addresses_are_not_called(limits: Limits, policy: Policy) -> None:
    strict = replace(policy, allow_loopback=False)
    assert refusal(Source("rtsp", "rtsp://127.0.0.1:554/"), limits, strict).kind == "forbidden_address"


def test_replies_pass_in_any_pieces_and_name_no_other_place() -> None:
    said = (
        b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP;unicast;client_port=1-2;server_port=53-54;source=10.0.0.9\r\n"
        b"Content-Length: 3\r\n\r\nabc$\x00\x00\x09RTSP/1.0 RTSP/1.0 401 No\r\n\r\n"
    )
    passed = said.replace(b"53-54;source=10.0.0.9", b"9-9")
    said = said.replace(b"abc$", b"abc$\x00\x00\x04RTSP\r\n$")  # what FFmpeg would take for replies
    for size in (1, 7, len(said)):
        replies = Replies()
        out = b"".join(replies.feed(said[at : at + size]) for at in range(0, len(said), size))
        assert out == passed
        assert replies.status == 401
    with pytest.raises(GrabError):
        Replies().feed(b"A" * 70_000)


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        (b"RTSP/1.0 200 OK\nCSeq: 1\n\n", b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"),
        (b"RTSP/1.0 200 OK\r\r\nCS\req: 1\n\r\r\n", b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"),
        (b"\r\n\nRTSP/1.0 200\n\n", b"RTSP/1.0 200\r\n\r\n"),
        (
            b"RTSP/1.0 200 OK\r\nContent-Length: 90\r\nContent-Length: 2\r\nContent-Length : 7\r\n\r\nab",
            b"RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
        ),
        (
            b"RTSP/1.0 401 No\r\nWWW-Authenticate: Basic\r\nWWW-Authenticate: Digest\r\nLocation: x\r\n folded\r\n"
            b"$\x01\x02\x03\r\nServer: WMServer/9\r\n\r\n",
            b"RTSP/1.0 401 No\r\nWWW-Authenticate: Basic\r\nWWW-Authenticate: Digest\r\n\r\n",
        ),
        (b"OPTIONS rtsp://x RTSP/1.0\r\nCSeq: 5\r\n\r\n", b"OPTIONS rtsp://x RTSP/1.0\r\nCSeq: 5\r\n\r\n"),
    ],
)
def test_heads_are_read_as_ffmpeg_reads_them_and_written_so_that_there_is_one_way_to_read_them(
    said: bytes, passed: bytes
) -> None:
    for size in (1, len(said)):
        replies = Replies()
        assert b"".join(replies.feed(said[at : at + size]) for at in range(0, len(said), size)) == passed


FULL = 'interleaved=0-1;ssrc=AB12;mode="PLAY"'


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        (f"RTP/AVP/TCP;unicast;{FULL}", f"RTP/AVP/TCP;unicast;{FULL}"),
        ("RTP/AVP;multicast;destination=239.1.2.3;port=5000-5001;ttl=9", "RTP/AVP;unicast"),
        ("RTP/AVP;unicast;/source=10.0.0.9;client_port=1-2;/server_port=53", "RTP/AVP;unicast;client_port=1-2"),
        ("/RTP/AVP; client_port=1 ;server_port=53;SOURCE=x", "RTP/AVP;unicast;client_port=1;server_port=9-9"),
        ("RTP/AVP;unicast;client_port=1,RTP/AVP;source=x", "RTP/AVP;unicast;client_port=1"),
        ("x-real-rdt/udp;source=10.0.0.9", None),
    ],
)
def test_of_a_transport_only_what_names_no_place_is_passed_on(said: str, passed: str | None) -> None:
    out = Replies().feed(f"RTSP/1.0 200 OK\r\nTransport: a\r\nTransport: {said}\r\n\r\n".encode()).decode()
    assert out == "RTSP/1.0 200 OK\r\n" + (f"Transport: {passed}\r\n" if passed else "") + "\r\n"


@pytest.mark.parametrize(
    "said",
    [
        b"RTSP/1.0 200 OK\r\n\x00\r\nRTSP/1.0 302 Go\r\n\r\n",
        b"RTSP/1.0\t302 Go\r\n\r\n",
        b" RTSP/1.0 302 Go\n\n",
        b"RTSP/1.0 x\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
    ],
)
def test_what_would_lead_ffmpeg_elsewhere_or_is_no_rtsp_ends_the_grab(said: bytes) -> None:
    with pytest.raises(GrabError):
        Replies().feed(said)


# Encrypted


@pytest.fixture
def trusting(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Children that trust the certificate's authority."""
    pool = Pool(most=1, keep=1)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(children, "WATCHERS", pool)
    yield
    pool.close()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_an_encrypted_stream_gives_a_picture_and_its_certificate_is_checked(
    transport: str, certificate: Path, rtsp: Callable[..., object], patient: Limits, policy: Policy
) -> None:
    address = rtsp(f"--tls={certificate}", fresh=True).address("h264", scheme="rtsps")
    assert grab(Source("rtsp", address, transport, verify_tls=False), patient, policy).info.width == 320
    error = refusal(Source("rtsp", address, transport), patient, policy)
    assert (error.kind, error.permanent) == ("tls", True)


def test_an_own_authority_is_trusted_for_streams(
    trusting: None, certificate: Path, rtsp: Callable[..., object], patient: Limits, policy: Policy
) -> None:
    address = rtsp(f"--tls={certificate}", fresh=True).address("h264", scheme="rtsps")
    assert grab(Source("rtsp", address), patient, policy).info.width == 320


def test_what_tls_says_of_its_own_does_not_keep_the_request_back(certificate: Path) -> None:
    """TLS 1.3 sends tickets right after the handshake, and whoever asks speaks only then."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate)
    reply = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"
    clock = Clock(time.monotonic() + 3)
    with server(saying(reply, reply), context) as port:
        camera = Line(True, True, False, 1.0, clock).connect("127.0.0.1", port, tls=True)
        with Relay(camera, clock) as relay, socket.create_connection(("127.0.0.1", relay.port), 2) as client:
            time.sleep(0.3)
            client.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            assert client.recv(65536).startswith(reply)
            assert relay.replies.status == 200


# Streams that stop


SDP = b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:track\r\n"
# RTP, and JPEG in it (RFC 2435): the first part of a picture of 64 x 64 pixels, which has no end.
PART = b"\x80\x1a\x00\x01" + bytes(4) + b"\x00\x00\x00\x01" + bytes(4) + b"\x01\x32\x08\x08" + bytes(range(200))


def half_a_frame(connection: socket.socket) -> None:
    while asked := connection.recv(65536).decode():
        number = asked.split("CSeq: ")[1].split("\r\n")[0]
        head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1\r\n".encode()
        if asked.startswith("SETUP"):
            head += b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        if asked.startswith("DESCRIBE"):
            head += b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(SDP) + SDP
            connection.sendall(head)
            continue
        connection.sendall(head + b"\r\n")
        if asked.startswith("PLAY"):
            connection.sendall(b"$\x00" + len(PART).to_bytes(2, "big") + PART)


def a_byte_a_second(connection: socket.socket) -> None:
    connection.recv(65536)
    for byte in b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n":
        connection.sendall(bytes([byte]))
        time.sleep(1)


@pytest.mark.parametrize(
    ("talk", "words"), [(half_a_frame, "gave no whole picture"), (a_byte_a_second, "began no stream")]
)
def test_a_stream_that_stops_or_trickles_is_left_in_time(
    talk: Callable[[socket.socket], None], words: str, limits: Limits, policy: Policy
) -> None:
    with server(talk) as port:
        started = time.monotonic()
        error = refusal(Source("rtsp", f"rtsp://127.0.0.1:{port}/"), limits, policy)
        assert (error.kind, error.permanent) == ("timeout", False)
        assert words in str(error)
        assert time.monotonic() - started < limits.total_s + 2.5  # with the start of a child


def test_a_name_that_leads_to_a_forbidden_address_is_not_called(
    limits: Limits, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, 554)) for place in ("93.184.216.34", "169.254.169.254")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it was called"))
    with pytest.raises(GrabError) as caught:
        grab_rtsp.grab("rtsp://camera.example/", "tcp", True, limits, policy)
    assert caught.value.kind == "forbidden_address"


MD5, SHA_256, BASIC = (
    'Digest realm="a", nonce="n", algorithm=MD5',
    'Digest realm="a", nonce="m", algorithm=SHA-256',
    'Basic realm="b"',
)


@pytest.mark.parametrize(
    ("asked", "passed"),
    [
        ([MD5], ['Digest realm="a", nonce="n", algorithm="MD5"']),
        ([MD5, SHA_256], ['Digest realm="a", nonce="n", algorithm="MD5"']),
        ([f"{SHA_256}, {BASIC}"], ['Basic realm="b"']),
        ([BASIC, 'Digest realm="a\\"b", nonce="n"'], ['Basic realm="b"', 'Digest realm="a\\"b", nonce="n"']),
    ],
)
def test_ffmpeg_is_asked_for_logins_that_it_knows_only(asked: list[str], passed: list[str]) -> None:
    head = "".join(f"WWW-Authenticate: {each}\r\n" for each in asked)
    out = Replies().feed(f"RTSP/1.0 401 No\r\nCSeq: 1\r\n{head}\r\n".encode()).decode()
    assert [line for line in out.split("\r\n") if line.startswith("WWW")] == [f"WWW-Authenticate: {p}" for p in passed]


def test_a_login_that_is_not_possible_is_told() -> None:
    with pytest.raises(GrabError, match="Allow MD5 or Basic") as caught:
        Replies().feed(f"RTSP/1.0 401 No\r\nCSeq: 1\r\nWWW-Authenticate: {SHA_256}\r\n\r\n".encode())
    assert (caught.value.kind, caught.value.permanent) == ("unauthorised", True)
