"""systemd takes the units, and each of them is kept within its bounds."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from project.launcher import read_procfile
from tests.conftest import ROOT
from tests.deploy.composed import DEPLOY
from tests.processes import MARK, answers, kill_marked, marked, wait_for
from tests.services import absent, find_free_port

UNITS = sorted((DEPLOY / "systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, for an installation in the folder of the tests; and an instance for each process."""
    for unit in UNITS:
        text = unit.read_text().replace("/opt/nightjar", str(ROOT))
        text = re.sub(r"^(ExecStart=)\S*/\.venv/bin/python", r"\1" + shutil.which("python3"), text, flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text)
        if unit.name == "nightjar@.service":
            for program in read_procfile(ROOT / "Procfile"):
                (tmp_path / f"nightjar@{program.name}.service").write_text(text)
    return tmp_path


def test_systemd_takes_every_unit(installed: Path) -> None:
    if not (analyse := shutil.which("systemd-analyze")):
        absent("There is no systemd-analyze: apt-get install systemd")
    units = [str(path) for path in sorted(installed.iterdir()) if path.name != "nightjar@.service"]
    ended = subprocess.run([analyse, "verify", *units], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    ours = [line for line in ended.stderr.splitlines() if "nightjar" in line]
    assert ours == []


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_each_service_may_write_its_data_and_nothing_else(unit: Path) -> None:
    lines = set(unit.read_text().splitlines())
    assert {"NoNewPrivileges=true", "ProtectSystem=strict", "ProtectHome=true", "User=nightjar", "UMask=0077"} <= lines
    assert any(line.startswith("ReadWritePaths=/var/lib/nightjar") for line in lines)
    assert "CapabilityBoundingSet=" in lines
    assert "EnvironmentFile=/etc/nightjar/env" in lines


@pytest.mark.parametrize("name", ["nightjar.service", "nightjar@.service"])
def test_what_is_long_lived_is_started_again_and_given_time_to_stop(name: str) -> None:
    from workers.stopping import GONE_AFTER_S

    text = (DEPLOY / "systemd" / name).read_text()
    assert "Restart=always" in text
    assert "KillMode=mixed" in text  # the main process alone is asked: it asks its children itself
    stop = re.search(r"TimeoutStopSec=(\d+)s", text)
    assert stop
    assert int(stop[1]) > GONE_AFTER_S + 2


def commands_of(unit: Path, environment_file: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """What a unit starts, and with which environment: its own and the file's, and nothing of ours."""
    text = (
        unit.read_text().replace("/opt/nightjar/.venv/bin/python", sys.executable).replace("/opt/nightjar", str(ROOT))
    )
    commands = {key: shlex.split(value) for key, value in re.findall(r"^(Exec\w+)=(.*)$", text, re.MULTILINE)}
    given = dict(word.split("=", 1) for word in re.search(r"^Environment=(.*)$", text, re.MULTILINE)[1].split())
    given |= dict(re.findall(r"^(\w+)=(.*)$", environment_file.read_text(), re.MULTILINE))
    return commands, {"PATH": "/usr/local/bin:/usr/bin:/bin", **given}


def test_the_unit_for_one_machine_runs_all_of_it_and_stops_in_time(tmp_path: Path) -> None:
    file = tmp_path / "env"
    subprocess.run([sys.executable, "-I", "project/environment.py", str(file)], cwd=ROOT, check=True)
    port, mark = find_free_port(), uuid4().hex
    with file.open("a") as env:
        env.write(f"PORT={port}\nDATA_DIR={tmp_path}/data\nWEIGHTS_URL=http://127.0.0.1:9\n{MARK}={mark}\n")
    commands, environment = commands_of(DEPLOY / "systemd/nightjar.service", file)
    if not (ROOT / ".venv/bin/python").exists():  # as for whoever has the packages elsewhere
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    before = subprocess.run(
        commands["ExecStartPre"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert before.returncode == 0, before.stdout + before.stderr
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(commands["ExecStart"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        wait_for("the pages are ready", lambda: answers(f"http://127.0.0.1:{port}/health/ready"), limit_s=90)
        wait_for("the workers, too", lambda: (tmp_path / "log").read_text().count("ready") >= 4, limit_s=90)
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=40) == 0
        assert marked(mark) == {}
    finally:
        running.kill()
        kill_marked(mark)
        print((tmp_path / "log").read_text()[-5000:])
