"""Without the right CAMERA_KEYS nothing starts, says so at once, and leaves the cameras as they are."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import ROOT

KEY, OTHER = ("b25seS1mb3ItdGVzdHMtMDEyMzQ1Njc4OWFiY2RlZmc=", "YW5vdGhlci1vbmUtZm9yLXRlc3RzLTAxMjM0NTY3ODk=")
ENTER = """
from detection.fields import Secret
from detection.models import Camera
Camera(name="Gate", source="http").put_in_service(Secret.of("http://viewer:s3cret@192.0.2.77/snap.jpg"))
"""
COMMANDS = {name: ("manage.py", *name.split()) for name in ("check", "prepare --no-example", "up")}
OTHERS = {"the web": ("-c", "import project.wsgi"), "a worker": ("-m", "celery", "-A", "project", "worker")}
MISSING = "CAMERA_KEYS is not set: run `make setup`"
MALFORMED = "Key {} of CAMERA_KEYS is not a Fernet key"
WRONG = "CAMERA_KEYS cannot decrypt the addresses of 1 of 1 cameras"


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30
    )


def manage(folder: Path, *words: str) -> None:
    """A command under KEY that comes to its end."""
    environment = os.environ | {"DATA_DIR": str(folder), "CAMERA_KEYS": KEY, "NIGHTJAR_ENV_FILE": os.devnull}
    for name in ("DJANGO_SETTINGS_MODULE", "DATABASE_URL"):
        environment.pop(name, None)
    done = run(environment, "manage.py", *words)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose database has a camera that was entered under KEY."""
    folder = tmp_path_factory.mktemp("keys") / "data"
    folder.mkdir()
    manage(folder, "migrate", "--verbosity", "0")
    manage(folder, "shell", "--verbosity", "0", "-c", ENTER)
    assert "'Gate'" in dump(folder)
    return folder


@pytest.fixture(scope="module")
def outdated(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, where a migration is pending: a version that has one was installed under the wrong key."""
    folder = tmp_path_factory.mktemp("outdated") / "data"
    shutil.copytree(data_dir, folder)
    manage(folder, "migrate", "--verbosity", "0", "sessions", "zero")
    assert "django_session" not in dump(folder)
    return folder


def dump(data_dir: Path) -> str:
    """All that is stored, and the tables in which it is."""
    with closing(sqlite3.connect(data_dir / "nightjar.sqlite3")) as database:
        return "\n".join(database.iterdump())


@pytest.fixture
def started(
    data_dir: Path, installation: Callable[..., dict[str, str]]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Starts something under a key, or under none, and makes sure that it ended and told and changed nothing."""

    def start(words: tuple[str, ...], keys: str | None, folder: Path = data_dir) -> subprocess.CompletedProcess[str]:
        environment = installation(DATA_DIR=str(folder), CAMERA_KEYS=keys or "")
        if keys is None:
            del environment["CAMERA_KEYS"]
        before = dump(folder)
        done = run(environment, *words)
        assert done.returncode != 0
        said = done.stdout + done.stderr
        secrets = ("s3cret", "viewer", "192.0.2.77", *(key for key in (keys or "").split(",") if key))
        assert not any(secret in said for secret in secrets)
        assert dump(folder) == before
        return done

    return start


KEYS = [
    pytest.param(None, MISSING, id="missing"),
    pytest.param("", MISSING, id="empty"),
    pytest.param("a-short-key", MALFORMED.format(1), id="malformed"),
    pytest.param(f"{KEY},{OTHER[:-9]}", MALFORMED.format(2), id="malformed second"),
]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(("keys", "sentence"), KEYS)
def test_a_command_without_a_usable_key_says_one_sentence(
    name: str, keys: str | None, sentence: str, started: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    said = started(COMMANDS[name], keys).stderr.splitlines()
    assert len(said) == 1
    assert said[0].startswith(sentence)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(("keys", "sentence"), KEYS)
def test_a_process_without_a_usable_key_ends_with_that_sentence(
    name: str, keys: str | None, sentence: str, started: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    said = started(OTHERS[name], keys).stderr
    assert sentence in said.splitlines()[-1]
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["prepare --no-example", "up", *OTHERS])
def test_under_a_key_that_is_not_the_cameras_nothing_starts(
    name: str, started: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    said = started({**COMMANDS, **OTHERS}[name], OTHER).stderr
    assert said.splitlines()[-1].startswith(WRONG)
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["prepare --no-example", "up", *OTHERS])
def test_under_a_key_that_is_not_the_cameras_a_pending_migration_stays_pending(
    name: str, started: Callable[..., subprocess.CompletedProcess[str]], outdated: Path
) -> None:
    started({**COMMANDS, **OTHERS}[name], OTHER, outdated)


def test_a_check_of_the_database_tells_of_a_key_that_is_not_the_cameras(
    started: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    assert WRONG in started(("manage.py", "check", "--database", "default"), OTHER).stderr


def test_gunicorn_ends_and_does_not_start_its_worker_again_and_again(
    started: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    words = ("-m", "gunicorn", "project.wsgi", "--bind", f"unix:{tmp_path}/web.sock", "--no-control-socket")
    assert WRONG in started(words, OTHER).stderr


def test_the_old_key_behind_a_new_one_opens_everything(
    data_dir: Path, installation: Callable[..., dict[str, str]]
) -> None:
    environment = installation(DATA_DIR=str(data_dir), CAMERA_KEYS=f"{OTHER},{KEY}")
    done = run(environment, *OTHERS["the web"])
    assert done.returncode == 0, done.stderr
