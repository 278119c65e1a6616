"""`manage.py bench cameras`: how punctual captures are, with cameras that are well beside others that are not."""

from __future__ import annotations

import os
import shutil
import time
from argparse import SUPPRESS, ArgumentParser
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection

from detection.fields import Secret
from detection.management.commands._bench_farm import (
    Processes,
    Say,
    Webhook,
    cpu_s,
    run_inside,
    running,
    temporary_database,
    wait_for,
)
from detection.management.commands._simulated import PATHS, SimulatedCameras
from detection.models import Camera, CameraEvent, Capture

PUNCTUAL_S = 2.0
BAD = (
    "silent", "half", "trickle", "garbage", "refused", "unauthorised", "missing", "broken", "redirect",
    "cut", "html", "redirect_loop", "huge",
)  # fmt: skip
WARM_S = 180.0
KILL_S = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of the bench."""

    cameras: int
    every: int  # seconds
    minutes: float
    dead: int
    slow: int
    kind: str
    width: int
    kill: str
    log: Path | None


@dataclass(frozen=True, slots=True)
class Farm:
    """The simulated cameras with their rows, in the order of their numbers, and what takes pictures of them."""

    plan: Plan
    simulated: SimulatedCameras
    rows: list[Camera]
    processes: Processes
    webhook: Webhook
    say: Say

    @property
    def special(self) -> list[int]:
        """The numbers of the bad and the slow cameras: spread among the others."""
        count = self.plan.dead + self.plan.slow
        return [number * self.plan.cameras // count for number in range(count)]

    @property
    def bad(self) -> list[int]:
        return self.special[: self.plan.dead]

    @property
    def slow(self) -> list[int]:
        return self.special[self.plan.dead :]

    def of(self, numbers: Sequence[int]) -> list[Camera]:
        return [self.rows[number] for number in numbers]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--every", type=int, default=10, metavar="SECONDS")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--dead", type=int, default=0, metavar="K", help="so many of them misbehave in all known ways")
    parser.add_argument("--slow", type=int, default=0, metavar="K", help="so many of them answer after five seconds")
    parser.add_argument(
        "--kill",
        nargs="?",
        const="silent",
        default="",
        metavar="WAY,…",
        help="for each of these ways one misbehaves so for a while, and is well again (silent,refused,broken)",
    )
    parser.add_argument("--kind", choices=sorted(PATHS), default="http")
    parser.add_argument("--width", type=int, default=640, help="of the pictures, in pixels (16:9)")
    parser.add_argument("--database-url", default="", help="another server than SQLite; a database is made and dropped")
    parser.add_argument(
        "--log", type=lambda text: Path(text).resolve(), help="keep what the processes print in this file"
    )
    parser.add_argument("--inside", type=Path, help=SUPPRESS)


def bench_cameras(options: Mapping[str, Any], say: Say) -> None:
    """Runs itself once more with the settings of an installation of its own, and there measures."""
    ways = _ways(options["kill"])
    if unknown := [way for way in ways if way not in BAD]:
        raise CommandError(f"--kill does not know {', '.join(unknown)}; it knows {', '.join(BAD)}.")
    if (
        min(options["dead"], options["slow"]) < 0
        or sum((options["dead"], options["slow"], len(ways))) >= options["cameras"]
    ):
        raise CommandError("--dead, --slow and --kill must leave at least one camera that is well.")
    if options["inside"] is None:
        run_inside("cameras", options, say)
    else:
        _measure(options["inside"], Plan(**{field.name: options[field.name] for field in fields(Plan)}), say)


def _ways(kill: str) -> list[str]:
    return [way.strip() for way in kill.split(",") if way.strip()]


def _measure(folder: Path, plan: Plan, say: Say) -> None:
    load = os.getloadavg()[0]
    with (
        temporary_database(folder) as url,
        Webhook() as webhook,
        SimulatedCameras(plan.cameras, process=True, width=plan.width) as simulated,
    ):
        environment = os.environ | {"DATABASE_URL": url, "NOTIFY_WEBHOOK_URL": webhook.url}
        try:
            with running(folder, environment) as processes:
                farm = Farm(plan, simulated, [], processes, webhook, say)
                _put_in_service(farm)
                bad = f", {plan.dead} of them bad" if plan.dead else ""
                bad += f", {plan.slow} of them slow" if plan.slow else ""
                size = f"{plan.width}x{plan.width * 9 // 16}"
                say(
                    f"{plan.cameras} cameras ({plan.kind}, {size}) every {plan.every} s{bad}, on {connection.vendor}, "
                    f"{os.cpu_count()} processors, load before {load:.1f}"
                )
                _run(farm)
        finally:
            if plan.log is not None:
                shutil.copy(folder / "up.log", plan.log)


def _put_in_service(farm: Farm) -> None:
    for place, number in enumerate(farm.bad):
        farm.simulated.behave(number, BAD[place % len(BAD)])
    for number in farm.slow:
        farm.simulated.behave(number, "slow")
    for number in range(farm.plan.cameras):
        camera = Camera(
            name=_name(number), source=farm.plan.kind.partition("_")[0], every_s=farm.plan.every, is_analysed=False
        )
        camera.put_in_service(Secret.of(farm.simulated.address(number, farm.plan.kind)))
        farm.rows.append(camera)


def _name(number: int) -> str:
    return f"Camera {number:05d}"


def _run(farm: Farm) -> None:
    plan = farm.plan
    waiting = Camera.objects.filter(state=Camera.State.NEW)
    seconds = wait_for("each camera has been looked at", lambda: not waiting.exists(), WARM_S, farm.processes)
    farm.say(f"warm after {seconds:.0f} s")
    pids = farm.processes.pids()
    began, cpu_before = datetime.now(UTC) + timedelta(seconds=1), _cpu(farm)
    sound = [number for number in range(plan.cameras) if number not in farm.special]
    victims = dict(zip(sound, _ways(plan.kill), strict=False))
    if victims:
        _kill(farm, victims)
    ended = max(datetime.now(UTC), began + timedelta(minutes=plan.minutes))
    while datetime.now(UTC) < ended:
        farm.processes.check()
        time.sleep(0.5)
    cpu_after = _cpu(farm)
    disturbed = sorted(dict(pids.items() - farm.processes.pids().items()))
    time.sleep(plan.every + settings.GRAB_TOTAL_S)  # the last ones end
    _print_captures(farm.of([number for number in sound if number not in victims]), began, ended, farm.say)
    if farm.slow:
        farm.say("the slow ones, which answer after five seconds:")
        _print_captures(farm.of(farm.slow), began, ended, farm.say)
    if farm.bad:
        bad = Camera.objects.filter(pk__in=[camera.pk for camera in farm.of(farm.bad)])
        states = Counter(bad.values_list("state", flat=True))
        farm.say("the bad ones are " + ", ".join(f"{state}: {count}" for state, count in sorted(states.items())))
    wall_s = (ended - began).total_seconds()
    used = {name: cpu_after[name] - cpu_before.get(name, 0.0) for name in cpu_after}
    if used:
        farm.say(
            f"processor seconds in {wall_s:.0f} s: "
            + ", ".join(f"{name} {seconds:.1f} ({seconds / wall_s:.0%})" for name, seconds in used.items())
        )
    if disturbed:
        farm.say(f"these ended on the way, so that the figures do not hold: {', '.join(disturbed)}")
    troubles = farm.processes.troubles()
    farm.say(f"lines of trouble in the log: {len(troubles)}" + (f"; the first: {troubles[0]}" if troubles else ""))


def _cpu(farm: Farm) -> dict[str, float]:
    used = farm.processes.cpu_s()
    return (
        used | {"the simulated cameras": cpu_s(farm.simulated.pid), "this bench": time.process_time()} if used else {}
    )


# ---- punctuality


def _print_captures(cameras: list[Camera], began: datetime, ended: datetime, say: Say) -> None:
    """What became of each time between the two that the schedules name, by the captures' rows."""
    until = ended - timedelta(microseconds=1)
    due = sum(len(camera.rule.between(began - timedelta(microseconds=1), until)) for camera in cameras)
    rows = list(
        Capture.objects.filter(
            camera__in=[camera.pk for camera in cameras], planned_at__gte=began, planned_at__lt=ended
        )
        .filter(is_manual=False)
        .select_related("media")
    )
    recorded, kinds = sum(row.times for row in rows), Counter(f"{row.state} {row.kind}".strip() for row in rows)
    say(f"planned: {due}; recorded: {recorded} ({', '.join(f'{kind}: {n}' for kind, n in sorted(kinds.items()))})")
    grabbed = [row for row in rows if row.state == Capture.State.GRABBED and row.finished_at]
    retried = sum(row.attempts > 1 for row in grabbed)
    say(f"grabbed: {len(grabbed)}, {retried} of them not at the first attempt")
    late = {
        "at the end": [_seconds(row.planned_at, row.finished_at) for row in grabbed],
        "of the picture": [_seconds(row.planned_at, row.media.captured_at) for row in grabbed if row.media],
        "of the claim": [_seconds(row.planned_at, row.started_at) for row in grabbed],
    }
    for what, seconds in late.items():
        share = sum(value <= PUNCTUAL_S for value in seconds) / max(1, due)
        say(f"late {what}: {_spread(seconds)}; within {PUNCTUAL_S:g} s: {share:.3%} of the planned")
    say(f"from claim to end: {_spread([_seconds(row.started_at, row.finished_at) for row in grabbed])}")


