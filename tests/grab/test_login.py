"""Logging in at a camera by Basic and Digest: what is answered, and what is not."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable
from hashlib import md5
from urllib.parse import quote

import pytest

from detection.management.commands._simulated import SimulatedCameras
from tests.grab.servers import saying, server
from tests.grab.test_http import OK, picture, refusal
from workers.grab import Limits, Policy, Source, grab
from workers.grab.login import digest


def guarded(jpeg: bytes, heard: list[str], *challenges: str) -> Callable[[socket.socket], None]:
    """A camera that gives its picture to whoever answers a challenge, whatever the answer is."""

    def talk(connection: socket.socket) -> None:
        request = connection.recv(65536).decode()  # user names are UTF-8 in it
        if "\r\nAuthorization: " in request:
            heard.append(request)
            connection.sendall(OK + b"\r\n" + jpeg)
        else:
            asked = "".join(f"WWW-Authenticate: {each}\r\n" for each in challenges)
            connection.sendall(f"HTTP/1.1 401 No\r\n{asked}\r\n".encode("latin-1"))

    return talk


@pytest.mark.parametrize(
    ("challenges", "answer"),
    [
        (['Basic realm="a"', 'Digest realm="a", nonce="n", qop="auth"'], 'Digest username="me", realm="a", nonce="n"'),
        (['Digest realm="a", nonce="n", algorithm=SHA-512-256, Basic realm="b"'], "Basic bWU6aHVzaA=="),
        (['Digest realm="a", nonce="n", qop="auth-int"', 'Basic realm="b"'], "Basic bWU6aHVzaA=="),
        (
            ['Digest realm="a",nonce="5",algorithm=MD5', 'Digest realm="a",nonce="6",algorithm=SHA-256'],
            'Digest username="me", realm="a", nonce="6"',
        ),
        (['Digest realm="a" nonce="n" qop="auth-int, auth"'], 'Digest username="me", realm="a", nonce="n"'),
        ([r'Digest realm="a\"\\b, basic c=1", nonce=n'], r'Digest username="me", realm="a\"\\b, basic c=1", nonce="n"'),
    ],
)
def test_the_best_challenge_that_can_be_answered_is_answered(
    challenges: list[str], answer: str, cameras: SimulatedCameras, limits: Limits, policy: Policy
) -> None:
    heard: list[str] = []
    with server(guarded(picture(cameras, limits, policy), heard, *challenges)) as port:
        grab(Source("http", f"http://me:hush@127.0.0.1:{port}/"), limits, policy)
    assert f"\r\nAuthorization: {answer}" in heard[0]


def test_a_digest_is_of_the_very_target_that_is_asked_for(
    cameras: SimulatedCameras, limits: Limits, policy: Policy
) -> None:
    heard: list[str] = []
    with server(guarded(picture(cameras, limits, policy), heard, 'Digest realm="a", nonce="n"')) as port:
        for path in ("/snap|[1].cgi?a=b|c&d=%7e", "//x/?", ""):
            grab(Source("http", f"http://me:hush@127.0.0.1:{port}{path}"), limits, policy)
            assert f' uri="{heard[-1].split(" ", 2)[1]}"' in heard[-1]


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_a_user_name_of_any_letters_is_said(
    scheme: str, cameras: SimulatedCameras, limits: Limits, policy: Policy
) -> None:
    heard: list[str] = []
    with server(guarded(picture(cameras, limits, policy), heard, f'{scheme} realm="a", nonce="n"')) as port:
        login = f"{quote('Łukasz')}:{quote('pä€')}"
        grab(Source("http", f"http://{login}@127.0.0.1:{port}/"), limits, policy)
    who = md5(b"\xc5\x81ukasz:a:p\xc3\xa4\xe2\x82\xac").hexdigest()
    response = md5(f"{who}:n:{md5(b'GET:/').hexdigest()}".encode()).hexdigest()
    basic, hashed = base64.b64encode("Łukasz:pä€".encode()).decode(), f'response="{response}"'
    assert (basic if scheme == "Basic" else hashed) in heard[0]
    assert scheme == "Basic" or 'username="Łukasz"' in heard[0]


@pytest.mark.parametrize(
    "challenge",
    [
        "Digest realm,nonce",
        'Digest realm="a", nonce="b", stale',
        "Digest",
        "",
        ",,=",
        'Digest realm="a", nonce="b',
        "Basic",
    ],
)
def test_a_challenge_of_any_shape_does_no_harm(challenge: str, limits: Limits, policy: Policy) -> None:
    with server(saying(f"HTTP/1.1 401 No\r\nWWW-Authenticate: {challenge}\r\n\r\n".encode())) as port:
        assert refusal(Source("http", f"http://me:hush@127.0.0.1:{port}/"), limits, policy).kind == "unauthorised"


RFC_7616 = {
    "realm": "http-auth@example.org",
    "qop": "auth, auth-int",
    "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
}
RFC_2617 = {"realm": "testrealm@host.com", "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093"}


@pytest.mark.parametrize(
    ("challenge", "password", "cnonce", "response"),
    [
        (
            RFC_7616 | {"algorithm": "MD5"},
            "Circle of Life",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "8ca523f5e9506fed4657c9700eebdbec",
        ),
        (
            RFC_7616 | {"algorithm": "SHA-256"},
            "Circle of Life",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
        (RFC_2617 | {"qop": "auth,auth-int"}, "Circle Of Life", "0a4f113b", "6629fae49393a05397450978507c4ef1"),
        (RFC_2617, "CircleOfLife", "", "1949323746fe6a43ef61f9606e7febea"),
    ],
)
def test_digests_are_those_of_the_standards(
    challenge: dict[str, str], password: str, cnonce: str, response: str
) -> None:
    """RFC 7616, 3.9.1; RFC 2617, 3.5; RFC 2069, 2.4 with its erratum 749."""
    said = digest(challenge, "Mufasa", password, "/dir/index.html", cnonce)
    assert f'response="{response}"' in said
    assert ("qop=auth, nc=00000001" in said) == ("qop" in challenge)


def test_a_session_digest_is_bound_to_its_numbers() -> None:
    said = digest(RFC_2617 | {"algorithm": "MD5-sess"}, "Mufasa", "x", "/", "c")
    nonce = RFC_2617["nonce"]
    who = md5(f"{md5(b'Mufasa:testrealm@host.com:x').hexdigest()}:{nonce}:c".encode()).hexdigest()
    response = md5(f"{who}:{nonce}:{md5(b'GET:/').hexdigest()}".encode()).hexdigest()
    assert f'response="{response}"' in said
    assert 'cnonce="c"' in said


@pytest.mark.parametrize("scheme", ['Basic realm="a"', 'Digest realm="a", nonce="n", qop="auth"'])
def test_who_is_sent_on_at_the_same_camera_logs_in_there_too(
    scheme: str, cameras: SimulatedCameras, limits: Limits, policy: Policy
) -> None:
    jpeg = picture(cameras, limits, policy)

    def talk(connection: socket.socket) -> None:
        request = connection.recv(65536).decode()
        if "\r\nAuthorization: " not in request:
            connection.sendall(f"HTTP/1.1 401 No\r\nWWW-Authenticate: {scheme}\r\n\r\n".encode())
        elif request.startswith("GET /snap "):
            connection.sendall(b"HTTP/1.1 302 Go\r\nLocation: /tmp/1.jpg\r\n\r\n")
        else:
            connection.sendall(OK + b"\r\n" + jpeg)

    with server(talk) as port:
        assert grab(Source("http", f"http://me:hush@127.0.0.1:{port}/snap"), limits, policy).content == jpeg


@pytest.mark.parametrize(
    "challenge", ['Basic realm="a"', 'Digest realm="a", nonce="n"', 'Digest realm="a", nonce="n", stale=true']
)
def test_a_wrong_password_is_said_once_so_that_nobody_is_locked_out(
    challenge: str, patient: Limits, policy: Policy
) -> None:
    heard: list[str] = []

    def talk(connection: socket.socket) -> None:
        heard.append(connection.recv(65536).decode())
        connection.sendall(f"HTTP/1.1 401 No\r\nWWW-Authenticate: {challenge}\r\n\r\n".encode())

    with server(talk) as port:
        assert refusal(Source("http", f"http://me:hush@127.0.0.1:{port}/"), patient, policy).kind == "unauthorised"
    assert ["\r\nAuthorization: " in request for request in heard] == [False, True]


def test_a_digests_number_that_has_run_out_is_replaced_once(
    cameras: SimulatedCameras, patient: Limits, policy: Policy
) -> None:
    jpeg = picture(cameras, patient, policy)

    def talk(connection: socket.socket) -> None:
        request = connection.recv(65536).decode()
        if 'nonce="2"' in request:
            connection.sendall(OK + b"\r\n" + jpeg)
            return
        number, stale = ("2", ", stale=TRUE") if 'nonce="1"' in request else ("1", "")
        challenge = f'Digest realm="a", nonce="{number}"{stale}'
        connection.sendall(f"HTTP/1.1 401 No\r\nWWW-Authenticate: {challenge}\r\n\r\n".encode())

    with server(talk) as port:
        assert grab(Source("http", f"http://me:hush@127.0.0.1:{port}/"), patient, policy).content == jpeg


def test_a_digest_says_back_what_the_camera_wants_to_hear_again() -> None:
    said = digest({"realm": "a", "nonce": "n", "opaque": 'o"', "algorithm": "SHA-256"}, "me", "x", "/", "c")
    assert said.endswith(r', opaque="o\"", algorithm=SHA-256')


def test_a_digests_own_number_is_another_each_time(cameras: SimulatedCameras, patient: Limits, policy: Policy) -> None:
    heard: list[str] = []
    asked = 'Digest realm="a", nonce="n", qop="auth"'
    with server(guarded(picture(cameras, patient, policy), heard, asked)) as port:
        for _ in range(2):
            grab(Source("http", f"http://me:hush@127.0.0.1:{port}/"), patient, policy)
    one, two = (request.split('cnonce="')[1].split('"')[0] for request in heard)
    assert one != two
