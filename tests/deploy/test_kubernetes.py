"""Kubernetes takes the manifests, and they run what the Procfile names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from django.conf import settings as project_settings

from project.launcher import read_procfile
from tests.conftest import ROOT
from tests.deploy.composed import DEPLOY, size_of
from tests.installations import an_installation
from tests.services import absent, new_database

FOLDER = DEPLOY / "kubernetes"
MANIFESTS = [
    document
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
    if path.name != "kustomization.yaml"
]
PODS: list[dict[str, Any]] = [
    row["spec"]["template"]["spec"] for row in MANIFESTS if row["kind"] in ("Deployment", "Job")
]
CONTAINERS: dict[str, Any] = {one["name"]: one for pod in PODS for one in pod["containers"]}
PROCESSES = {program.name for program in read_procfile(ROOT / "Procfile")}


def named(row: dict[str, Any]) -> str:
    return f"{row['kind']}-{row['metadata']['name']}"


@pytest.mark.parametrize("manifest", [row for row in MANIFESTS if "keda" not in row["apiVersion"]], ids=named)
def test_its_schema_holds(manifest: dict[str, Any]) -> None:
    try:
        import kubernetes_validate
    except ImportError:
        absent("kubernetes-validate is not installed: pip install -r requirements-dev.txt")
    kubernetes_validate.validate(manifest, "1.30", strict=True)


def test_all_that_is_applied_is_there() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    there = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "keda.yaml"}
    assert there == set(listed["resources"])
    assert listed["configMapGenerator"][0]["envs"] == ["settings.env"]


def test_every_process_of_the_procfile_runs_by_its_own_line() -> None:
    assert set(CONTAINERS) == PROCESSES | {"release"}
    for name, container in CONTAINERS.items():
        assert container["command"] == ["tini", "--", "deploy/process", name]


@pytest.mark.parametrize("name", sorted(CONTAINERS))
def test_each_may_nothing_that_it_needs_not_and_has_its_limits(name: str) -> None:
    container = CONTAINERS[name]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp"}


@pytest.mark.parametrize("name", ["analyse", "proxy"])
def test_a_process_is_replaced_before_its_container_runs_out_of_memory(name: str) -> None:
    container = CONTAINERS[name]
    given = {row["name"]: row["value"] for row in container["env"]}
    limit = size_of(container["resources"]["limits"]["memory"] + "B")
    assert 0.5 * limit < size_of(given["WORKER_MAX_MEMORY_BYTES"]) < 0.7 * limit


def test_pods_are_given_time_to_stop_and_run_as_nobody_special() -> None:
    for pod in PODS:
        assert pod["terminationGracePeriodSeconds"] > 12
        assert pod["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_each_is_probed_by_what_is_there(name: str) -> None:
    container = CONTAINERS[name]
    assert "livenessProbe" in container
    if name == "web":
        paths = {kind: container[kind]["httpGet"]["path"] for kind in ("livenessProbe", "readinessProbe")}
        assert paths == {"livenessProbe": "/health/live", "readinessProbe": "/health/ready"}
    elif name != "flower":
        command = container["livenessProbe"]["exec"]["command"]
        of = ["beat"] if name == "beat" else ["worker", name]
        assert command == ["python", "manage.py", "health", *of, "--lenient"]


def test_no_secret_stands_in_the_settings() -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / "settings.env").read_text(), re.MULTILINE))
    secret = dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / "secrets.env.example").read_text(), re.MULTILINE))
    assert not settings.keys() & secret.keys()
    assert not [name for name in settings if re.search("KEY|PASSWORD|TOKEN|DATABASE|BROKER|STORAGE", name)]
    assert "/deploy/kubernetes/secrets.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_settings_are_real_ones() -> None:
    declared = {option.name for option in project_settings.OPTIONS}
    for name in ("settings.env", "secrets.env.example"):
        assert set(re.findall(r"^(\w+)=", (FOLDER / name).read_text(), re.MULTILINE)) - declared == set()
    for name, container in CONTAINERS.items():
        assert {row["name"] for row in container.get("env", [])} - declared == set(), name


def test_the_settings_are_taken(tmp_path: Path) -> None:
    """With secrets of its own, the system's own checks pass."""
    settings = dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / "settings.env").read_text(), re.MULTILINE))
    settings |= {"METRICS_TOKEN": "x" * 40, "METRICS_DIR": str(tmp_path / "metrics")}
    system = an_installation(tmp_path / "data", **settings)
    assert "ERROR" not in system.manage("check", "--deploy", "--fail-level", "ERROR")


def test_keda_counts_the_rows_that_wait(postgres_url: str, tmp_path: Path) -> None:
    scaled = {row["metadata"]["name"]: row["spec"] for row in MANIFESTS if row["kind"] == "ScaledObject"}
    assert set(scaled) == {"analyse", "proxy"} <= PROCESSES
    with new_database(postgres_url) as database:
        system = an_installation(tmp_path / "data", DATABASE_URL=database)
        system.manage("prepare", "--no-example")
        system.python("-m", "tests.populated")
        with psycopg.connect(database) as connection:
            counts = {
                name: connection.execute(spec["triggers"][0]["metadata"]["query"]).fetchone()
                for name, spec in scaled.items()
            }
    # One queued, and of one that is looked at both chunks; a copy that waits and one that is being made.
    assert counts == {"analyse": (3,), "proxy": (2,)}
