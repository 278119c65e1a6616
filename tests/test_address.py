"""Where a request comes from is what trusted proxies say, and never what a visitor says."""

from __future__ import annotations

import logging

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from detection.address import client_address, client_site, comes_from_proxy, parse, trusted_proxies
from detection.views.middleware import TrustedProxies

PROXIES = ["10.0.0.0/8", "fd00::/64", "unix"]


@pytest.fixture(autouse=True)
def _proxies(settings) -> None:
    settings.TRUSTED_PROXIES = PROXIES
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")


def asked(peer: str, forwarded: str | None = None, **headers: str) -> HttpRequest:
    if forwarded is not None:
        headers["X-Forwarded-For"] = forwarded
    return RequestFactory().get("/", headers=headers, REMOTE_ADDR=peer)


def passed_on(peer: str, **headers: str) -> HttpRequest:
    """The request as views see it."""
    seen: list[HttpRequest] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return HttpResponse()

    TrustedProxies(view)(asked(peer, **headers))
    return seen[0]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", None, "203.0.113.5"),
        # nobody else is believed, whoever they say they are
        ("203.0.113.5", "192.0.2.1", "203.0.113.5"),
        ("203.0.113.5", "10.0.0.1", "203.0.113.5"),
        ("203.0.113.5", "127.0.0.1, 10.0.0.1", "203.0.113.5"),
        # a proxy is
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        # but not what a visitor has put before
        ("10.0.0.1", "1.1.1.1, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "10.9.9.9, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "1.1.1.1, 192.0.2.1, 10.0.0.2, 10.0.0.3", "192.0.2.1"),
        # all of them are ours
        ("10.0.0.1", "10.0.0.7, 10.0.0.2", "10.0.0.7"),
        # garbage is where belief ends
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1, <script>, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", ",,,", "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1\x00", "10.0.0.1"),
        ("10.0.0.1", "999.1.1.1", "10.0.0.1"),
        ("10.0.0.1", "9" * 5000, "10.0.0.1"),
        # as proxies write them
        ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", '"[2001:db8::1]"', "2001:db8::1"),
        ("10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("fd00::5", "2001:db8::1", "2001:db8::1"),
        ("fd00:0:0:1::5", "2001:db8::1", "fd00:0:0:1::5"),
        ("10.0.0.1", "fe80::1%<b>any text</b>", "fe80::1"),
        # through a socket
        ("", "192.0.2.1", "192.0.2.1"),
        ("", None, ""),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy_of_ours(
    peer: str, forwarded: str | None, client: str
) -> None:
    assert client_address(asked(peer, forwarded)) == client


def test_without_trusted_proxies_nobody_is_believed(settings) -> None:
    settings.TRUSTED_PROXIES = []
    for peer in ("127.0.0.1", "10.0.0.1", ""):
        request = asked(peer, "192.0.2.1")
        assert client_address(request) == peer
        assert not comes_from_proxy(request)


def test_a_chain_of_thousands_is_not_walked() -> None:
    assert client_address(asked("10.0.0.1", "192.0.2.1, " + "10.0.0.2, " * 5000 + "10.0.0.3")) == "10.0.0.2"


def test_an_ipv6_site_counts_as_one() -> None:
    first, second = (client_site(asked("10.0.0.1", f"2001:db8:1:2::{host}")) for host in ("1", "ffff"))
    assert first == second == "2001:db8:1:2::"
    assert client_site(asked("10.0.0.1", "2001:db8:1:3::1")) != first
    assert client_site(asked("192.0.2.7")) == "192.0.2.7"


def test_what_an_untrusted_peer_forwards_is_taken_off_the_request() -> None:
    spoofed = {
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Protocol": "ssl",
        "X-Forwarded-Ssl": "on",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "443",
        "X-Real-IP": "127.0.0.1",
        "Forwarded": "for=127.0.0.1;proto=https",
    }
    request = passed_on("203.0.113.5", **spoofed)
    assert [name for name in request.META if "FORWARDED" in name or "REAL_IP" in name] == []
    assert not request.is_secure()
    assert request.get_host() == "testserver"


def test_of_a_trusted_proxy_the_scheme_counts_and_the_host_does_not() -> None:
    forwarded = {"Host": "testserver", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    request = passed_on("10.0.0.1", **forwarded)
    assert request.is_secure()
    assert "HTTP_X_FORWARDED_HOST" not in request.META
    assert request.get_host() == "testserver"


@pytest.mark.parametrize("said", ["https, http", "ftp", "", "https,", "httpsx"])
def test_the_nearest_proxy_says_what_the_scheme_is(said: str) -> None:
    assert not passed_on("10.0.0.1", **{"X-Forwarded-Proto": said}).is_secure()
    assert passed_on("10.0.0.1", **{"X-Forwarded-Proto": "http, https"}).is_secure()


def test_a_scheme_that_the_web_server_believed_is_looked_at_again() -> None:
    """Gunicorn trusts every peer on its own machine, and every Unix socket."""
    request = asked("203.0.113.5", **{"X-Forwarded-Ssl": "on"})
    request.META["wsgi.url_scheme"] = "https"
    TrustedProxies(lambda request: HttpResponse())(request)
    assert request.META["wsgi.url_scheme"] == "http"


def test_a_proxy_that_is_not_trusted_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    middleware = TrustedProxies(lambda request: HttpResponse())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            middleware(asked("192.168.0.9", "192.0.2.1"))
    assert len(caplog.records) == 1
    assert "192.168.0.9" in caplog.text
    assert "TRUSTED_PROXIES" in caplog.text


def test_with_https_a_spoofed_scheme_is_sent_to_https(client: Client, settings, db: None) -> None:
    settings.SECURE_SSL_REDIRECT = True
    spoofed = client.get("/login/", headers={"x-forwarded-proto": "https"}, REMOTE_ADDR="203.0.113.5")
    assert spoofed.status_code == 301
    assert client.get("/login/", headers={"x-forwarded-proto": "https"}, REMOTE_ADDR="10.0.0.1").status_code == 200


@pytest.mark.parametrize("given", ["10.0.0.5/8", "nonsense", "10.0.0.0/99", "*", "10.0.0.1;10.0.0.2", "::1/200"])
def test_what_is_no_network_is_refused_at_the_start(given: str) -> None:
    with pytest.raises(ValueError, match="addresses like"):
        trusted_proxies(given)


def test_networks_addresses_and_sockets_can_be_trusted() -> None:
    assert trusted_proxies(" 127.0.0.1, 10.0.0.0/8 ,::1,UNIX,") == ["127.0.0.1/32", "10.0.0.0/8", "::1/128", "unix"]
    assert trusted_proxies("") == []
    assert parse("") is None
