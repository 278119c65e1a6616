"""The way to a camera: names, several addresses, limits, and TLS."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from detection.management.commands._simulated import SimulatedCameras
from tests.grab.servers import saying, server
from tests.grab.test_http import OK, picture, refusal
from tests.processes import PATIENCE
from workers.grab import Limits, Policy, Source, grab, line


def test_of_several_addresses_the_next_is_tried_and_each_has_its_share_of_the_time(
    cameras: SimulatedCameras, patient: Limits, policy: Policy, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras.behave(0, "ok")
    ports = (free_port, urlsplit(cameras.address(0)).port)
    places = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
    given: list[float] = []
    connect = socket.socket.connect

    def noted(sock: socket.socket, place: tuple[str, int]) -> None:
        given.append(sock.gettimeout() or 0)
        connect(sock, place)

    monkeypatch.setattr(socket.socket, "connect", noted)
    address = cameras.address(0).replace("127.0.0.1", "camera.example")
    assert grab(Source("http", address), patient, policy).info.width == 640
    assert 0 < given[0] <= patient.connect_s / 2 < given[1] <= patient.connect_s


def test_a_name_that_cannot_be_one_is_unknown(patient: Limits, policy: Policy) -> None:
    assert refusal(Source("http", "http://camera..example/"), patient, policy).kind == "unknown_host"


def test_name_servers_that_hang_hold_up_no_more_than_their_own_grabs(
    limits: Limits, patient: Limits, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "_lookups", held := threading.BoundedSemaphore(1))
    held.acquire()
    assert refusal(Source("http", "http://camera.example/"), limits, policy).kind == "timeout"
    held.release()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    for _ in range(2):
        assert refusal(Source("http", "http://camera.example/"), patient, policy).kind == "unknown_host"


def test_connecting_ends_with_the_time_for_the_first_picture(patient: Limits, policy: Policy) -> None:
    with server(saying(hold=True)) as port:  # no handshake
        started = time.monotonic()
        error = refusal(Source("http", f"https://127.0.0.1:{port}/"), replace(patient, first_frame_s=0.3), policy)
        assert time.monotonic() - started < 3 * PATIENCE
    assert (error.kind, "could not be connected to" in str(error)) == ("timeout", True)


def test_what_trickles_in_encrypted_is_left_in_time(certificate: Path, patient: Limits, policy: Policy) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        for byte in OK * 2:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)

    with server(drip, context) as port:
        source = Source("http", f"https://127.0.0.1:{port}/", verify_tls=False)
        started = time.monotonic()
        assert refusal(source, replace(patient, first_frame_s=0.6), policy).kind == "timeout"
        assert time.monotonic() - started < 5 * PATIENCE


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_an_old_camera_is_talked_to_encrypted_where_its_certificate_is_not_verified(
    certificate: Path, cameras: SimulatedCameras, patient: Limits, policy: Policy
) -> None:
    jpeg = picture(cameras, patient, policy)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    context.load_cert_chain(certificate)
    with server(saying(OK + b"\r\n", jpeg), context) as port:
        address = f"https://127.0.0.1:{port}/"
        assert grab(Source("http", address, verify_tls=False), patient, policy).content == jpeg
        assert refusal(Source("http", address), patient, policy).kind == "tls"


def test_the_usual_authorities_are_trusted_where_the_machine_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    monkeypatch.setenv("SSL_CERT_DIR", "/dev/null")
    assert line.tls_context.__wrapped__(True).get_ca_certs()
