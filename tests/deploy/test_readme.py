"""What the pages on deployment name is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from tests.deploy.composed import DEPLOY, compose

PAGES = [DEPLOY / "README.md", DEPLOY / "kubernetes/README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DEPLOY)))
def test_its_links_commands_and_options_are_there(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target
    asked = re.findall(r"manage\.py (\w+)((?: --[\w-]+)*)", text.replace("\n", " "))
    assert asked
    for name, options in asked:
        parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
        known = {option for action in parser._actions for option in action.option_strings}
        assert set(options.split()) <= known, (name, options)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DEPLOY)))
def test_its_commands_are_whole_for_a_shell(page: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        ended = subprocess.run(["/bin/sh", "-n"], input=block, capture_output=True, text=True, timeout=30)
        assert ended.returncode == 0, (block, ended.stderr)


def test_the_first_administrator_is_made_with_the_settings_that_the_units_have() -> None:
    """Without them it would read another `.env`, and make another database ready."""
    (command,) = re.findall(r"systemd-run (?:.*\\\n)*.*", (DEPLOY / "README.md").read_text())
    given = set(re.findall(r"--setenv (\S+)", command))
    unit = re.search(r"^Environment=(.*)$", (DEPLOY / "systemd/nightjar.service").read_text(), re.MULTILINE)
    assert unit
    assert given == {word for word in unit[1].split() if word.partition("=")[0] in ("NIGHTJAR_ENV_FILE", "DATA_DIR")}


def test_the_settings_for_compose_are_those_that_it_asks_for() -> None:
    text = (DEPLOY / "README.md").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
    assert asked == {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "SITE"}
    assert all(f"{name}=%s" in text for name in asked)
    services = set(compose()["services"])
    assert set(re.findall(r"(?:exec|run --rm(?: --volume \S+)?) (\w+) python", text)) <= services
