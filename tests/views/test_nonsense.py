"""Whatever is asked for, however garbled, is answered; nothing that a visitor can send is a fault of the server."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from django import forms
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from detection import forms as our_forms
from detection.forms import CameraForm, MediaFilter, SightingFilter, VerdictForm
from detection.forms.analysis_filter import AnalysisFilter
from detection.forms.camera_filter import CameraFilter
from detection.models import Analysis, Proxy
from tests.cast import a_camera, a_capture, a_done_analysis
from tests.views.conftest import Queue

NUMBERS = ["0", "1", str(2**31), str(2**63 - 1), str(2**63), str(2**64), "9" * 30, "9" * 4000, "9" * 5000]
TEXTS = [
    "\0",
    "a\0b",
    "",
    " ",
    "-1",
    "1e999",
    "NaN",
    "٣",
    "²",
    "\ud83d\udc26".encode("utf-16", "surrogatepass").decode("utf-16"),
    "\u202e\u0000\ufffe",
    "' OR 1=1 --",
    "%00",
    "%ff%fe",
    "../../../etc/passwd",
    "{{ 7*7 }}",
    "x" * 20_000,
    "0001-01-01",
    "9999-12-31T23:59:59+23:59",
    "0001-01-01T00:00:00-23:59",
    "2026-02-31",
    *NUMBERS,
]
NAMES = sorted(
    {
        name
        for form in (MediaFilter, SightingFilter, AnalysisFilter, CameraFilter, VerdictForm, CameraForm)
        for name in form.base_fields
    }
    | {"page", "seen", "keep", "sighting", "next", "part", "analysis", "filter", "count", "until", "newest", "camera"}
    | {"bytes", "clips", "clip_bytes", "images", "trial", "look", "format", "q", "o", "p", "action", "all", "username"}
)


def addresses(patterns: list[URLPattern | URLResolver] | None = None, before: str = "/") -> Iterator[str]:
    """The routes of the site, without the administration's, which are Django's own."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield route
        elif not route.startswith("/admin/"):
            yield from addresses(pattern.url_patterns, route)


ROUTES = sorted(set(addresses()) - {"/logout/"})


@pytest.fixture
def root(db: None, queue: Queue, settings) -> Client:
    from detection.rates import Rate

    settings.RATES = dict.fromkeys(settings.RATES, Rate(0, 60))
    a_capture(a_camera())
    Proxy.objects.get_or_create(media=a_done_analysis().media)
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    client.raise_request_exception = False
    return client


def is_answered(answer: HttpResponse) -> bool:
    """503 where what stands behind an address is away: Flower does not run here, and no worker."""
    path = answer.wsgi_request.path  # type: ignore[attr-defined]
    return answer.status_code < 500 or (path.startswith(("/flower/", "/health/")) and answer.status_code == 503)


def texts_for(route: str) -> list[str]:
    """Few for those that ask other machines, whose time-outs would be waited for each time."""
    return ["\0", "9" * 30, "x" * 20_000] if route.startswith(("/health/", "/flower/")) else TEXTS


def filled(route: str, number: str = "1", text: str = "x") -> str:
    return route.replace("<int:pk>", number).replace("<path:rest>", text).replace("<str:name>", text)


@pytest.mark.parametrize("route", ROUTES)
def test_any_query_is_answered(root: Client, route: str) -> None:
    pk = str(Analysis.objects.get().pk)
    for text in texts_for(route):
        answer = root.get(filled(route, pk), dict.fromkeys(NAMES, text))
        assert is_answered(answer), (answer.status_code, text[:40])


@pytest.mark.parametrize("route", ROUTES)
def test_any_form_is_answered(root: Client, route: str) -> None:
    pk = str(Analysis.objects.get().pk)
    for text in texts_for(route):
        answer = root.post(filled(route, pk), dict.fromkeys(NAMES, text), headers={"hx-request": "true"})
        assert is_answered(answer), (answer.status_code, text[:40])
    assert is_answered(root.post(filled(route, pk), dict.fromkeys(NAMES, "a b")))


@pytest.mark.parametrize("route", [route for route in ROUTES if "<" in route])
def test_any_number_in_an_address_is_answered(root: Client, route: str) -> None:
    for number in NUMBERS:
        for ask in (root.get, root.post):
            answer = ask(filled(route, number, "..%2f%00"))
            assert is_answered(answer), (answer.status_code, number[:40])


