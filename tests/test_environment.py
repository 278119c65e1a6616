"""The file of settings that an installation writes for itself."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import environ
import pytest
from cryptography.fernet import Fernet

from project.keys import padded, problems

SCRIPT = Path(__file__).resolve().parent.parent / "project" / "environment.py"


def write(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", str(SCRIPT), str(path)], capture_output=True, text=True, check=False)


def read(path: Path) -> dict[str, str]:
    """As the settings read it: the first line of a key counts."""
    seen: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            seen.setdefault(key.strip(), value)
    return seen


def test_a_new_file_has_secrets_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    done = write(path)
    assert done.returncode == 0
    assert "Wrote" in done.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {key: len(value) for key, value in read(path).items()} == {
        "SECRET_KEY": 67,
        "FLOWER_PASSWORD": 67,
        "CAMERA_KEYS": 43,
    }
    assert list(tmp_path.iterdir()) == [path]


def test_the_secrets_are_not_printed(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    done = write(path)
    assert not any(value in done.stdout + done.stderr for value in read(path).values())


def test_two_installations_have_different_secrets(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    assert not set(read(tmp_path / "one").values()) & set(read(tmp_path / "two").values())


def test_a_second_run_changes_nothing_and_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    write(path)
    before = path.read_bytes()
    done = write(path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert path.read_bytes() == before


def test_a_file_of_the_users_own_keeps_every_line_and_gets_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("PORT=9000\nSECRET_KEY=mine # chosen long ago")
    path.chmod(0o640)
    done = write(path)
    assert "Added FLOWER_PASSWORD and CAMERA_KEYS" in done.stdout
    assert path.read_text().startswith("PORT=9000\nSECRET_KEY=mine # chosen long ago\n")
    assert len(read(path)["FLOWER_PASSWORD"]) > 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert "chmod 600" in done.stderr


@pytest.mark.parametrize("line", ["SECRET_KEY=", "export SECRET_KEY=  ", "SECRET_KEY= # to be chosen"])
def test_a_key_without_a_value_gets_one_in_its_place(tmp_path: Path, line: str) -> None:
    path = tmp_path / ".env"
    path.write_text(f"A=1\n\n{line}\nB=2\n")
    write(path)
    assert len(read(path)["SECRET_KEY"]) > 50
    assert path.read_text().count("SECRET_KEY") == 1
    assert path.read_text().startswith("A=1\n\nSECRET_KEY=")


def test_the_settings_read_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    write(path)
    monkeypatch.delenv("SECRET_KEY", raising=False)
    monkeypatch.setenv("FLOWER_PASSWORD", "of the environment")
    env = environ.Env()
    env.read_env(str(path))
    assert env.str("SECRET_KEY") == read(path)["SECRET_KEY"]
    assert env.str("FLOWER_PASSWORD") == "of the environment"
    monkeypatch.delenv("SECRET_KEY")


def test_the_key_for_the_cameras_is_one_that_the_settings_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    write(path)
    monkeypatch.setenv("CAMERA_KEYS", "")  # so that it is put back
    monkeypatch.delenv("CAMERA_KEYS")
    env = environ.Env()
    env.read_env(str(path))
    keys = env.list("CAMERA_KEYS")
    assert problems(keys) == []
    assert [padded(key) for key in keys] == [read(path)["CAMERA_KEYS"] + "="]
    assert Fernet(padded(keys[0])).decrypt(Fernet(padded(keys[0])).encrypt(b"an address")) == b"an address"


def test_a_key_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    """What was encrypted with it would be lost."""
    path = tmp_path / ".env"
    path.write_text("CAMERA_KEYS=new,old\n")
    write(path)
    assert read(path)["CAMERA_KEYS"] == "new,old"
    assert path.read_text().count("CAMERA_KEYS") == 1


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = write(tmp_path / "file" / ".env")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be written" in done.stderr


def test_the_example_names_no_value_that_would_hide_a_generated_one() -> None:
    example = (SCRIPT.parent.parent / ".env.example").read_text()
    assert not [line for line in example.splitlines() if line and not line.startswith("#")]
