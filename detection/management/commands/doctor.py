"""`manage.py doctor`: everything that is wrong or missing, before anything serves."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connections

from project.doctor import configuration, machine
from project.doctor import connections as connected
from project.doctor.findings import Finding, Level, run

MARKS = {Level.OK: "ok", Level.WARNING: "WARNING", Level.ERROR: "ERROR"}


class Command(BaseCommand):
    help = (
        "Tells every wrong or missing setting at once, and whether database, broker, storage, keys and model can be "
        "used. Exit status: 0 where nothing keeps Nightjar from running, 1 where something does."
    )
    requires_system_checks = []  # they are among what is told

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--offline", action="store_true", help="only what can be told without connecting anywhere")
        parser.add_argument("--strict", action="store_true", help="exit status 1 for warnings, too")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def handle(self, *, offline: bool, strict: bool, json: bool, **_: Any) -> None:
        count = dict.fromkeys(Level, 0)
        for finding in _findings(offline=offline):
            count[finding.level] += 1
            self.stdout.write(self._as_json(finding) if json else self._as_line(finding))
            self.stdout.flush()  # the next check may take a while
        if not json:
            self.stdout.write(_summary(count))
        if count[Level.ERROR] or (strict and count[Level.WARNING]):
            raise SystemExit(1)

    def _as_json(self, finding: Finding) -> str:
        return json.dumps(asdict(finding), ensure_ascii=False)

    def _as_line(self, finding: Finding) -> str:
        styles = {Level.OK: self.style.SUCCESS, Level.WARNING: self.style.WARNING, Level.ERROR: self.style.ERROR}
        return f"{styles[finding.level](f'{MARKS[finding.level]:<7}')}  {finding.subject}: {finding.sentence}"


def _findings(*, offline: bool) -> Iterator[Finding]:
    checks = [*configuration.CHECKS, *machine.CHECKS, *connected.CHECKS]
    told = {sentence.partition(" ")[0] for sentence in settings.PROBLEMS}
    checks = [check for check in checks if check.option not in told and not (offline and check.connects)]
    for found in run(checks):
        yield from found
    connections.close_all()


def _summary(count: dict[Level, int]) -> str:
    errors, warnings = count[Level.ERROR], count[Level.WARNING]
    if not errors:
        return f"Nightjar can run{f'; {warnings} to look at' if warnings else ''}."
    return f"Put right what is marked ERROR ({errors}), then run it again."
