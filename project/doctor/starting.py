"""What must hold before anything is started: of what the doctor looks at, that which does not change by itself."""

from __future__ import annotations

from collections.abc import Callable

from project.doctor import configuration, machine
from project.doctor.findings import Level, run
from project.folders import StartError


def require_good_settings(say: Callable[[str], object]) -> None:
    """Says what is to be looked at; raises StartError of what is wrong by itself. What is away may be there later."""
    found = [finding for group in run([*configuration.CHECKS, *machine.STILL]) for finding in group]
    for finding in found:
        if finding.level == Level.WARNING:
            say(f"Warning: {finding.subject}: {finding.sentence}\n")
    if wrong := [f"{finding.subject}: {finding.sentence}" for finding in found if finding.level == Level.ERROR]:
        raise StartError("\n".join(wrong))
