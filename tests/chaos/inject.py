"""Which faults a stack gets, when, and their injection."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connection

from tests.chaos import faults
from tests.chaos.faults import Ending, Kind, Phase
from tests.chaos.scene import BACK_OFF_S, NotNow, Scene

TICK_S = 0.1
QUIET_S = 16.0  # from the first kill until others have that work, whose lease must run out
EVERY_S, SHORT_EVERY_S = 3.0, 5.0  # one more kill in so many seconds
SHORT_S = 60.0
PUSHED_BACK = 0.5
AHEAD, AHEAD_A_SECOND = 0.1, 0.02  # so much of what is uploaded may come before its time
GIVE_UP_S = 60.0  # on a fault that cannot be injected


ROLLING, POWER_CUT = "rolling restart", "everything killed"

# Of what the launcher runs; the others run the sweep.
PHASES = dict.fromkeys(("analyse", "web", "probe", "proxy"), Phase.QUIET)


def kinds_of(scene: Scene) -> list[Kind]:
    """The kinds of fault that make sense for this stack."""
    lease_s = settings.LEASE_S
    names = [name for name in scene.installation.names if name != faults.SECOND]
    kinds = [
        Kind("kill -9 of a process that analyses", faults.kill_child, Phase.FEWER),
        *(Kind(f"kill -9 of {name}", faults.kill_main(name), PHASES.get(name, Phase.HARSH)) for name in names),
        Kind("kill -9 of the broker", faults.kill_broker, Phase.HARSH),
        Kind("the broker emptied", faults.empty_broker, Phase.HARSH),
        Kind("a task sent twice", faults.send_twice, Phase.QUIET),
        Kind("a second beat", faults.run_second_beat, Phase.QUIET, lasts_s=8),
        Kind("SIGTERM to a worker", faults.stop_worker, Phase.FEWER),
        Kind("a worker stood still", faults.freeze, Phase.HARSH, lasts_s=lease_s + 3),
    ]
    calm = {ROLLING: faults.restart_in_turn, POWER_CUT: faults.cut_the_power}
    kinds += [
        Kind(name, begin, Phase.HARSH, needs_calm=True) for name, begin in calm.items() if name not in scene.left_out
    ]
    if scene.postgres is not None:
        kinds.append(Kind("PostgreSQL restarted", faults.restart_postgres, Phase.HARSH))
        # On SQLite the clock of the process is that of the database, and all processes are on one machine.
        kinds.append(Kind("a clock a minute off", faults.run_with_wrong_clock, Phase.QUIET, lasts_s=12))
    if scene.disk is not None:
        lasts_s = 10 if scene.short else 20
        kinds.append(Kind("the storage filled", faults.fill_storage, Phase.HARSH, lasts_s=lasts_s))
    return kinds


def plan(kinds: Sequence[Kind], seconds: float, rng: random.Random) -> list[tuple[float, Kind]]:
    """When which fault: each kind once, and from the second phase on one more kill every few seconds.

    It begins with a worker that is killed, and leaves it alone for as long as it takes until others have its work. Of
    the kinds that need calm one comes in the end and the others among the harsh ones.
    """
    phases = [[kind for kind in kinds if kind.phase == phase and not kind.needs_calm] for phase in Phase]
    for phase in phases:
        rng.shuffle(phase)
    phases[0].sort(key=lambda kind: kind.name != "kill -9 of analyse")
    calm = [kind for kind in kinds if kind.needs_calm]
    first, rest = phases[0], [*phases[1], *_amid(phases[2], calm[1:]), *calm[:1]]
    quiet_s = max(QUIET_S, seconds * len(first) / len(kinds))
    planned = [*_spread(first, 1.0, quiet_s), *_spread(rest, quiet_s, max(seconds, 2 * quiet_s))]
    kills = [kind for kind in kinds if kind.name.startswith("kill -9") and "broker" not in kind.name]
    weights = [2 * len(kills), *(1 for _ in kills[1:])]  # two in three are of a process in the middle of something
    every_s = EVERY_S if seconds > SHORT_S else SHORT_EVERY_S
    times = range(1, int((planned[-1][0] - quiet_s) / every_s))
    planned += [(quiet_s + every_s * number, *rng.choices(kills, weights)) for number in times]
    return sorted(planned, key=lambda one: one[0])


def _spread(kinds: Sequence[Kind], start: float, end: float) -> list[tuple[float, Kind]]:
    step_s = (end - start) / max(1, len(kinds))
    return [(start + step_s * (number + 0.5), kind) for number, kind in enumerate(kinds)]


def _amid(some: list[Kind], others: list[Kind]) -> list[Kind]:
    """The others in the middle of some."""
    middle = len(some) // 2
    return [*some[:middle], *others, *some[middle:]]


@dataclass
class Going:
    """A fault that lasts."""

    kind: Kind
    end: Ending
    until: float


class Injector:
    """Works through a plan."""

    def __init__(self, scene: Scene, planned: Sequence[tuple[float, Kind]]) -> None:
        self.scene, self.planned = scene, planned
        self.going: list[Going] = []
        self._began = time.monotonic()
        self._done = 0
        self._waits_since = 0.0
        self.required: set[str] = {kind.name for _, kind in planned}

    def run(self) -> float:
        """Injects all of it; answers when the last was over."""
        moment = self._began = time.monotonic()
        try:
            for at, kind in self.planned:
                self._wait_until(moment + at)
                if kind.needs_calm:
                    self._let_all_end()
                self._inject(kind)
                self._done, self._waits_since = self._done + 1, 0.0
                # What took long pushes the rest back, though not by all of it.
                pushed = 1.0 if kind.phase == Phase.QUIET else PUSHED_BACK
                moment += max(0.0, time.monotonic() - moment - at) * pushed
            self._let_all_end()
        finally:
            self._done = len(self.planned)
            self._end(all_of_them=True)
        return time.monotonic()

    @property
    def is_quiet(self) -> bool:
        """Whether what was killed first must be back undisturbed."""
        return self._done < len(self.planned) and self.planned[self._done][1].phase == Phase.QUIET

    def how_far(self) -> float:
        """From 0 to 1, by the time that was planned, and not far ahead of what was done."""
        now = time.monotonic()
        of_the_time = (now - self._began) / self.planned[-1][0]
        # A fault that finds nobody at work needs more to be uploaded.
        waited_s = now - self._waits_since if self._waits_since else 0.0
        return min(1.0, of_the_time, self._done / len(self.planned) + AHEAD + waited_s * AHEAD_A_SECOND)

    def _let_all_end(self) -> None:
        """Waits until the time of those that last is over."""
        self._wait_until(max((going.until for going in self.going), default=0.0))
        self._end(all_of_them=True)

    def _wait_until(self, moment: float) -> None:
        while True:
            self._end()
            if time.monotonic() >= moment:
                return
            time.sleep(TICK_S)

    def _inject(self, kind: Kind) -> None:
        """Does it as soon as it can be done; what was done before in this run is not insisted on."""
        if self._is_too_soon(kind):
            return
        deadline = time.monotonic() + (0 if self.scene.injected[kind.name] else GIVE_UP_S)
        while True:
            try:
                end = kind.begin(self.scene)
            except (NotNow, DatabaseFault) as error:
                connection.close()
                self._waits_since = self._waits_since or time.monotonic()
                if time.monotonic() > deadline:
                    self.scene.say(f"not done: {kind.name} ({error})")
                    return
                self._wait_until(time.monotonic() + TICK_S)
            else:
                self.scene.injected[kind.name] += 1
                if end is not None:
                    self.going.append(Going(kind, end, time.monotonic() + kind.lasts_s))
                return

    def _is_too_soon(self, kind: Kind) -> bool:
        """Killed again and again it would only wait for the launcher's back-off: that is no test of the work."""
        if not self.scene.injected[kind.name]:
            return False
        name = kind.name.rpartition(" ")[2]
        names = faults.ANALYSING if name == "analyse" else (name,)
        last = max(self.scene.last_killed.get(each, 0.0) for each in names)
        return time.monotonic() - last < BACK_OFF_S

    def _end(self, *, all_of_them: bool = False) -> None:
        """Ends the faults whose time is over."""
        deadline = time.monotonic() + (GIVE_UP_S if all_of_them else 0)
        for going in list(self.going):
            while all_of_them or time.monotonic() >= going.until:
                try:
                    if going.end is not None:
                        going.end()
                except (NotNow, DatabaseFault) as error:
                    connection.close()
                    if time.monotonic() < deadline:
                        time.sleep(TICK_S)
                        continue
                    if not all_of_them:
                        break  # at the next tick
                    self.scene.complaints.append(f"{going.kind.name} could not be ended: {error}")
                self.going.remove(going)
                break
