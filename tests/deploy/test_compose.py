"""The compose file, the Dockerfile and what goes into the image are as safe and as complete as they say."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from project.launcher import read_procfile
from tests.conftest import ROOT
from tests.deploy.composed import DEPLOY, compose, filled_in, size_of
from tests.services import absent

SERVICES: dict[str, Any] = compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("nightjar")}
NAMES = ["SECRET_KEY", "CAMERA_KEYS", "FLOWER_PASSWORD", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "SITE"]
GIVEN = "".join(f"{name}=nightjar.example.org\n" for name in NAMES)


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]])
def test_compose_takes_it(files: list[str], tmp_path: Path) -> None:
    if not shutil.which("docker-compose"):
        absent("There is no docker-compose: apt-get install docker-compose")
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    (tmp_path / "deploy/.env").write_text(GIVEN)
    options = [word for file in files for word in ("--file", f"deploy/{file}")]
    asked = ["docker-compose", *options, "config"]
    ended = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert set(yaml.safe_load(ended.stdout)["services"]) == set(SERVICES)


def test_every_process_of_the_procfile_is_a_service_by_its_own_line() -> None:
    names = {program.name for program in read_procfile(ROOT / "Procfile")} | {"release"}
    assert set(OURS) == names
    assert all(service["command"] == ["deploy/process", name] for name, service in OURS.items())


def test_only_the_reverse_proxy_has_ports() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["tls"]
    assert all("network_mode" not in service and "privileged" not in service for service in SERVICES.values())


@pytest.mark.parametrize("name", list(SERVICES))
def test_every_service_restarts_is_looked_after_and_has_its_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("no" if name == "release" else "unless-stopped")
    if name != "release":
        assert service["healthcheck"]["test"]
        assert service["deploy"]["resources"]["limits"]["memory"]
    assert ":" in service["image"]
    assert not service["image"].endswith(":latest")


@pytest.mark.parametrize("name", list(OURS))
def test_ours_may_nothing_that_they_need_not(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "10001:10001"
    assert int(service["stop_grace_period"].removesuffix("s")) > 12  # what a worker may take to hand back


@pytest.mark.parametrize("name", ["analyse", "proxy"])
def test_a_process_is_replaced_before_its_container_runs_out_of_memory(name: str) -> None:
    """The limit is the container's, with the main process in it; 4g is GiB there."""
    limit = size_of(OURS[name]["deploy"]["resources"]["limits"]["memory"].replace("g", "GiB"))
    assert 0.5 * limit < size_of(OURS[name]["environment"]["WORKER_MAX_MEMORY_BYTES"]) < 0.7 * limit
    assert OURS[name]["environment"].items() > SERVICES["grab"]["environment"].items()


def test_no_secret_stands_in_it_and_none_has_a_default() -> None:
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY|TOKEN|_URL$", key) and key != "SITE_URL":
                with pytest.raises(AssertionError, match="is not set"):
                    filled_in(value, {})


@pytest.mark.parametrize("name", list(OURS))
def test_what_it_sets_for_ours_are_real_settings(name: str, settings) -> None:
    assert OURS[name]["environment"].keys() - {option.name for option in settings.OPTIONS} == set()


# The image


