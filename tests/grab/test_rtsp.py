from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import av
import av.error
import pytest

from tests.grab.servers import full_port, saying, server
from tests.grab.test_http import refusal
from workers.grab import GrabError, Limits, Policy, Source, children, grab
from workers.grab import rtsp as grab_rtsp
from workers.grab.children import Pool
from workers.grab.line import Clock, Line
from workers.grab.relay import Relay

LOGIN = f"camera:{quote('s3cret @:/?#%', safe='')}"


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


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_server_that_was_killed_is_grabbed_from_when_it_is_back(
    transport: str, rtsp: Callable[..., object], patient: Limits, policy: Policy
) -> None:
    first = rtsp(fresh=True)
    source = Source("rtsp", first.address("h264"), transport)
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


def test_connecting_has_a_limit_of_its_own(limits: Limits, policy: Policy) -> None:
    quick = replace(limits, connect_s=0.5, first_frame_s=5.0, total_s=6.0)
    # No answer to the connection; no answer to TLS, which belongs to connecting.
    for scheme, deaf in (("rtsp", full_port()), ("rtsps", server(saying(hold=True)))):
        with deaf as port:
            started = time.monotonic()
            error = refusal(Source("rtsp", f"{scheme}://127.0.0.1:{port}/"), quick, policy)
            assert time.monotonic() - started < quick.connect_s + 2.5  # with the start of a child
            assert (error.kind, error.permanent) == ("timeout", False)
            assert "could not be connected to within 0.5 seconds" in str(error)


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


@pytest.mark.parametrize(
    ("status", "kind", "permanent"),
    [
        (403, "unauthorised", True),
        (410, "not_found", True),
        (454, "not_found", True),
        (461, "http_status", True),
        (451, "http_status", True),
        (500, "server_error", False),
    ],
)
def test_a_status_is_told_for_what_it_means(
    status: int, kind: str, permanent: bool, patient: Limits, policy: Policy
) -> None:
    with server(saying(b"RTSP/1.0 %d x\r\nCSeq: 1\r\n\r\n" % status)) as port:
        error = refusal(Source("rtsp", f"rtsp://127.0.0.1:{port}/"), patient, policy)
    assert (error.kind, error.permanent) == (kind, permanent)
    assert ("Choose the other" in str(error)) == (status == 461)


def test_forbidden_addresses_are_not_called(limits: Limits, policy: Policy) -> None:
    strict = replace(policy, allow_loopback=False)
    assert refusal(Source("rtsp", "rtsp://127.0.0.1:554/"), limits, strict).kind == "forbidden_address"
    for place in ("10.0.0.5", "192.168.7.20"):
        error = refusal(Source("rtsp", f"rtsp://{place}/"), limits, replace(policy, allow_private=False))
        assert (error.kind, error.permanent) == ("forbidden_address", True)


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
    play(connection, b"RTP/AVP/TCP;unicast;interleaved=0-1", b"$\x00" + len(PART).to_bytes(2, "big") + PART)


def nothing_by_udp(connection: socket.socket) -> None:
    """As where a firewall lets the control connection through, and drops every packet of the stream."""
    play(connection, b"RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001", b"")


def play(connection: socket.socket, transport: bytes, sent: bytes) -> None:
    while asked := connection.recv(65536).decode():
        number = asked.split("CSeq: ")[1].split("\r\n")[0]
        head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1\r\n".encode()
        if asked.startswith("SETUP"):
            head += b"Transport: " + transport + b"\r\n"
        if asked.startswith("DESCRIBE"):
            head += b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(SDP) + SDP
            connection.sendall(head)
            continue
        connection.sendall(head + b"\r\n")
        if asked.startswith("PLAY"):
            connection.sendall(sent)


def a_byte_a_second(connection: socket.socket) -> None:
    connection.recv(65536)
    for byte in b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n":
        connection.sendall(bytes([byte]))
        time.sleep(1)


@pytest.mark.parametrize(
    ("talk", "transport", "words"),
    [
        (half_a_frame, "tcp", "gave no whole picture"),
        (a_byte_a_second, "tcp", "began no stream"),
        (nothing_by_udp, "udp", "where the transport is UDP, try TCP"),
    ],
)
def test_a_stream_that_stops_or_trickles_is_left_in_time(
    talk: Callable[[socket.socket], None], transport: str, words: str, limits: Limits, policy: Policy
) -> None:
    with server(talk) as port:
        started = time.monotonic()
        error = refusal(Source("rtsp", f"rtsp://127.0.0.1:{port}/", transport), limits, policy)
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


def test_the_relay_listens_on_this_machine_only_and_not_for_ever() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        relay = Relay(ours, Clock(time.monotonic() + 0.2))
        assert relay._listener.getsockname()[0] == "127.0.0.1"
        relay._thread.start()
        relay._thread.join(10)
        assert not relay._thread.is_alive()


# What is taken of a stream


@pytest.mark.parametrize("path", ["h264", "mjpeg"])
def test_too_many_pixels_are_refused(path: str, rtsp: Callable[..., object], patient: Limits, policy: Policy) -> None:
    few = replace(patient, first_frame_s=20.0, total_s=30.0, max_pixels=1000)  # FFmpeg looks for seconds
    error = refusal(Source("rtsp", rtsp().address(path)), few, policy)
    assert (error.kind, error.permanent) == ("too_large", True)


def test_a_stream_without_video_is_told(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.wav"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
    with av.open(str(tmp_path / "a.wav")) as container, pytest.raises(GrabError, match="no video"):
        grab_rtsp._first_picture(container, Clock(time.monotonic() + 60))


def stream_of(*said: tuple[bool, object]) -> SimpleNamespace:
    """A container with these packets: whether each begins a picture of its own, and what comes of decoding it."""
    packets = [SimpleNamespace(is_keyframe=key, comes=comes) for key, comes in said]

    def decode(packet: SimpleNamespace) -> list[object]:
        if isinstance(packet.comes, Exception):
            raise packet.comes
        return [packet.comes]

    stream = SimpleNamespace(codec_context=SimpleNamespace(decode=decode))
    return SimpleNamespace(streams=SimpleNamespace(video=[stream]), demux=lambda _: iter(packets))


WHOLE, GREY = SimpleNamespace(is_corrupt=False), SimpleNamespace(is_corrupt=True)
LATER = SimpleNamespace(is_corrupt=False)  # what depends on a picture that is not there
BROKEN = av.error.InvalidDataError(1094995529, "broken")


@pytest.mark.parametrize("before", [[(False, LATER)], [(True, BROKEN), (False, LATER)], [(True, GREY), (False, LATER)]])
def test_a_picture_begins_at_a_key_frame_that_decodes(before: list[tuple[bool, object]]) -> None:
    clock = Clock(time.monotonic() + 60)
    assert grab_rtsp._first_picture(stream_of(*before, (True, WHOLE)), clock) is WHOLE
    with pytest.raises(EOFError):
        grab_rtsp._first_picture(stream_of(*before), clock)
