"""What must hold in the end, told from records alone: so that what is to find a loss can itself be tested."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

MAY_DIFFER = {"id", "requested_at", "worker", "attempts", "wall_s", "code_version", "path"}
DONE, FAILED = "done", "failed"
WORKER_LOST = "worker_lost"
ATTEMPTS = 3  # as many as the product allows what kills its worker


@dataclass(frozen=True, slots=True)
class Result:
    """An analysis as it stands in the end."""

    sha256: str
    state: str
    is_current: bool
    attempts: int  # the most of it and its chunks
    lapses: int
    error_kind: str
    error: str
    exported: str  # as `comparable` makes it


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a clip that browsers can play, as its row stands in the end."""

    sha256: str
    state: str
    error_kind: str
    error: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Records:
    """What the database and the storage hold in the end."""

    media: tuple[str, ...]  # the hash of each row
    results: tuple[Result, ...]
    copies: tuple[Copy, ...]
    named: frozenset[str]  # the files that rows name
    stored: frozenset[str]  # the files there are
    # What rows say is to be cleared away: files whose time has not come, and those whose time has.
    on_record: frozenset[str] = frozenset()
    overdue: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Expected:
    """What was accepted, what of it is poison, and the undisturbed results."""

    accepted: frozenset[str]
    spoilt: Mapping[str, str]  # the poisons whose analysis must fail, by hash
    spoilt_copies: Mapping[str, str]
    reference: Mapping[str, str]


@dataclass(slots=True)
class Findings:
    """What does not hold, as lines for a person."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    healthy_but_failed: list[str] = field(default_factory=list)
    poison_not_failed: list[str] = field(default_factory=list)
    files_without_row: list[str] = field(default_factory=list)
    rows_without_file: list[str] = field(default_factory=list)
    named_but_loose: list[str] = field(default_factory=list)

    def all(self) -> dict[str, list[str]]:
        return {each.name.replace("_", " "): getattr(self, each.name) for each in fields(self)}


def comparable(exported: Mapping[str, Any]) -> str:
    """An exported result without what may differ from run to run, as text."""

    def without(value: Any, inside: str = "") -> Any:
        if isinstance(value, Mapping):
            # A sighting's id is its number, which must be the same.
            drop = MAY_DIFFER if inside in ("media", "analysis") else set()
            return {name: without(held, name) for name, held in value.items() if name not in drop}
        return value

    return json.dumps(without(exported), sort_keys=True)


def check(expected: Expected, records: Records) -> Findings:
    """Compares what there is with what there must be."""
    found = Findings()
    results: dict[str, list[Result]] = {}
    for result in records.results:
        results.setdefault(result.sha256, []).append(result)
    _look_at_media(expected, records, results, found)
    for sha256 in sorted(expected.accepted & set(records.media)):
        mine = results.get(sha256, [])
        if len(mine) > 1:
            found.doubled.append(f"{sha256[:12]}: {len(mine)} analyses ({', '.join(one.state for one in mine)})")
        for result in mine:
            _look_at_result(expected, result, found)
    for copy in records.copies:
        _look_at_copy(expected, copy, found)
    found.files_without_row += sorted(records.stored - records.named - records.on_record)
    found.rows_without_file += sorted(records.named - records.stored)
    # Whoever names a file takes it off the record in the same transaction: one that is still there will be deleted.
    found.named_but_loose += sorted(records.named & (records.on_record | records.overdue))
    return found


def _look_at_media(
    expected: Expected, records: Records, results: Mapping[str, Collection[Result]], found: Findings
) -> None:
    for sha256, times in Counter(records.media).items():
        if times > 1:
            found.doubled.append(f"{sha256[:12]}: {times} media")
    for sha256 in sorted(expected.accepted):
        if sha256 not in records.media:
            found.lost.append(f"{sha256[:12]}: accepted, and no media")
        elif not results.get(sha256):
            found.lost.append(f"{sha256[:12]}: a media, and no analysis")


def _look_at_result(expected: Expected, result: Result, found: Findings) -> None:
    short, poison = result.sha256[:12], expected.spoilt.get(result.sha256)
    if result.state not in (DONE, FAILED):
        found.lost.append(f"{short}: its analysis is {result.state} in the end")
    elif poison:
        _look_at_poison(poison, result, found)
    elif result.state == FAILED:
        found.healthy_but_failed.append(f"{short}: {result.error_kind} “{result.error}”")
    elif not result.is_current:
        found.lost.append(f"{short}: done, and not what is shown")
    elif result.exported != expected.reference.get(result.sha256):
        found.differing.append(f"{short}: {_difference(result.exported, expected.reference.get(result.sha256, ''))}")


def _look_at_copy(expected: Expected, copy: Copy, found: Findings) -> None:
    poison = expected.spoilt_copies.get(copy.sha256)
    if poison:
        _look_at_poison(poison, copy, found)
    elif copy.sha256 not in expected.spoilt and copy.state != DONE:
        found.healthy_but_failed.append(
            f"{copy.sha256[:12]}: its copy is {copy.state}, {copy.error_kind} “{copy.error}”"
        )


def _look_at_poison(poison: str, row: Result | Copy, found: Findings) -> None:
    """It failed because the main process reported each crash, and not because many leases had run out."""
    is_reported = row.error_kind == WORKER_LOST and row.attempts == ATTEMPTS and _is_sentence(row.error)
    if row.state != FAILED or not is_reported:
        how = f"{row.state} after {row.attempts} attempts, {row.error_kind}"
        found.poison_not_failed.append(f"{poison}: {how} “{row.error}”")


def _is_sentence(text: str) -> bool:
    return len(text.split()) > 3 and text.endswith(".")


def _difference(one: str, other: str) -> str:
    """Where two texts part, with some of what follows."""
    if not other:
        return "there is no undisturbed result to compare with"
    at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(0, at - 60)
    return f"…{one[start : at + 60]}… instead of …{other[start : at + 60]}…"


def missing_kinds(required: Iterable[str], injected: Mapping[str, int]) -> list[str]:
    """The kinds of fault that were to be injected and were not; a run that injected none proves nothing."""
    return [kind for kind in required if not injected.get(kind)]
