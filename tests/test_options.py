"""What can be set: read, refused with a sentence, all at once, and shown in the documents as the code has it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command

from project import options
from project.options import Reader
from tests.conftest import ROOT

NOT_OF_NIGHTJAR = {"CI", "NO_COLOR", "PATH", "HOME", "LANG", "TMPDIR", "PYTHON", "RUN_DIR", "PYTHONUNBUFFERED", "TERM"}


def test_a_missing_and_an_empty_value_are_the_default() -> None:
    read = Reader({"EMPTY": "", "THREE": "3"})
    assert [read.whole(name, 7, "") for name in ("MISSING", "EMPTY", "THREE")] == [7, 7, 3]
    assert read.problems == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("x", "N must be a whole number from 1 to 9, not “x”."),
        ("10", "N must be a whole number from 1 to 9, not “10”."),
        ("1.5", "N must be a whole number from 1 to 9, not “1.5”."),
        ("9" * 5000, None),
    ],
)
def test_a_wrong_number_is_told_and_the_default_taken(given: str, sentence: str | None) -> None:
    read = Reader({"N": given})
    assert read.whole("N", 4, "", most=9) == 4
    assert len(read.problems) == 1
    assert sentence is None or read.problems == [sentence]


@pytest.mark.parametrize("given", ["nan", "inf", "-inf", "0", "-1", "1e999", "one"])
def test_seconds_are_above_zero_and_end(given: str) -> None:
    read = Reader({"S": given})
    assert read.number("S", 2.5, "") == 2.5
    assert read.problems == [f"S must be a number above 0, not “{given}”."]


def test_a_share_may_be_zero() -> None:
    read = Reader({"S": "0"})
    assert read.number("S", 0.5, "", zero=True) == 0
    assert read.problems == []


@pytest.mark.parametrize(("given", "meant"), [("TRUE", True), ("1", True), ("on", True), ("no", False), ("0", False)])
def test_flags_are_read_as_people_write_them(given: str, meant: bool) -> None:
    read = Reader({"F": given})
    assert read.flag("F", not meant, "") is meant


def test_a_flag_that_is_neither_is_told_and_not_taken_for_no() -> None:
    read = Reader({"F": "ture"})
    assert read.flag("F", True, "") is True
    assert read.problems == ["F must be true or false, not “ture”."]


@pytest.mark.parametrize("given", ["http://user:geheim@host", "user:geheim@host", "http://host/geheim"])
def test_the_value_of_what_may_be_an_address_is_not_repeated(given: str) -> None:
    read = Reader({"N": given})
    assert read.whole("N", 4, "") == 4
    assert read.problems == [f"N must be a whole number from 1 to {2**62}."]


def test_the_value_of_a_secret_is_not_repeated() -> None:
    read = Reader({"URL": "mysql://user:geheim@host"})

    def refuse(given: str) -> str:
        if given:
            raise ValueError("a better one")
        return given

    assert read.parsed("URL", "", "", refuse, secret=True) == ""
    assert read.problems == ["URL must be a better one."]


def test_what_is_misspelt_in_the_env_file_is_told_with_what_was_meant(tmp_path: Path) -> None:
    read = Reader({})
    read.words("ALLOWED_HOSTS", "", "")
    path = tmp_path / ".env"
    path.write_text("# ALOWED=1\nexport ALLOWED_HOST=x\nALLOWED_HOSTS=y\nSOMETHING_ELSE=1\n")
    assert read.unknown(path) == [
        f"ALLOWED_HOST in {path} is no setting of Nightjar and has no effect: did you mean ALLOWED_HOSTS?",
        f"SOMETHING_ELSE in {path} is no setting of Nightjar and has no effect.",
    ]
    assert read.unknown(tmp_path / "missing") == []


def test_everything_that_is_wrong_is_told_at_once(installation: Callable[..., dict[str, str]]) -> None:
    given = installation(
        PORT="http",
        SECRET_KEY="short",
        CAMERA_KEYS="none",
        TIME_ZONE="Mars/Olympus",
        DATABASE_URL="mysql://user:geheim@host/x",
        BROKER_URL="kafka://user:geheim@host",
        STORAGE_URL="ftp://user:geheim@host",
        EMAIL_URL="pigeon://user:geheim@host",
        LOG_LEVEL="LOUD",
        HTTPS="maybe",
        ALLOWED_HOSTS="*",
    )
    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    for name in given.keys() & {option.name for option in settings.OPTIONS}:
        told = [line for line in lines if name in line]
        assert told or name in ("DATA_DIR", "FLOWER_PASSWORD"), name
    assert "geheim" not in done.stderr
    assert "Traceback" not in done.stderr
    assert len(lines) == 11


def test_a_name_for_everybody_is_refused_where_others_are_served(installation: Callable[..., dict[str, str]]) -> None:
    command = [sys.executable, "manage.py", "check"]
    refused = subprocess.run(
        command, cwd=ROOT, env=installation(ALLOWED_HOSTS="*"), capture_output=True, text=True, check=False
    )
    assert refused.stderr.startswith("ALLOWED_HOSTS must name what people type")
    while_developing = installation(ALLOWED_HOSTS="*", DEBUG="true")
    assert subprocess.run(command, cwd=ROOT, env=while_developing, capture_output=True, check=False).returncode == 0


def test_the_documents_say_what_the_code_does() -> None:
    call_command("options", "--check")


def test_every_option_has_a_group_and_a_meaning_and_is_declared_once() -> None:
    declared = settings.OPTIONS
    assert len(declared) > 60
    assert all(option.group and option.meaning for option in declared)
    names = [option.name for option in declared]
    assert sorted(names) == sorted(set(names))


def test_whatever_the_code_and_the_procfile_read_from_the_environment_is_declared() -> None:
    declared = {option.name for option in settings.OPTIONS}
    procfile = set(re.findall(r"\$\{(\w+)", (ROOT / "Procfile").read_text()))
    assert procfile - declared - NOT_OF_NIGHTJAR == set()
    code = "\n".join(path.read_text() for path in (ROOT / "project").rglob("*.py") if path.name != "settings.py")
    read_directly = set(re.findall(r"os\.environ(?:\.get\(|\[)\"([A-Z_]+)\"", code))
    assert {name for name in read_directly if not name.startswith("NIGHTJAR_")} - declared - NOT_OF_NIGHTJAR == set()


def test_a_bar_in_a_meaning_does_not_break_the_table() -> None:
    read = Reader({})
    read.group("G")
    read.text("A", "", "this | that")
    assert "| `A` | none | this \\| that |" in options.markdown(read.options)
