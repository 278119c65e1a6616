"""The doctor: what is wrong is told before anything serves, all of it, in words, with an exit status."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command

from detection.models import Model
from detection.vision.weights import sha256
from project.doctor import configuration, connections, machine
from project.doctor.findings import Check, Finding, Level, ok, run
from tests.conftest import ROOT
from tests.processes import environment
from tests.services import find_free_port


def doctor(given: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", "doctor", *arguments]
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)


def found(done: subprocess.CompletedProcess[str]) -> list[Finding]:
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [Finding(Level(row["level"]), row["subject"], row["sentence"]) for row in rows]


def of(findings: list[Finding], subject: str) -> list[str]:
    return [f"{finding.level}: {finding.sentence}" for finding in findings if finding.subject == subject]


def only(check: Callable[[], Iterator[Finding]]) -> Finding:
    (finding,) = check()
    return finding


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An installation that was set up, for all tests of this file."""
    folder = tmp_path_factory.mktemp("doctor") / "data"
    given = environment(folder, find_free_port(), WEIGHTS_URL="http://127.0.0.1:9")
    command = [sys.executable, "manage.py", "prepare", "--no-example"]
    subprocess.run(command, cwd=ROOT, env=given, check=True, capture_output=True)
    return given


def test_a_system_that_was_set_up_can_run(prepared: dict[str, str]) -> None:
    done = doctor(prepared)
    assert done.returncode == 0, done.stdout
    assert "ERROR" not in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("Nightjar can run")
    said = found(doctor(prepared, "--json"))
    assert {finding.subject for finding in said} >= {
        "settings", "site", "checks", "versions", "time zones", "folders", "disk",
        "database", "broker", "storage", "keys", "model",
    }  # fmt: skip
    assert not any(Path(prepared["DATA_DIR"], "media").rglob("*doctor*")), "it leaves nothing behind"


def test_warnings_count_only_for_who_is_strict(prepared: dict[str, str]) -> None:
    said = of(found(doctor(prepared, "--json")), "model")
    assert said[0].startswith("warning: only motion is detected")
    assert doctor(prepared, "--strict").returncode == 1


def test_an_empty_machine_is_told_everything_at_once(installation: Callable[..., dict[str, str]]) -> None:
    given = installation(
        SECRET_KEY="",
        CAMERA_KEYS="",
        PORT="0",
        DATABASE_URL="postgres://somebody:geheim@127.0.0.1:9/nightjar",
        BROKER_URL="redis://:geheim@127.0.0.1:9/0",
        STORAGE_URL="s3://KEY:geheim@127.0.0.1:9/footage?tls=false",
    )
    done = doctor(given, "--json")
    said = found(done)
    assert done.returncode == 1
    assert "geheim" not in done.stdout + done.stderr
    problems = "\n".join(of(said, "settings"))
    assert all(name in problems for name in ("SECRET_KEY", "CAMERA_KEYS", "PORT"))
    assert of(said, "database")[0].startswith("error: cannot be reached")
    assert of(said, "broker")[0].startswith("error: cannot be reached")
    assert of(said, "storage")[0].startswith("error: s3://footage cannot be used")


def test_a_database_that_was_never_made_is_told_apart_from_one_that_is_away(
    installation: Callable[..., dict[str, str]],
) -> None:
    given = installation()
    (said,) = of(found(doctor(given, "--json")), "database")
    assert said.startswith("error: there is none at ")
    assert not Path(given["DATA_DIR"]).exists(), "looking makes nothing"
    Path(given["DATA_DIR"]).mkdir()
    sqlite3.connect(Path(given["DATA_DIR"], "nightjar.sqlite3")).execute("CREATE TABLE x (y)").connection.close()
    (said,) = of(found(doctor(given, "--json")), "database")
    assert "migrations are pending: run `make setup`" in said


def test_a_database_that_does_not_let_all_threads_in_is_warned_of(
    installation: Callable[..., dict[str, str]], postgres_url: str
) -> None:
    given = installation(DATABASE_URL=postgres_url)
    (said,) = of(found(doctor({**given, "WEB_THREADS": "2", "GRAB_CONCURRENCY": "2"}, "--json")), "connections")
    assert said.startswith("ok: the database takes ")
    (said,) = of(found(doctor({**given, "WEB_THREADS": "20000"}, "--json")), "connections")
    assert said.startswith("warning: the processes here may want 20064 connections to the database")
    assert of(found(doctor(installation(), "--json")), "connections") == []