@pytest.mark.parametrize("name", ["page", "camera", "label", "after", "before", "model", "o"])
def test_each_name_by_itself_is_answered(root: Client, name: str) -> None:
    for path in ("/sightings/", "/media/", "/analyses/", "/cameras/"):
        for text in TEXTS:
            answer = root.get(path, {name: text})
            assert is_answered(answer), (path, answer.status_code, text[:40])


def test_the_administrations_lists_take_nonsense_too(root: Client) -> None:
    for path in (
        "/admin/detection/media/",
        "/admin/detection/camera/",
        "/admin/auth/user/",
        "/admin/detection/capture/",
    ):
        for text in TEXTS:
            for query in ("q", "p", "o", "id__exact", "pk__in"):
                answer = root.get(path, {query: text})
                assert is_answered(answer), (path, query, answer.status_code, text[:40])
        for number in [*NUMBERS, "a\0b", "_2F", "x" * 300]:
            assert is_answered(root.get(f"{path}{number}/change/"))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; name=files; filename=a\r\n\r\nx"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n\r\n--b--"),
        ("multipart/form-data; boundary=\xff\xfe", b"x"),
        ("multipart/form-data; boundary=" + "b" * 300, b"x"),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Disposition: form-data; name=x\r\nContent-Transfer-Encoding: base64\r\n\r\n!\r\n--b--",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a\0b"\r\n\r\nx\r\n--b--',
        ),
        ("application/x-www-form-urlencoded; charset=utf-16", b"kind=%00"),
        ("application/x-www-form-urlencoded; charset=base64", b"kind=x"),
        ("application/x-www-form-urlencoded; charset=unicode_escape", b"kind=\\ud800"),
        ("application/x-www-form-urlencoded; charset=no-such", b"kind=x"),
        ("application/x-www-form-urlencoded", b"kind=%ed%a0%80&label=%00&%ff=%fe" * 10),
        ("application/json", b"{"),
        ("", b"\xff\xfe"),
    ],
)
@pytest.mark.parametrize("path", ["/login/", "/upload/", "/sightings/1/verdict", "/cameras/new", "/analyses/retry"])
def test_a_broken_body_is_answered(root: Client, path: str, content_type: str, body: bytes) -> None:
    for client in (root, Client(raise_request_exception=False)):
        answer = client.generic("POST", path, body, content_type=content_type)
        assert is_answered(answer), answer.status_code


@pytest.mark.parametrize("charset", ["base64", "unicode_escape", "utf-16", "rot13", "idna", "no-such"])
def test_a_charset_of_a_query_is_answered(root: Client, charset: str) -> None:
    answer = root.get("/media/?name=\\ud800%5cud800", content_type=f"text/plain; charset={charset}")
    assert is_answered(answer)


@pytest.mark.parametrize(
    "cookie", ['"abcdefgh\\000ij"', "x" * 4000, "ünïcödé-ünïcödé", '"\\377\\376\\355\\240\\200abcd"']
)
def test_any_cookie_is_answered(root: Client, cookie: str) -> None:
    for name in ("sessionid", "csrftoken", "messages"):
        client = Client(raise_request_exception=False)
        answer = client.get("/media/", headers={"cookie": f"{name}={cookie}"})
        assert answer.status_code == 302
        root.cookies.pop("messages", None)
        assert is_answered(root.post("/sightings/1/verdict", headers={"cookie": f"{name}={cookie}"}))


@pytest.mark.parametrize("name", ["range", "if-range", "if-none-match", "accept", "x-request-id", "x-forwarded-for"])
def test_any_header_is_answered(root: Client, name: str) -> None:
    media = Analysis.objects.get().media
    for text in TEXTS:
        if not set(text) & {"\0", "\n", "\r"}:
            value = text.encode("utf-8", "surrogatepass").decode("latin-1")
            assert is_answered(root.get(f"/media/{media.pk}/file", headers={name: value})), text[:40]
            assert is_answered(root.get("/nowhere/", headers={name: value})), text[:40]


def test_the_fields_of_every_form_are_tried() -> None:
    """The list of names keeps up with the forms: a new filter is tried as well."""
    modules = [
        importlib.import_module(f"detection.forms.{found.name}") for found in pkgutil.iter_modules(our_forms.__path__)
    ]
    fields = {
        name
        for module in modules
        for form in vars(module).values()
        if isinstance(form, type) and issubclass(form, forms.BaseForm)
        for name in getattr(form, "base_fields", ())
    }
    assert len(fields) > 30
    assert fields <= set(NAMES)
    assert {"/sightings/<int:pk>/verdict", "/media/<int:pk>/file", "/flower/<path:rest>"} <= set(ROUTES)
    assert len(ROUTES) > 35