def _seconds(since: datetime | None, until: datetime | None) -> float:
    return (until - since).total_seconds() if since and until else float("inf")


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "no figures"
    ordered = sorted(values)
    median, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99))
    return f"median {median:.2f} s, p99 {p99:.2f} s, most {ordered[-1]:.2f} s"


# ---- those that go and come back


def _kill(farm: Farm, victims: Mapping[int, str]) -> None:
    """Cameras that are well misbehave, all at once; how soon that is an event, is told, and is over afterwards."""
    began = datetime.now(UTC)
    for number, way in victims.items():
        farm.simulated.behave(number, way)
    events = CameraEvent.objects.filter(kind=CameraEvent.Kind.OFFLINE, at__gte=began)
    offline = _each(farm, victims, lambda camera: events.filter(camera=camera).values_list("at", flat=True).first())
    told = _each(farm, victims, lambda camera: farm.webhook.told_of("camera.offline", camera.name, since=began))
    for number, way in victims.items():
        farm.say(f"{way}: its event after {_after(began, offline[number])}, its webhook {_after(began, told[number])}")
    began = datetime.now(UTC)
    for number in victims:
        farm.simulated.behave(number, "ok")
    is_ok = Camera.objects.filter(state=Camera.State.OK, state_since__gte=began)
    back = _each(farm, victims, lambda camera: is_ok.filter(pk=camera.pk).values_list("state_since", flat=True).first())
    for number, way in victims.items():
        farm.say(f"{way}: ok {_after(began, back[number])} after it answers again")


def _each(
    farm: Farm, victims: Mapping[int, str], moment: Callable[[Camera], datetime | None]
) -> dict[int, datetime | None]:
    """The moment that something happened to each, asked for until there is one, but not for ever."""
    deadline = time.monotonic() + KILL_S
    found: dict[int, datetime | None] = dict.fromkeys(victims)
    while None in found.values() and time.monotonic() < deadline:
        farm.processes.check()
        found = {number: at or moment(farm.rows[number]) for number, at in found.items()}
        time.sleep(0.1)
    return found


def _after(since: datetime, until: datetime | None) -> str:
    return f"{_seconds(since, until):.1f} s" if until else f"not within {KILL_S:.0f} s"
