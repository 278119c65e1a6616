"""`manage.py prepare`: what makes an installation ready to run, the first time and every time."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import authenticate, get_user_model
from django.core.management import CommandError, call_command
from django.test import RequestFactory

from detection.management.commands import prepare
from workers import first_run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first model and the example have tests of their own: they take their time."""
    done: list[str] = []
    monkeypatch.setattr(first_run, "fetch_general_model", lambda stdout: done.append("model"))
    monkeypatch.setattr(first_run, "store_example", lambda stdout: done.append("example"))
    return done


def run(*words: str) -> str:
    said = io.StringIO()
    call_command("prepare", *words, stdout=said)
    return said.getvalue()


def password(said: str) -> str:
    found = re.search(r"password +(\S+)", said)
    assert found, said
    return found[1]


def test_the_first_administrator_can_sign_in_with_the_password_shown_once(caplog: pytest.LogCaptureFixture) -> None:
    said = run()
    user = authenticate(RequestFactory().post("/login/"), username="admin", password=password(said))
    assert user is not None
    assert user.is_superuser
    assert len(password(said)) >= 16
    assert password(said) not in caplog.text
    assert "password" not in run().lower()


def test_the_password_is_kept_nowhere() -> None:
    secret = password(run())
    for path in Path(settings.DATA_DIR).rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_the_folder_for_files_that_play_as_cameras_is_there() -> None:
    if settings.CAMERA_FILES_DIR.is_dir():
        settings.CAMERA_FILES_DIR.rmdir()
    run()
    assert settings.CAMERA_FILES_DIR.is_dir()


def test_an_administrator_of_any_name_is_enough() -> None:
    get_user_model().objects.create_superuser("somebody", password="a-long-password")
    assert "administrator" not in run()
    assert not get_user_model().objects.filter(username="admin").exists()


def test_a_plain_user_called_admin_is_not_made_administrator() -> None:
    get_user_model().objects.create_user("admin", password="a-long-password")
    assert "createsuperuser" in run()
    assert not get_user_model().objects.filter(is_superuser=True).exists()


def test_the_first_model_and_the_example_come_on_the_first_start_only(steps: list[str]) -> None:
    run()
    run()
    assert steps == ["model", "example"]


def test_a_first_start_that_was_interrupted_is_still_the_first(
    steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(stdout: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(first_run, "store_example", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert password(run())
    assert steps == ["model", "model", "example"]


def test_the_pages_files_are_collected_again_only_when_one_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    collected = Path(settings.STATIC_ROOT) / "admin" / "css" / "base.css"
    collected.unlink()
    run()
    assert not collected.exists()
    monkeypatch.setattr(prepare, "_static_state", lambda: "changed")
    run()
    assert collected.exists()
    (Path(settings.STATIC_ROOT) / ".collected").unlink()


def test_a_release_makes_the_database_ready_and_nobody_administrator(steps: list[str]) -> None:
    """It runs for every new version, on machines of which none is the first."""
    said = run("--release")
    assert "Nobody is administrator yet" in said
    assert not get_user_model().objects.exists()
    assert steps == []
    get_user_model().objects.create_superuser("grace", password="only for tests")
    assert "administrator" not in run("--release")


def test_a_release_stops_at_what_is_wrong_before_it_changes_anything(settings: Any) -> None:
    """HTTPS behind a proxy that is not named would redirect each page to itself, for ever."""
    settings.HTTPS, settings.SITE_URL, settings.TRUSTED_PROXIES = True, "https://nightjar.example.org", []
    path = settings.DATA_DIR / "camera-files"
    with pytest.raises(CommandError, match="HTTPS is set and TRUSTED_PROXIES is not"):
        run("--release")
    settings.TRUSTED_PROXIES = ["127.0.0.1/32"]
    settings.SECURE_SSL_REDIRECT = settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    run("--release")
    assert path.exists()


def test_the_pages_files_of_an_image_are_left_as_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any
) -> None:
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()
    (settings.STATIC_ROOT / "staticfiles.json").write_text("{}")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != settings.STATIC_ROOT and access(path, mode))
    run("--release")
    assert [path.name for path in settings.STATIC_ROOT.iterdir()] == ["staticfiles.json"]


def test_a_data_folder_that_cannot_be_written_to_is_a_sentence(tmp_path: Path, settings: Any) -> None:
    (tmp_path / "file").write_text("")
    settings.DATA_DIR = tmp_path / "file" / "data"
    with pytest.raises(CommandError, match="cannot be written to"):
        run()
