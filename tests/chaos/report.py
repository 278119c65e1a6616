"""The block that is printed for each stack, and whether it may stand as proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.check import Findings
from tests.chaos.watch import Wait, longest

BACK_WITHIN_S = 15.0  # after kill -9 of its worker, work runs again
CROWDED_WITHIN_S = 60.0  # the same where other stacks share the processors, which may be a slow machine's
WORST = 12  # lines of each finding that are shown


@dataclass
class Outcome:
    """What came of one stack's run."""

    stack: str
    seed: int
    media: int
    accepted: int
    poison: Mapping[str, str]  # what came of each
    injected: Mapping[str, int]
    missing: Sequence[str]  # kinds of fault
    findings: Findings
    waits: Sequence[Wait]
    recovered_s: float | None  # from the last fault until all was done; None where it never was
    left: Mapping[str, int]
    most_attempts: int
    most_lapses: int
    sightings: int
    is_crowded: bool = False  # other stacks shared the processors
    complaints: Sequence[str] = ()
    not_injected: Sequence[str] = ()  # for a reason that is told
    notes: Sequence[str] = field(default_factory=list)

    @property
    def back_within_s(self) -> float:
        return CROWDED_WITHIN_S if self.is_crowded else BACK_WITHIN_S

    @property
    def failures(self) -> list[str]:
        """Why this run is no proof, or proves the contrary."""
        found = [f"{len(lines)} {what}" for what, lines in self.findings.all().items() if lines]
        if not any(self.injected.values()):
            found.append("no fault was injected")
        found += [f"never injected: {kind}" for kind in self.missing]
        if self.accepted < self.media:
            found.append(f"{self.media - self.accepted} media were never accepted")
        if self.recovered_s is None:
            found.append("not all was done in the end: " + _listed(self.left))
        if not self.sightings:
            found.append("no sightings were compared")
        slowest = longest(self.waits, undisturbed=True)
        if slowest is None and not self.is_crowded:  # which has time for a few kills only
            found.append("no work was killed undisturbed, so nobody knows how long it waits")
        elif slowest is not None and slowest.waited_s >= self.back_within_s:
            found.append(f"{slowest.what} ran again only {slowest.waited_s:.1f} s after {slowest.how}")
        return found + list(self.complaints)


def block(outcome: Outcome) -> str:
    """The outcome for a person to read."""
    findings = outcome.findings
    lines = [
        f"==== {outcome.stack}, seed {outcome.seed} ====",
        f"faults injected   {sum(outcome.injected.values())}",
        *(f"  {number:4} x {kind}" for kind, number in sorted(outcome.injected.items())),
        *(f"  not injected: {reason}" for reason in outcome.not_injected),
        f"media             {outcome.accepted} accepted of {outcome.media}",
        f"poison            {len(outcome.poison)}",
        *(f"  {name}: {what}" for name, what in sorted(outcome.poison.items())),
    ]
    for what, found in findings.all().items():
        lines.append(f"{what:17} {len(found)}")
        lines += [f"  {line}" for line in found[:WORST]]
        lines += [f"  and {len(found) - WORST} more"] if len(found) > WORST else []
    lines += [
        f"sightings         {outcome.sightings} compared",
        f"recovered         {_seconds(outcome.recovered_s)} after the last fault",
        f"killed work       {len(outcome.waits)} times; back after {_wait(longest(outcome.waits, undisturbed=True))}",
        f"  allowed: {_allowed(outcome)}",
        f"  with other faults meanwhile: {_wait(longest(outcome.waits, undisturbed=False))}",
        f"attempts          at most {outcome.most_attempts} by a healthy one, which lost its worker without a word at "
        f"most {outcome.most_lapses} times",
        *outcome.notes,
    ]
    failures = outcome.failures
    lines += [f"FAILED: {failure}" for failure in failures] or ["nothing lost, nothing doubled, nothing differing"]
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "not" if value is None else f"{value:.1f} s"


def _allowed(outcome: Outcome) -> str:
    crowded = f" (in the short form, whose stacks share the processors; else {BACK_WITHIN_S:.0f} s)"
    return f"{outcome.back_within_s:.0f} s{crowded if outcome.is_crowded else ''}"


def _wait(wait: Wait | None) -> str:
    if wait is None:
        return "none"
    meanwhile = f" (meanwhile: {', '.join(wait.meanwhile)})" if wait.meanwhile else ""
    return f"{wait.waited_s:.1f} s at most, {wait.what} after {wait.how}{meanwhile}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in counts.items())
