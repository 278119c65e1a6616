"""Without the right CAMERA_KEYS nothing starts, says so at once, and leaves the cameras as they are."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
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


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose database has a camera that was entered under KEY."""
    folder = tmp_path_factory.mktemp("keys") / "data"
    environment = os.environ | {"DATA_DIR": str(folder), "CAMERA_KEYS": KEY, "NIGHTJAR_ENV_FILE": os.devnull}
    for name in ("DJANGO_SETTINGS_MODULE", "DATABASE_URL"):
        environment.pop(name, None)
    folder.mkdir()
    for words in (("migrate", "--verbosity", "0"), ("shell", "--verbosity", "0", "-c", ENTER)):
        done = run(environment, "manage.py", *words)
        assert done.returncode == 0, done.stderr
    assert rows(folder)[0]["name"] == "Gate"
    return folder


def rows(data_dir: Path) -> list[dict[str, object]]:
    """All that is stored of the cameras."""
    with sqlite3.connect(data_dir / "nightjar.sqlite3") as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM detection_camera")]


@pytest.fixture
def started(
    data_dir: Path, installation: Callable[..., dict[str, str]]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Starts something under a key, or under none, and makes sure that it ended and told and changed nothing."""

    def start(words: tuple[str, ...], keys: str | None) -> subprocess.CompletedProcess[str]:
        environment = installation(DATA_DIR=str(data_dir), CAMERA_KEYS=keys or "")
        if keys is None:
            del environment["CAMERA_KEYS"]
        before = rows(data_dir)
        done = run(environment, *words)
        assert done.returncode != 0
        said = done.stdout + done.stderr
        secrets = ("s3cret", "viewer", "192.0.2.77", *(key for key in (keys or "").split(",") if key))
        assert not any(secret in said for secret in secrets)
        assert rows(data_dir) == before
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
