"""What a check finds, and how checks are run: each by itself, in a limited time, whatever it raises."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from detection.scrub import scrub

TIME_LIMIT_S = 20.0


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is so, and, where it is not well, what to do, in sentences without secrets."""

    level: Level
    subject: str
    sentence: str


Findings = Iterator[Finding]


@dataclass(frozen=True, slots=True)
class Check:
    """Looks at one thing."""

    subject: str
    look: Callable[[], Findings]
    connects: bool = False  # to another process or machine
    option: str = ""  # what is wrong with this setting is told already; there is nothing to look at then


def ok(subject: str, sentence: str) -> Finding:
    return Finding(Level.OK, subject, sentence)


def warning(subject: str, sentence: str) -> Finding:
    return Finding(Level.WARNING, subject, sentence)


def error(subject: str, sentence: str) -> Finding:
    return Finding(Level.ERROR, subject, sentence)


def run(checks: Sequence[Check], limit_s: float = TIME_LIMIT_S) -> Iterator[list[Finding]]:
    """What each check finds, one after the other."""
    for check in checks:
        yield _run(check, limit_s)


def _run(check: Check, limit_s: float) -> list[Finding]:
    found: list[Finding] = []

    def look() -> None:
        try:
            found.extend(check.look())
        except Exception as problem:  # noqa: BLE001 (one that breaks must not keep the others from being told)
            reason = str(problem).strip().partition("\n")[0]
            found.append(error(check.subject, f"could not be looked at: {type(problem).__name__}: {reason}"))

    # A thread of its own, which is left behind where it hangs: the command ends all the same.
    thread = threading.Thread(target=look, name=f"doctor {check.subject}", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        return [error(check.subject, f"did not answer within {limit_s:g} s.")]
    # What is said of settings shows how they are written, and never what was given.
    return found if check.subject == "settings" else [replace(one, sentence=scrub(one.sentence)) for one in found]