def test_offline_it_connects_nowhere(installation: Callable[..., dict[str, str]]) -> None:
    given = installation(DATABASE_URL="postgres://somebody:geheim@127.0.0.1:9/nightjar")
    said = found(doctor(given, "--offline", "--json"))
    assert {finding.subject for finding in said}.isdisjoint({"database", "broker", "storage", "keys", "model"})


def test_a_key_that_does_not_fit_the_cameras_is_told(prepared: dict[str, str]) -> None:
    other = "b3RoZXItb25lcy1mb3ItdGVzdHMtMDEyMzQ1Njc4OWE="
    make = (
        "from detection.models import Camera; from detection.fields import Secret;"
        "Camera(name='Gate', source='http').put_in_service(Secret.of('http://192.0.2.77/snap.jpg'))"
    )
    subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", make], cwd=ROOT, env=prepared, check=True, capture_output=True
    )
    (said,) = of(found(doctor({**prepared, "CAMERA_KEYS": other}, "--json")), "keys")
    assert said.startswith("error: CAMERA_KEYS cannot decrypt the addresses of 1 of 1 cameras")


def test_a_misspelt_setting_and_an_open_env_file_are_told(prepared: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("ALLOWED_HOST=nightjar.example\n")
    path.chmod(0o644)
    said = of(found(doctor({**prepared, "NIGHTJAR_ENV_FILE": str(path)}, "--offline", "--json")), "settings")
    assert any("did you mean ALLOWED_HOSTS?" in sentence for sentence in said)
    assert any(f"chmod 600 {path}" in sentence for sentence in said)


def test_tls_that_nobody_can_tell_of_is_an_error(prepared: dict[str, str]) -> None:
    """Django would redirect each request to itself, for ever."""
    tls = {**prepared, "HTTPS": "true", "SITE_URL": "https://localhost"}
    said = of(found(doctor(tls, "--offline", "--json")), "site")
    assert any(sentence.startswith("error: HTTPS is set and TRUSTED_PROXIES is not") for sentence in said)
    behind = doctor({**tls, "TRUSTED_PROXIES": "127.0.0.1"}, "--offline", "--strict", "--json")
    assert behind.returncode == 0, behind.stdout
    assert of(found(behind), "checks") == ["ok: manage.py check finds nothing."]


@pytest.mark.parametrize(
    ("given", "level", "said"),
    [
        ({"SITE_URL": "https://localhost"}, Level.ERROR, "SITE_URL begins with https://"),
        ({"CSRF_TRUSTED_ORIGINS": "https://localhost"}, Level.ERROR, "CSRF_TRUSTED_ORIGINS begins with https://"),
        ({"TRUSTED_PROXIES": "127.0.0.1"}, Level.WARNING, "TRUSTED_PROXIES is set and HTTPS is not"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else "",
)
def test_tls_that_only_a_part_of_the_settings_knows_of_is_told(
    prepared: dict[str, str], given: dict[str, str], level: Level, said: str
) -> None:
    """The commonest slip behind a proxy: everything works, and cookies travel without TLS."""
    done = doctor({**prepared, **given}, "--offline", "--json")
    assert any(sentence.startswith(f"{level}: {said}") for sentence in of(found(done), "site")), done.stdout
    assert done.returncode == (level == Level.ERROR)
    right = {**prepared, **given, "HTTPS": "true", "SITE_URL": "https://localhost", "TRUSTED_PROXIES": "127.0.0.1"}
    assert doctor(right, "--offline", "--strict").returncode == 0


def test_pages_files_that_came_with_an_image_are_there(settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Nobody ran `prepare` there, which would leave its mark."""
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "project.static.HashedStaticFilesStorage"}}
    levels = [finding.level for finding in machine.own_folders()]
    assert levels[0] == Level.ERROR
    call_command("collectstatic", interactive=False, verbosity=0)
    assert [finding.level for finding in machine.own_folders()] == [Level.OK]


def test_a_password_in_an_address_that_takes_none_is_not_repeated(installation: Callable[..., dict[str, str]]) -> None:
    given = installation(FLOWER_URL="http://somebody:geheim@flower:5555")
    told = doctor(given, "--offline")
    assert any("FLOWER_URL must be" in line for line in told.stdout.splitlines())
    refused = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env=given, capture_output=True, text=True, check=False
    )
    assert refused.stderr.startswith("FLOWER_URL must be")
    assert "geheim" not in told.stdout + told.stderr + refused.stdout + refused.stderr


def test_pages_for_the_network_without_tls_are_a_warning(prepared: dict[str, str]) -> None:
    said = of(found(doctor({**prepared, "HOST": "0.0.0.0"}, "--offline", "--json")), "site")
    assert any("passwords can be read on their way" in sentence for sentence in said)


def test_debug_is_told(settings) -> None:  # type: ignore[no-untyped-def]
    settings.DEBUG = True
    assert any("DEBUG is on" in finding.sentence for finding in configuration.names())


def test_a_link_in_a_notification_that_would_be_refused_is_told(settings) -> None:  # type: ignore[no-untyped-def]
    settings.SITE_URL, settings.ALLOWED_HOSTS = "https://nightjar.example.org", ["localhost"]
    assert any("ALLOWED_HOSTS lacks nightjar.example.org" in finding.sentence for finding in configuration.names())
    settings.ALLOWED_HOSTS = [".example.org"]
    assert not any("lacks" in finding.sentence for finding in configuration.names())


def test_a_package_that_does_not_fit_is_told(tmp_path: Path, settings) -> None:  # type: ignore[no-untyped-def]
    settings.BASE_DIR = tmp_path
    (tmp_path / "requirements.txt").write_text(
        "# words\ndjango>=99,<100\nno-such-package>=1\npytest>=1 # fits\nother>=1; sys_platform == 'win32'\n"
    )
    said = [finding.sentence for finding in machine.versions()]
    assert len(said) == 2
    assert said[0].startswith("django ")
    assert "<100,>=99 is needed" in said[0]
    assert said[1].startswith("no-such-package is not installed")


@pytest.mark.django_db
def test_weights_that_were_changed_or_are_gone_are_told() -> None:
    default_storage.save("models/x/net.onnx", ContentFile(b"weights"))
    model = Model.objects.create(name="net", runtime="ultralytics", files=["models/x/net.onnx"])
    model.activate()
    path = model.local_weights()
    assert path is not None
    Model.objects.filter(pk=model.pk).update(sha256=sha256([path]))
    assert only(connections.model).level == Level.OK
    path.write_bytes(b"tampered")
    assert "not those that were added" in only(connections.model).sentence
    path.unlink()
    gone = only(connections.model)
    assert gone.level == Level.ERROR


@pytest.mark.django_db
def test_no_active_model_is_an_error() -> None:
    Model.objects.update(is_active=False)
    assert only(connections.model).level == Level.ERROR


@pytest.mark.django_db
def test_clocks_that_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    from django.utils import timezone

    for off_s, level in ((60, Level.WARNING), (3600, Level.ERROR)):
        monkeypatch.setattr(connections, "now", lambda off_s=off_s: timezone.now() + timedelta(seconds=off_s))
        first, *_ = connections.database()
        assert (first.level, "clock" in first.sentence) == (level, True)


def test_a_storage_that_cannot_be_written_to_is_told(prepared: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    done = doctor({**prepared, "STORAGE_URL": f"file://{tmp_path}/taken/media"}, "--json")
    (said,) = of(found(done), "storage")
    assert done.returncode == 1
    assert said.startswith(f"error: {tmp_path}/taken/media cannot be used (")


def test_a_check_that_breaks_or_hangs_does_not_keep_the_others_from_being_told() -> None:
    is_over = threading.Event()

    def breaks() -> Iterator[Finding]:
        yield ok("a", "fine so far")
        raise RuntimeError("boom\nand more")

    def hangs() -> Iterator[Finding]:
        is_over.wait(60)
        yield ok("b", "at last")

    def holds() -> Iterator[Finding]:
        yield ok("c", "fine")

    first, second, third = run([Check("a", breaks), Check("b", hangs), Check("c", holds)], limit_s=3.0)
    is_over.set()
    assert [finding.level for finding in first] == [Level.OK, Level.ERROR]
    assert first[1].sentence == "could not be looked at: RuntimeError: boom"
    assert second == [Finding(Level.ERROR, "b", "did not answer within 3 s.")]
    assert third == [ok("c", "fine")]
