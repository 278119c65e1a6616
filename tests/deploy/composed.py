"""The compose file's services as processes of this machine, each by its own command and environment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from project.broker import server_binary
from project.options import Reader
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([?-])([^}]*))?\})")


def compose() -> dict[str, Any]:
    """The compose file, its anchors resolved."""
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def filled_in(text: str, given: Mapping[str, str]) -> str:
    """A value with its variables, as Compose fills them in; fails where one is required and not given."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if name is None:
            return "$"
        found = given.get(name, "")
        assert found or kind != "?", f"{name} {rest}"
        return found or (rest if kind == "-" else "")

    return VARIABLE.sub(value, text)


def size_of(words: str) -> int:
    """Bytes, as a setting of Nightjar says them."""
    reader = Reader({"SIZE": words})
    found = reader.size("SIZE", "1", "")
    assert not reader.problems
    return found


def of_the_image() -> dict[str, str]:
    """What the Dockerfile's last ENV sets."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    line = [line for line in text.splitlines() if line.startswith("ENV ")][-1]
    return dict(word.split("=", 1) for word in line.removeprefix("ENV ").split())


class Services:
    """Those of the compose file; ``elsewhere`` says what stands here for what a text of theirs names there."""

    def __init__(self, folder: Path, given: Mapping[str, str], elsewhere: Mapping[str, str]) -> None:
        self.folder, self.given, self.elsewhere = folder, given, elsewhere
        self.services: dict[str, Any] = compose()["services"]
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, str] = {}  # of this machine

    def here(self, text: str) -> str:
        text = filled_in(text, self.given)
        for there, here in self.elsewhere.items():
            text = text.replace(there, here)
        return text

    def environment(self, name: str) -> dict[str, str]:
        service = self.services[name]
        is_ours = service["image"].startswith("nightjar")
        of_file = dict(self.given) if "env_file" in service else {}
        named: dict[str, str] = service.get("environment", {})
        everything = {**(of_the_image() if is_ours else {}), **of_file, **named}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {key: self.here(value) for key, value in everything.items()} | {"PATH": path}

    def command(self, name: str) -> list[str]:
        words = [self.here(word) for word in self.services[name]["command"]]
        if words[0] == "valkey-server":
            words[0] = str(server_binary())
        return words

    def start(self, name: str, *more: str, **settings: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as out:
            self.running[name] = subprocess.Popen(
                [*self.command(name), *more],
                cwd=ROOT,
                env=self.environment(name) | settings,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def run(self, name: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        """A command beside a service, as `docker compose exec` runs it."""
        return subprocess.run(
            command, cwd=ROOT, env=self.environment(name), capture_output=True, text=True, timeout=120
        )

    def is_healthy(self, name: str) -> bool:
        """By its own health check."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        words = [self.here(word) for word in words]
        return self.run(name, ["/bin/sh", "-c", words[0]] if kind == "CMD-SHELL" else words).returncode == 0

    def grace_s(self, name: str) -> int:
        return int(self.services[name].get("stop_grace_period", "10s").removesuffix("s"))

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self) -> None:
        for process in self.running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)
