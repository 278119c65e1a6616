"""The simulated cameras, which benches and other tests rely on to behave as badly as they say."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import pairwise

import cv2
import numpy as np
import pytest
import requests
from PIL import Image
from requests.auth import HTTPBasicAuth, HTTPDigestAuth

from detection.management.commands._simulated import SimulatedCameras
from detection.management.commands._simulated_answers import BEHAVIOURS
from tests.processes import PATIENCE, wait_for

# Nothing is said for so long: that is silence. All that is said is said much sooner.
SILENCE_S = 0.3


@pytest.fixture(scope="module")
def cameras():
    with SimulatedCameras(30) as cameras:
        yield cameras


@pytest.fixture(scope="module")
def elsewhere():
    with SimulatedCameras(3, process=True) as cameras:
        yield cameras


def get(address: str, **options) -> requests.Response:
    return requests.get(address, timeout=5, **options)


def pixels(content: bytes) -> str:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (360, 640, 3)
    return hashlib.sha256(picture.tobytes()).hexdigest()


@contextmanager
def connected(address: str):
    """A connection on which the camera has been asked for its picture."""
    host, port = address.split("/")[2].split(":")
    with closing(socket.create_connection((host, int(port)), timeout=5)) as connection:
        connection.sendall(f"GET /{address.split('/', 3)[3]} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        yield connection


def heard(connection: socket.socket, silence_s: float = SILENCE_S) -> tuple[bytes, bool]:
    """What is said until a silence, and whether the camera has hung up then."""
    connection.settimeout(silence_s)
    said = b""
    with suppress(TimeoutError):
        while part := connection.recv(65536):
            said += part
        return said, True
    return said, False


def test_no_two_pictures_of_a_camera_in_a_row_are_the_same_and_no_two_answers_ever(cameras):
    contents = [get(cameras.address(number)).content for number in (0, 1) for _ in range(45)]
    shown = [pixels(content) for content in contents]
    assert len(set(contents)) == len(contents)
    assert all(one != other for one, other in pairwise(shown))


def test_a_picture_is_a_jpeg_that_strict_readers_take_too(cameras):
    answer = get(cameras.address(2))
    assert answer.headers["Content-Type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as image:
        image.load()
        assert (image.format, image.size) == ("JPEG", (640, 360))
        assert image.info["comment"] == b"camera 2 picture 1"


def test_a_frozen_camera_sends_what_it_sent_last(cameras):
    before = get(cameras.address(3)).content
    cameras.behave(3, "frozen")
    assert {get(cameras.address(3)).content for _ in range(3)} == {before}
    cameras.behave(3, "ok")
    assert pixels(get(cameras.address(3)).content) != pixels(before)


@pytest.mark.parametrize(("kind", "says_lengths"), [("mjpeg", True), ("mjpeg_bare", False)])
def test_a_stream_has_part_after_part_with_pictures_that_differ(cameras, kind, says_lengths):
    with get(cameras.address(4, kind), stream=True) as answer:
        assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=simulated"
        said = b""
        for chunk in answer.iter_content(4096):
            said += chunk
            if said.count(b"--simulated") == 4:
                break
    parts = [part.partition(b"\r\n\r\n") for part in said.split(b"--simulated")[1:4]]
    assert len({pixels(content.removesuffix(b"\r\n")) for _, _, content in parts}) == 3
    for head, _, content in parts:
        length = f"Content-Length: {len(content) - 2}".encode()
        assert (length in head) is says_lengths


def test_a_silent_camera_says_nothing_and_does_not_hang_up(cameras):
    cameras.behave(5, "silent")
    with connected(cameras.address(5)) as connection:
        assert heard(connection) == (b"", False)


@pytest.mark.parametrize("kind", ["http", "mjpeg", "mjpeg_bare"])
@pytest.mark.parametrize(("behaviour", "hangs_up"), [("half", False), ("cut", True)])
def test_half_a_picture_is_half_a_picture(cameras, behaviour, hangs_up, kind):
    cameras.behave(6, behaviour)
    with connected(cameras.address(6, kind)) as connection:
        said, ended = heard(connection)
    assert ended is hangs_up
    assert b"\xff\xd8\xff" in said
    assert b"\xff\xd9" not in said[-2:]
    assert len(said) > 10_000


@pytest.mark.parametrize("kind", ["http", "mjpeg"])
def test_a_trickling_camera_says_one_byte_a_second_from_the_beginning(cameras, kind):
    cameras.behave(7, "trickle")
    with connected(cameras.address(7, kind)) as connection:
        assert connection.recv(65536) == b"H"
        began = time.monotonic()
        assert connection.recv(65536) == b"T"
        assert 0.5 < time.monotonic() - began < 3 * PATIENCE


@pytest.mark.parametrize(
    ("behaviour", "status", "content_type"),
    [
        ("garbage", 200, "image/jpeg"),
        ("html", 200, "text/html"),
        ("unauthorised", 401, "text/html"),
        ("missing", 404, "text/html"),
        ("broken", 500, "text/html"),
    ],
)
def test_what_is_no_picture_says_so_or_lies(cameras, behaviour, status, content_type):
    cameras.behave(8, behaviour)
    answer = get(cameras.address(8))
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, content_type)
    assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR) is None


def test_a_redirect_leads_to_the_metadata_of_a_cloud_or_round_and_round(cameras):
    cameras.behave(9, "redirect")
    answer = get(cameras.address(9), allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://169.254.169.254/latest/")
    cameras.behave(9, "redirect_loop")
    with pytest.raises(requests.TooManyRedirects):
        get(cameras.address(9))


@pytest.mark.parametrize(("behaviour", "right"), [("basic", HTTPBasicAuth), ("digest", HTTPDigestAuth)])
def test_a_password_is_asked_for_and_checked(cameras, behaviour, right):
    cameras.behave(10, behaviour)
    asked = get(cameras.address(10))
    assert asked.status_code == 401
    assert asked.headers["WWW-Authenticate"].lower().startswith(behaviour)
    assert get(cameras.address(10), auth=right("camera", "wrong")).status_code == 401
    assert get(cameras.address(10), auth=right("someone", "s3cret")).status_code == 401
    pixels(get(cameras.address(10), auth=right("camera", "s3cret")).content)


def test_digest_is_not_satisfied_with_the_password_by_basic(cameras):
    cameras.behave(11, "digest")
    assert get(cameras.address(11), auth=("camera", "s3cret")).status_code == 401


@pytest.mark.parametrize("kind", ["http", "mjpeg"])
def test_a_huge_picture_does_not_end_and_holds_up_no_other_camera(cameras, kind):
    cameras.behave(12, "huge")
    with get(cameras.address(12, kind), stream=True) as answer:
        size = 0
        for chunk in answer.iter_content(1024 * 1024):
            size += len(chunk)
            if size > 20 * 1024 * 1024:
                break
        assert "Content-Length" not in answer.headers
        pixels(get(cameras.address(13)).content)


def test_at_the_address_of_a_refused_camera_nobody_listens(cameras):
    cameras.behave(14, "refused")
    with pytest.raises(requests.ConnectionError, match="refused"):
        get(cameras.address(14))
    cameras.behave(14, "ok")
    assert get(cameras.address(14)).status_code == 200


def test_requests_are_counted_for_each_camera(cameras):
    before = cameras.asked(15)
    get(cameras.address(15))
    get(cameras.address(16))
    assert cameras.asked(15) == before + 1


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda cameras: cameras.behave(0, "sleepy"), "no behaviour “sleepy”"),
        (lambda cameras: cameras.behave(30, "ok"), "no camera 30; there are 0 to 29"),
        (lambda cameras: cameras.address(-1), "no camera -1"),
        (lambda cameras: cameras.address(0, "rtsp"), "no kind “rtsp”"),
    ],
)
def test_what_there_is_not_is_refused(cameras, ask, sentence):
    with pytest.raises(ValueError, match=sentence):
        ask(cameras)
    assert get(cameras.address(29)).status_code == 200
    assert get(cameras.address(29).replace("/29.", "/30.")).status_code == 404


def test_in_a_process_of_their_own_they_behave_from_the_next_request_on(elsewhere):
    assert elsewhere.pid != os.getpid()
    pixels(get(elsewhere.address(0)).content)
    for behaviour in BEHAVIOURS:
        elsewhere.behave(1, behaviour)  # each is known there too
    elsewhere.behave(1, "broken")
    assert get(elsewhere.address(1)).status_code == 500
    elsewhere.behave(1, "ok")
    assert get(elsewhere.address(1)).status_code == 200
    assert elsewhere.asked(1) == 2


@pytest.mark.parametrize("process", [False, True])
def test_the_end_does_not_wait_for_a_camera_that_says_nothing(process):
    with ExitStack() as stack:
        cameras = stack.enter_context(SimulatedCameras(process=process))
        cameras.behave(0, "silent")
        address = cameras.address(0)
        with connected(address) as connection:
            assert heard(connection) == (b"", False)
            began = time.monotonic()
            stack.close()
            assert time.monotonic() - began < 3 * PATIENCE
            assert heard(connection, 2.0) == (b"", True)
    wait_for("nobody listens any more", lambda: _refuses(address))


def test_a_process_of_their_own_ends_with_the_one_that_was_killed():
    script = (
        "from detection.management.commands._simulated import SimulatedCameras as S\n"
        "with S(process=True) as cameras: print(cameras.address(0), flush=True); input()"
    )
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as bench:
        address = bench.stdout.readline().strip()
        assert get(address).status_code == 200
        bench.kill()
    wait_for("nobody listens any more", lambda: _refuses(address))


def _refuses(address: str) -> bool:
    try:
        get(address)
    except requests.ConnectionError:
        return True
    return False