def test_hadolint_finds_nothing() -> None:
    if not (linter := shutil.which("hadolint", path=str(ROOT / ".venv/bin")) or shutil.which("hadolint")):
        absent("There is no hadolint: pip install -r requirements-dev.txt")
    ended = subprocess.run([linter, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout
    assert ended.stdout == ""


def test_it_runs_as_nobody_special_and_its_base_is_pinned() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    base = re.search(r"^ARG PYTHON_IMAGE=python:(\S+)$", text, re.MULTILINE)
    assert base
    assert re.match(r"3\.1[1-3]-slim-", base[1])
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${PYTHON_IMAGE}"}
    assert re.search(r"^HEALTHCHECK .*health", text, re.MULTILINE)
    assert not re.search(r"^(ARG|ENV) .*(SECRET_KEY|CAMERA_KEYS|FLOWER_PASSWORD)", text, re.MULTILINE)


def test_its_commands_are_those_of_this_project() -> None:
    """pip gets torch by the versions of requirements.txt, and what is copied is there."""
    lines = (ROOT / "requirements.txt").read_text()
    assert len(re.findall(r"^torch(?:vision)?==", lines, re.MULTILINE)) == 2
    sources = re.findall(r"^COPY (?!--from)(\S+) ", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert sources == ["requirements.txt", "."]


# Stands for pip: notes what it is asked for, and what the list says that it is given.
PIP = """#!/bin/sh
echo "$@" >> pip.log
case $* in *torch.txt) cat torch.txt >> pip.log ;; esac
"""


def _install(folder: Path, variant: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Does what the Dockerfile does to install, in a shell as it sets it; answers what pip was asked for, too."""
    text = (DEPLOY / "Dockerfile").read_text()
    shell = json.loads(re.search(r"^SHELL (.+)$", text, re.MULTILINE)[1])
    script = re.search(r"^RUN (case \$VARIANT .+?[^\\])$", text, re.MULTILINE | re.DOTALL)[1]
    (folder / "bin").mkdir()
    (folder / "bin/pip").write_text(PIP)
    (folder / "bin/pip").chmod(0o755)
    (folder / "requirements.txt").write_text("django==5\ntorch==2\ntorchaudio==2\ntorchvision==3\n")
    given = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "VARIANT": variant}
    ended = subprocess.run([*shell, script], cwd=folder, env=given, capture_output=True, text=True, timeout=20)
    log = folder / "pip.log"
    return ended, log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize(
    ("variant", "index"), [("cpu", "https://download.pytorch.org/whl/cpu"), ("gpu", "https://pypi.org/simple")]
)
def test_torch_comes_for_the_processor_or_for_cards_before_the_rest(variant: str, index: str, tmp_path: Path) -> None:
    ended, asked = _install(tmp_path, variant)
    assert ended.returncode == 0, ended.stderr
    first, *listed, last = asked
    assert first == f"install --index-url {index} -r torch.txt"
    assert listed == ["torch==2", "torchvision==3"]
    assert last == "install -r requirements.txt"
    assert not (tmp_path / "torch.txt").exists()


def test_a_variant_that_is_none_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    ended, asked = _install(tmp_path, "cuda")
    assert ended.returncode == 1
    assert "VARIANT must be cpu or gpu, not cuda" in ended.stderr
    assert asked == []


def test_without_a_variant_the_image_is_for_the_processor() -> None:
    assert re.search(r"^ARG VARIANT=cpu$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert SERVICES["release"]["build"]["args"]["VARIANT"] == "${VARIANT:-cpu}"


def _in_image(path: str) -> bool:
    """By .dockerignore, the last pattern that fits decides; what lies in a folder goes with it."""
    is_in = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        wanted = pattern.startswith("!")
        pattern = pattern.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        prefixes = ["/".join(parts[: number + 1]) for number in range(len(parts))]
        if any(fnmatch.fnmatch(prefix, pattern) for prefix in prefixes) or any(
            line.startswith("**/") and fnmatch.fnmatch(part, pattern) for part in parts
        ):
            is_in = wanted
    return is_in


@pytest.mark.parametrize(
    "path",
    [".env", ".env.local", "deploy/.env", "var/nightjar.sqlite3", ".git/config", ".venv/bin/python", "tests/cast.py",
     "project/__pycache__/settings.pyc", "deploy/kubernetes/secrets.env", "backup/files/x", "id_rsa"],
)  # fmt: skip
def test_no_secret_data_or_leavings_go_into_the_image(path: str) -> None:
    assert not _in_image(path)


@pytest.mark.parametrize(
    "path", ["manage.py", "Procfile", "LICENSE", "requirements.txt", "project/settings.py", "deploy/process",
             "detection/vision/trained/yard.pt", "detection/static/nightjar/site.css", "workers/tasks.py"],
)  # fmt: skip
def test_what_runs_is_in_the_image(path: str) -> None:
    assert (ROOT / path).exists()
    assert _in_image(path)


# deploy/process, by which all of them start


def test_a_name_that_is_no_process_is_told_the_names() -> None:
    for name in ("nope", "", "w.b", "web grab", "web;id"):
        ended = subprocess.run([DEPLOY / "process", name], capture_output=True, text=True, timeout=20)
        assert ended.returncode == 64
        assert "release web grab probe analyse proxy beat flower" in ended.stderr


# Reverse proxies


@pytest.mark.skipif(not shutil.which("caddy"), reason="needs caddy; the test that runs everything fails without in CI")
def test_caddy_takes_its_configuration(tmp_path: Path) -> None:
    asked = ["caddy", "validate", "--config", str(DEPLOY / "Caddyfile"), "--adapter", "caddyfile"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SITE": "nightjar.example.org"}
    ended = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    formatted = ["caddy", "fmt", str(DEPLOY / "Caddyfile")]
    said = subprocess.run(formatted, capture_output=True, text=True, timeout=60).stdout
    assert said == (DEPLOY / "Caddyfile").read_text()


def test_both_proxies_let_the_largest_media_through_and_hand_on_who_asks(settings) -> None:
    assert settings.MEDIA_MAX_BYTES < 9 * 1000**3
    assert "max_size 9GB" in (DEPLOY / "Caddyfile").read_text()
    nginx = (DEPLOY / "nginx.conf").read_text()
    assert "client_max_body_size 9g" in nginx
    for header in ("X-Forwarded-For $remote_addr", "X-Forwarded-Proto $scheme", "Host $http_host"):
        assert f"proxy_set_header {header};" in nginx
