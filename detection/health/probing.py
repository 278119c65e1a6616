"""Looking at something that may hang, without hanging: each probe looks in a thread of its own, and only in one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import connections

log = logging.getLogger(__name__)

# However often it is asked, by whomever: a look writes to the storage and connects to the database.
APART_S = 1.0
# What hangs for so long is given up, and looked at anew: its connection may be lost for good, and a new one may work.
GIVEN_UP_S = 30.0
THREADS_MOST = 3  # that one probe may have; beyond, none is begun until one of them is over


class Unwell(Exception):
    """What was looked at is not as it should be: a sentence for operators, with no secret in it."""

    def __init__(self, sentence: str, found: Any = None) -> None:
        super().__init__(sentence)
        self.found = found  # what was seen all the same


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a look."""

    name: str
    is_ok: bool
    says: str = ""  # why it is not ok
    took_s: float = 0.0
    found: Any = None  # what else was seen


@dataclass(slots=True)
class _Look:
    """One look, in its thread."""

    began_at: float
    is_over: threading.Event = field(default_factory=threading.Event)
    outcome: Outcome | None = None


class Probe:
    """Something to look at. ``look`` answers what it saw, or raises."""

    def __init__(self, name: str, look: Callable[[], object], failed: str) -> None:
        self.name = name
        self._look = look
        self._failed = failed
        self._latest: _Look | None = None
        self._under_way = 0
        self._was_ok = True
        self._lock = threading.Lock()

    def begin(self) -> _Look:
        """Begins to look, unless that is under way already, or was done a moment ago."""
        with self._lock:
            latest = self._latest
            if latest is None or self._is_past(latest):
                latest = self._latest = _Look(time.monotonic())
                self._under_way += 1
                threading.Thread(target=self._run, args=(latest,), name=f"probe-{self.name}", daemon=True).start()
            return latest

    def _is_past(self, look: _Look) -> bool:
        age_s = time.monotonic() - look.began_at
        return age_s > APART_S if look.is_over.is_set() else age_s > GIVEN_UP_S and self._under_way < THREADS_MOST

    def outcome(self, look: _Look) -> Outcome:
        """What came of it; one that has had its time is not waited for any more."""
        limit_s = settings.HEALTH_PROBE_S
        look.is_over.wait(max(0.0, look.began_at + limit_s - time.monotonic()))
        late = Outcome(self.name, False, f"{self._failed}: no answer within {limit_s:g} s.", limit_s)
        return self._settled(look, late, None, is_over=False)

    def _run(self, look: _Look) -> None:
        error: Exception | None = None
        try:
            found = self._look()
            outcome = Outcome(self.name, True, "", time.monotonic() - look.began_at, found)
        except Exception as caught:  # noqa: BLE001 (whatever it is, it is the answer)
            error = caught
            found = caught.found if isinstance(caught, Unwell) else None
            outcome = Outcome(self.name, False, self._sentence(caught), time.monotonic() - look.began_at, found)
        finally:
            connections.close_all()  # those of this thread
        self._settled(look, outcome, error, is_over=True)
        look.is_over.set()

    def _sentence(self, error: Exception) -> str:
        """Never the error's own words, which may have a password in them; the log, which is scrubbed, has those."""
        if isinstance(error, Unwell):
            return str(error)
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        return f"{self._failed} ({reason}); the log has the rest."

    def _settled(self, look: _Look, outcome: Outcome, error: Exception | None, *, is_over: bool) -> Outcome:
        """What counts of a look that came to this; a line where that changes, and not for each look.

        Decided and told in one step: neither the time-out of a look that has just ended, nor the end of one that was
        given up, may be told after what came since.
        """
        with self._lock:
            if look.outcome is not None:
                return look.outcome
            if is_over:
                look.outcome = outcome
                self._under_way -= 1
            if look is self._latest:
                self._tell(outcome, error)
            return outcome

    def _tell(self, outcome: Outcome, error: Exception | None) -> None:
        was_ok, self._was_ok = self._was_ok, outcome.is_ok
        if was_ok and not outcome.is_ok:
            log.warning("health: %s%s", outcome.says, f" {error}" if error and not isinstance(error, Unwell) else "")
        elif outcome.is_ok and not was_ok:
            log.info("health: %s is well again", self.name)


def look_at(probes: Sequence[Probe]) -> dict[str, Outcome]:
    """Looks at all of them at once; takes as long as the slowest, and never longer than HEALTH_PROBE_S."""
    begun = [(probe, probe.begin()) for probe in probes]
    return {probe.name: probe.outcome(look) for probe, look in begun}
