"""What all pages share: the policy of content, the notice about the model, the way in and the errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from detection.models import Media, Model
from tests.cast import a_done_analysis, a_model, a_user

STATIC = Path(__file__).resolve().parents[2] / "detection" / "static" / "nightjar"
PAGES = ["/", "/cameras/", "/cameras/new", "/media/", "/sightings/", "/upload/", "/login/", "/nowhere/"]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_the_policy_and_nothing_inline(operator: Client, path: str) -> None:
    a_done_analysis()
    answer = operator.get(path) if path != "/login/" else Client().get(path)
    policy = answer["Content-Security-Policy"]
    for rule in (
        "default-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
        "form-action 'self'",
    ):
        assert rule in policy
    assert "unsafe" not in policy
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"|javascript:", answer.text)
    for script in re.findall(r"<script[^>]*>", answer.text):
        assert "src=" in script or "application/json" in script


def test_the_media_page_has_nothing_inline(operator: Client) -> None:
    media = a_done_analysis().media
    text = operator.get(f"/media/{media.pk}/").text
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"", text)


def test_the_admin_keeps_the_policy(db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    answer = client.get("/admin/detection/media/")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer["Content-Security-Policy"]


def test_every_page_says_that_only_motion_is_detected(operator: Client) -> None:
    media = a_done_analysis().media
    for path in ("/", "/media/", "/sightings/", "/upload/", f"/media/{media.pk}/"):
        assert "<code>manage.py models add PATH|NAME</code>" in operator.get(path).text
    a_model("cars").activate()
    assert "models add" not in operator.get("/").text


def test_every_page_says_that_no_model_is_active(operator: Client) -> None:
    Model.objects.update(is_active=False)
    assert "No model is active" in operator.get("/").text


def test_one_logs_in_and_out(db: None) -> None:
    a_user("viewer")
    client = Client()
    wrong = client.post("/login/", {"username": "the viewer", "password": "wrong"})
    assert "do not fit together" in wrong.text
    right = client.post("/login/", {"username": "the viewer", "password": "only for tests", "next": "/media/"})
    assert right["Location"] == "/media/"
    assert client.get("/login/")["Location"] == "/"
    assert client.post("/logout/")["Location"] == "/login/"
    assert client.get("/").status_code == 302


def test_what_is_not_there_is_a_page_in_the_sites_look(viewer: Client) -> None:
    answer = viewer.get("/nowhere/")
    assert answer.status_code == 404
    assert "To the overview" in answer.text
    assert "site.css" in answer.text
    script = viewer.get("/nowhere/", headers={"accept": "application/json"})
    assert script.json()["error"] == "There is nothing at this address, or it was removed."


def test_a_fault_is_a_page_that_needs_nothing(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("detection.views.home.entries", break_down)
    viewer.raise_request_exception = False
    answer = viewer.get("/")
    assert answer.status_code == 500
    assert "Something went wrong" in answer.text
    assert "a fault" not in answer.text
    assert "error" in viewer.get("/", headers={"accept": "application/json"}).json()


def test_a_polled_part_gets_a_bare_sentence_instead_of_a_page(viewer: Client) -> None:
    answer = viewer.get("/media/999/proxy/state", headers={"hx-request": "true"})
    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/plain")


def test_a_form_with_too_many_fields_is_413(viewer: Client) -> None:
    answer = viewer.post("/login/", {f"f{n}": "x" for n in range(1100)})
    assert answer.status_code == 413
    assert "more in it than is taken at once" in answer.text


def test_a_request_that_makes_no_sense_is_400(viewer: Client) -> None:
    answer = viewer.get("/", headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert "could not understand" in answer.text


def test_the_scripts_run_nothing_from_text_and_import_what_is_there() -> None:
    for script in STATIC.glob("*.js"):
        text = script.read_text()
        assert "innerHTML" not in text
        assert "eval(" not in text
        for name in re.findall(r'from "\./([a-z]+\.js)"', text):
            assert (STATIC / name).is_file()


def test_there_is_one_stylesheet() -> None:
    assert [path.name for path in STATIC.rglob("*.css")] == ["site.css"]


def test_a_media_with_markup_in_its_name_is_shown_as_text(operator: Client) -> None:
    media = a_done_analysis().media
    Media.objects.update(name="<img src=x>.mp4")
    for path in ("/", "/media/", f"/media/{media.pk}/", f"/media/{media.pk}/remove"):
        assert "<img src=x>" not in operator.get(path).text
