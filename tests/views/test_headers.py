"""What browsers are told with every answer: nothing runs that is not ours, and nobody else frames or sends for us."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from detection.models import Media
from detection.vision.types import MediaInfo
from tests.cast import CLIP, a_camera, a_done_analysis, a_media
from tests.counting import counted, fresh_counts

__all__ = ["fresh_counts"]

INLINE = re.compile(
    r"<style|\sstyle\s*=|\son[a-z]+\s*=\s*[\"']|javascript:|<script(?![^>]*(src=|application/json))", re.I
)
PAGES = [
    "/",
    "/media/",
    "/sightings/",
    "/analyses/",
    "/cameras/",
    "/cameras/new",
    "/upload/",
    "/login/",
    "/nowhere/",
    "/media/99999/",
    "/admin/",
    "/admin/detection/media/",
    "/admin/detection/camera/add/",
    "/admin/detection/camera/1/history/",
    "/admin/auth/user/add/",
    "/admin/auth/user/1/change/",
    "/admin/axes/accessattempt/",
    "/admin/nowhere/",
    "/static/nightjar/site.css",
    "/metrics",
]


@pytest.fixture
def root(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_has_the_policy_and_nothing_inline(root: Client, path: str) -> None:
    a_done_analysis()
    a_camera()
    answer = root.get(path)
    policy = dict(rule.split(" ", 1) for rule in answer["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["object-src"] == policy["base-uri"] == "'none'"
    assert policy["frame-ancestors"] == policy["form-action"] == "'self'"
    assert not re.search(r"unsafe|\*|data:|blob:|https?:", answer["Content-Security-Policy"])
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == answer["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in answer["Permissions-Policy"]
    if "html" in answer["Content-Type"]:
        assert answer["X-Frame-Options"] == "SAMEORIGIN"
        assert not INLINE.search(answer.text), INLINE.search(answer.text)


def test_an_error_page_has_it_as_well(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fall(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("detection.views.home.entries", fall)
    root.raise_request_exception = False
    for answer in (root.get("/"), root.get("/", headers={"host": "evil.example"}), root.get("/media/?a=%00")):
        assert answer.status_code in (400, 500)
        assert "frame-ancestors 'self'" in answer["Content-Security-Policy"]
        assert not INLINE.search(answer.text)


@pytest.mark.parametrize("preload", ["", "true"])
def test_with_https_browsers_are_held_to_it(settings, db: None, preload: str) -> None:
    """The settings that HTTPS=true makes, as a process of its own reads them."""
    import json
    import os
    import subprocess
    import sys

    names = [
        "SECURE_HSTS_SECONDS",
        "SESSION_COOKIE_SECURE",
        "CSRF_COOKIE_SECURE",
        "SESSION_COOKIE_NAME",
        "CSRF_COOKIE_NAME",
        "SECURE_HSTS_INCLUDE_SUBDOMAINS",
        "SECURE_HSTS_PRELOAD",
    ]
    code = f"import json; from project import settings; print(json.dumps([getattr(settings, n, 0) for n in {names}]))"
    environment = {
        **os.environ,
        "HTTPS": "true",
        "HSTS_PRELOAD": preload,
        "TRUSTED_PROXIES": "127.0.0.1",
        "NIGHTJAR_LENIENT": "1",
        "NIGHTJAR_ENV_FILE": os.devnull,
    }
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found = dict(zip(names, json.loads(out.stdout), strict=True))
    for name, value in found.items():
        setattr(settings, name, value)
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.TRUSTED_PROXIES = ["127.0.0.1/32"]
    User.objects.create_user("somebody", password="only for tests")
    client = Client()
    plain = client.get("/login/")
    assert plain.status_code == 301
    assert plain["Location"].startswith("https://")
    form = {"username": "somebody", "password": "only for tests"}
    answer = client.post("/login/", form, headers={"x-forwarded-proto": "https"})
    assert answer.status_code == 302
    held = "max-age=31536000; includeSubDomains"  # and not for good, unless somebody wants that
    assert answer["Strict-Transport-Security"] == held + "; preload" * bool(preload)
    cookies = answer.cookies
    assert set(cookies) == {"__Host-sessionid", "__Host-csrftoken"}
    for cookie in cookies.values():
        assert cookie["secure"]
        assert cookie["httponly"]
        assert cookie["path"] == "/"
        assert not cookie["domain"]
        assert cookie["samesite"] == "Lax"


PAGE = b"<!doctype html><script>alert(document.cookie)</script>"


@pytest.mark.parametrize(
    ("info", "name", "served_as"),
    [
        (CLIP, "evil.html", "video/mp4"),
        (CLIP, "evil.svg", "video/mp4"),
        (MediaInfo("image", "svg", "svg", 1, 1, 0, 1, 0, None, False), "evil.svg", "application/octet-stream"),
        (MediaInfo("image", "html", "html", 1, 1, 0, 1, 0, None, True), "evil.html", "application/octet-stream"),
    ],
)
def test_what_was_uploaded_runs_nothing(root: Client, info: MediaInfo, name: str, served_as: str) -> None:
    media: Media = a_media(PAGE, info, name)
    answer = root.get(f"/media/{media.pk}/file")
    assert answer.getvalue() == PAGE
    assert answer["Content-Type"] == served_as
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert "script-src" not in answer["Content-Security-Policy"]
    if served_as == "application/octet-stream":
        assert answer["Content-Disposition"].startswith("attachment")


@pytest.mark.usefixtures("fresh_counts")
def test_a_form_from_another_site_is_refused(db: None) -> None:
    user = User.objects.create_superuser("root")
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    token = client.get("/").cookies["csrftoken"].value
    media = a_media()
    form = {"csrfmiddlewaretoken": token}
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ):
        answer = client.post(f"/media/{media.pk}/remove", form, headers=headers)
        assert answer.status_code == 403
        assert "This form was too old" in answer.text
    assert client.post(f"/media/{media.pk}/remove").status_code == 403
    assert Media.objects.filter(pk=media.pk).exists()
    script = client.post("/upload/", headers={"origin": "https://evil.example", "accept": "application/json"})
    assert script.status_code == 403
    assert script.json()["error"].startswith("This form was too old")
    assert client.post(f"/media/{media.pk}/remove", form).status_code == 302
    assert counted("nightjar_refusals_total") == {("csrf",): 4}


def test_nothing_of_the_templates_is_inline() -> None:
    for template in (Path(__file__).resolve().parents[2] / "detection" / "templates").rglob("*.html"):
        found = INLINE.search(template.read_text())
        assert not found, f"{template}: {found}"
