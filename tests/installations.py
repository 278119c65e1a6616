"""Installations that only commands are run in, and databases for them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.processes import environment
from tests.services import find_free_port


@dataclass
class Installation:
    """One that is set up by its environment; nothing of it runs."""

    env: dict[str, str]

    def manage(self, *words: str, fails: bool = False) -> str:
        """What a command printed; with ``fails``, its exit code is not 0."""
        return self.python("manage.py", *words, fails=fails)

    def python(self, *words: str, fails: bool = False) -> str:
        ended = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=300
        )
        said = ended.stdout + ended.stderr
        assert bool(ended.returncode) == fails, said
        assert "Traceback" not in said, said
        return said


def an_installation(folder: Path, **settings: str) -> Installation:
    return Installation(
        environment(folder, find_free_port(), WEIGHTS_URL="http://127.0.0.1:9", LOG_LEVEL="ERROR", **settings)
    )


Table = dict[str, dict[str, Any]]


def rows_of(backup: Path) -> dict[str, Table]:
    """The rows of a backup, by table and key."""
    tables = {}
    for path in backup.glob("*.*.jsonl.gz"):
        with gzip.open(path, "rt") as file:
            columns, *rows = [json.loads(line) for line in file]
        tables[path.name.removesuffix(".jsonl.gz")] = {
            str(row[0]): dict(zip(columns, row, strict=True)) for row in rows
        }
    return tables


def files_of(backup: Path) -> list[list[Any]]:
    """The list of files of a backup: names, sizes, hashes, fates."""
    with gzip.open(backup / "files.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file][1:]


def newest(folder: Path) -> Path:
    return max(path for path in folder.iterdir() if path.name[0] == "2")
