"""What a camera answers by HTTP: its status, and how its body ends and is bounded."""

from __future__ import annotations

import gzip
import socket
import time
from dataclasses import replace

import pytest

from detection.management.commands._simulated import SimulatedCameras
from tests.grab.servers import saying, server
from tests.grab.test_http import OK, picture, refusal
from workers.grab import Limits, Policy, Source, grab


@pytest.mark.parametrize(
    ("status", "kind", "permanent"),
    [
        (204, "http_status", False),
        (400, "http_status", True),
        (403, "unauthorised", True),
        (410, "not_found", True),
        (503, "server_error", False),
    ],
)
def test_a_status_is_told_for_what_it_means(
    status: int, kind: str, permanent: bool, patient: Limits, policy: Policy
) -> None:
    with server(saying(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status)) as port:
        error = refusal(Source("http", f"http://127.0.0.1:{port}/"), patient, policy)
    assert (error.kind, error.permanent) == (kind, permanent)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_with_the_cookie_that_it_gave(
    status: int, cameras: SimulatedCameras, patient: Limits, policy: Policy
) -> None:
    jpeg = picture(cameras, patient, policy)

    def talk(connection: socket.socket) -> None:
        request = connection.recv(65536)
        if b"\r\nCookie: seen=1\r\n" in request and request.startswith(b"GET /there "):
            connection.sendall(OK + b"\r\n" + jpeg)
        else:
            connection.sendall(b"HTTP/1.1 %d Go\r\nSet-Cookie: seen=1\r\nLocation: /there\r\n\r\n" % status)

    with server(talk) as port:
        assert grab(Source("http", f"http://127.0.0.1:{port}/"), patient, policy).content == jpeg


@pytest.mark.parametrize("head", [b"", b"--x\r\n\r\n", b"--x\r\nContent-Length: %d\r\n\r\n"])
def test_a_picture_that_has_begun_may_take_longer_than_its_first_byte(
    head: bytes, cameras: SimulatedCameras, patient: Limits, policy: Policy
) -> None:
    jpeg = picture(cameras, patient, policy)
    head = head % len(jpeg) if b"%d" in head else head
    went_on: list[float] = []

    def slowly(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(OK + b"\r\n" + head + jpeg[:1000])
        time.sleep(1.3)
        went_on.append(time.time())
        connection.sendall(jpeg[1000:] + (b"\r\n--x\r\n" if head else b""))

    with server(slowly) as port:
        source = Source("mjpeg" if head else "http", f"http://127.0.0.1:{port}/")
        got = grab(source, replace(patient, first_frame_s=1.0), policy)
    assert got.content == jpeg
    assert got.taken_at.timestamp() < went_on[0], "when its first byte was there"


def test_more_than_is_allowed_is_refused_before_it_comes_and_to_the_byte(
    cameras: SimulatedCameras, patient: Limits, policy: Policy
) -> None:
    jpeg = picture(cameras, patient, policy)
    small = replace(patient, max_bytes=len(jpeg) - 1)
    said = b"Content-Length: %d\r\n\r\n" % len(jpeg)
    for kind, answer, hold in (
        ("http", OK + said, True),
        ("mjpeg", OK + b"\r\n--x\r\n" + said, True),
        ("http", OK + b"\r\n" + jpeg, False),
    ):
        with server(saying(answer, hold=hold)) as port:
            error = refusal(Source(kind, f"http://127.0.0.1:{port}/"), small, policy)
        assert (error.kind, error.permanent) == ("too_large", True)


def test_a_stream_that_begins_no_picture_is_left_soon(patient: Limits, policy: Policy) -> None:
    with server(saying(OK + b"\r\n", b"x" * 100_000, hold=True)) as port:
        assert refusal(Source("mjpeg", f"http://127.0.0.1:{port}/"), patient, policy).kind == "garbage"


def test_a_delimiter_in_two_pieces_and_a_length_of_nothing_are_understood(
    cameras: SimulatedCameras, patient: Limits, policy: Policy
) -> None:
    jpeg = picture(cameras, patient, policy)

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(OK + b"\r\n--x\r\nContent-Length: 0\r\n\r\n" + jpeg + b"\r\n-")
        time.sleep(0.2)
        connection.sendall(b"-x\r\n")
        connection.recv(65536)

    with server(talk) as port:
        assert grab(Source("mjpeg", f"http://127.0.0.1:{port}/"), patient, policy).content == jpeg


def test_a_packed_answer_is_unpacked_up_to_what_is_allowed(
    cameras: SimulatedCameras, patient: Limits, policy: Policy
) -> None:
    jpeg = picture(cameras, patient, policy)
    packed = OK + b"Content-Encoding: gzip\r\n\r\n"
    with server(saying(packed, gzip.compress(jpeg))) as port:
        assert grab(Source("http", f"http://127.0.0.1:{port}/"), patient, policy).content == jpeg
    with server(saying(packed, gzip.compress(jpeg + bytes(50_000_000)))) as port:
        assert refusal(Source("http", f"http://127.0.0.1:{port}/"), patient, policy).kind == "too_large"
