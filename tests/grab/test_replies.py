"""What of a camera's RTSP replies FFmpeg gets to see."""

from __future__ import annotations

import pytest

from workers.grab import GrabError
from workers.grab.replies import Replies


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
        b"RTSP/1.0 200 OK\r\n" + b"a: b\r\n" * 11_000,  # and no end in sight
    ],
)
def test_what_would_lead_ffmpeg_elsewhere_or_is_no_rtsp_ends_the_grab(said: bytes) -> None:
    with pytest.raises(GrabError):
        Replies().feed(said)


def test_a_redirect_to_what_is_no_address_is_told() -> None:
    with pytest.raises(GrabError) as caught:
        Replies().feed(b"RTSP/1.0 302 Go\r\nLocation: rtsp://[::1/\r\n\r\n")
    assert caught.value.kind == "redirects"


MD5, SHA_256, BASIC = (
    'Digest realm="a", nonce="n", algorithm=MD5',
    'Digest realm="a", nonce="m", algorithm=SHA-256',
    'Basic realm="b"',
)


@pytest.mark.parametrize(
    ("asked", "passed"),
    [
        ([MD5], ['Digest realm="a", nonce="n", algorithm="MD5"']),
        ([f"{MD5}-sess"], ['Digest realm="a", nonce="n", algorithm="MD5-sess"']),
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
