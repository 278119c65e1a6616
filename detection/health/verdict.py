"""How the system is, judged from what was seen: pure, so that all who tell it say the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from detection.health.probing import Outcome
from detection.health.records import Process, Records
from detection.health.roles import ROLES
from detection.health.snapshot import Snapshot

# With these gone, what is promised to users is not kept; with the others, it is only late.
FAILING = ("database", "migrations", "storage", "records")
SECOND_HAND = ("queues",)  # the broker's own probe says it already


class State(StrEnum):
    """From best to worst."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why it is not ok, as a sentence."""

    state: State
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The worst of the reasons, and all of them."""

    state: State
    reasons: tuple[Reason, ...]


def judge(snapshot: Snapshot) -> Verdict:
    reasons = [
        *_of_probes(snapshot.probes),
        *(_of_records(snapshot.records, snapshot.stale_after_s) if snapshot.records else ()),
    ]
    worst = State.FAILING if any(reason.state == State.FAILING for reason in reasons) else State.DEGRADED
    return Verdict(worst if reasons else State.OK, tuple(reasons))


def fresh(processes: Sequence[Process], stale_after_s: float) -> list[Process]:
    return [process for process in processes if process.age_s <= stale_after_s]


def _of_probes(probes: Sequence[Outcome]) -> Iterator[Reason]:
    failed = {probe.name for probe in probes if not probe.is_ok}
    for probe in probes:
        if probe.name not in failed or (probe.name in SECOND_HAND and "broker" in failed):
            continue
        if probe.name in ("migrations", "records") and "database" in failed:
            continue  # that follows
        yield Reason(State.FAILING if probe.name in FAILING else State.DEGRADED, probe.says)


def _of_records(records: Records, stale_after_s: float) -> Iterator[Reason]:
    alive = fresh(records.processes, stale_after_s)
    yield from (Reason(State.DEGRADED, sentence) for sentence in _missing(records, alive))
    for process in records.processes:
        if process not in alive:
            sentence = f"{process.name} has been silent for {process.age_s:.0f} s: look at its log, and start it again."
            yield Reason(State.DEGRADED, sentence)
        elif not process.has_broker:
            yield Reason(State.DEGRADED, f"{process.name} cannot reach the broker.")
    if not records.model:
        yield Reason(State.DEGRADED, "No model is active, so nothing can be analysed: activate one.")


def _missing(records: Records, alive: Sequence[Process]) -> Iterator[str]:
    """What no process does."""
    served = {queue for process in alive for queue in process.queues}
    has_cameras = sum(count for state, count in records.cameras.items() if state != "disabled") > 0
    for role in ROLES:
        if not served.issuperset(role.queues) and (has_cameras or not role.needs_cameras):
            yield role.missed
    if not any(process.kind == "beat" for process in alive):
        yield "Beat is silent: no sweep is sent, so nothing is planned, and what is lost is not sent again."
