"""What `make` says and does on machines of other people: a wrong Python, a failed or interrupted installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with what `make install` uses, and nothing to install."""
    folder = tmp_path / "nightjar"
    (folder / "project").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "project" / "install.sh", folder / "project")
    (folder / "requirements.txt").write_text("# nothing\n")
    return folder


def python(folder: Path, version: str, *, lacks: str = "") -> Path:
    """A command that says that it is a Python of this version, and has no module of this name."""
    path = folder / f"python{version}"
    major, minor = version.split(".")
    path.write_text(
        f"""#!{sys.executable}
import sys
if sys.argv[1] == "--version":
    print("Python {version}")
elif "version_info" in sys.argv[2]:
    sys.exit(({major}, {minor}) < (3, 11))
elif "{lacks or "nothing"}" in sys.argv[2]:
    sys.exit(1)
"""
    )
    path.chmod(0o755)
    return path


def make(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHON", "MAKEFLAGS", "MAKELEVEL"}}
    return subprocess.run(
        ["make", *words], cwd=folder, env=clean | environment, capture_output=True, text=True, timeout=120
    )


def sentences(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What it said on its error output, without make's own last line."""
    return [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]


def test_a_python_that_is_too_old_is_refused_with_one_sentence(copy: Path, tmp_path: Path) -> None:
    old = python(tmp_path, "3.9")
    done = make(copy, "install", f"PYTHON={old}")
    assert done.returncode != 0
    assert sentences(done) == [
        f"PYTHON={old} is not Python 3.11 or later, which Nightjar needs: name another, for example PYTHON=python3.12."
    ]
    assert not (copy / ".venv").exists()


def test_a_python_that_is_not_there_is_refused_with_one_sentence(copy: Path) -> None:
    done = make(copy, "install", "PYTHON=python9.9")
    assert done.returncode != 0
    assert sentences(done) == [
        "PYTHON=python9.9 is not there: name a Python of 3.11 or later, for example PYTHON=python3.12."
    ]


def test_a_machine_with_only_old_pythons_is_told_so(copy: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "make", "cat", "cmp", "basename", "sed", "rm", "mv"):
        (tools / name).symlink_to(shutil.which(name) or "")
    python(tools, "3.10").rename(tools / "python3")
    done = make(copy, "install", PATH=str(tools))
    assert done.returncode != 0
    (sentence,) = sentences(done)
    assert sentence.startswith("Nightjar needs Python 3.11 or later and there is none here")


def test_a_newer_python_beside_an_old_one_is_found(copy: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    python(tools, "3.10").rename(tools / "python3")
    python(tools, "3.12", lacks="ensurepip")
    done = make(copy, "install", PATH=f"{tools}:{os.environ['PATH']}")
    # It was found: what is said is about its venv module.
    assert done.returncode != 0
    assert sentences(done) == [
        "python3.12 lacks its venv module: install it (on Debian and Ubuntu: apt install python3-venv)."
    ]


def test_an_installation_happens_once_and_again_only_when_the_requirements_changed(copy: Path) -> None:
    first = make(copy, "install", f"PYTHON={sys.executable}")
    assert first.returncode == 0, first.stderr
    assert "Installing the packages" in first.stdout
    second = make(copy, "install", f"PYTHON={sys.executable}")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    (copy / "requirements.txt").write_text("# still nothing\n")
    assert "Installing the packages" in make(copy, "install").stdout

    # A failed one is one sentence (after pip's own words), and never taken for a finished one.
    (copy / "requirements.txt").write_text("no-such-package-of-nightjar\n")
    failed = make(copy, "install", PIP_NO_INDEX="1")
    assert failed.returncode != 0
    assert sentences(failed)[-1].startswith("The packages could not be installed: ")
    assert "Traceback" not in failed.stderr
    again = make(copy, "install", PIP_NO_INDEX="1")
    assert again.returncode != 0
    (copy / "requirements.txt").write_text("# still nothing\n")
    assert "Installing the packages" in make(copy, "install").stdout

    # Neither is a virtual environment that was left half made.
    (copy / ".venv" / "bin" / "python").unlink()
    repaired = make(copy, "install", f"PYTHON={sys.executable}")
    assert repaired.returncode == 0, repaired.stderr
    assert "Making .venv" in repaired.stdout


def test_help_names_what_a_person_types(copy: Path) -> None:
    said = make(copy).stdout
    names = [line.split()[1] for line in said.splitlines()]
    assert names == ["help", "run", "setup", "install", "test", "chaos", "check", "clean"]


def test_clean_keeps_the_data_and_the_secrets(copy: Path) -> None:
    for name in (".venv", "var", "project/__pycache__", "var/__pycache__"):
        (copy / name).mkdir(exist_ok=True)
    (copy / ".env").write_text("SECRET_KEY=x\n")
    assert make(copy, "clean").returncode == 0
    assert {path.name for path in copy.iterdir()} == {"Makefile", "project", "requirements.txt", "var", ".env"}
    assert (copy / "var" / "__pycache__").exists()
    assert not (copy / "project" / "__pycache__").exists()
