"""`manage.py bench sweep`: what planning costs where some of very many cameras are due, and sending their captures."""

from __future__ import annotations

import subprocess
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection

from detection.fields import Secret
from detection.management.commands._bench_farm import Say, add_server_arguments, folder_inside, temporary_database
from detection.models import Camera, Capture
from detection.models.planning import plan_due
from project import broker
from workers import tasks

RUNS = 20
INDEX = "camera_next_at"
BATCH = 2000


@dataclass(slots=True)
class Statements:
    """The statements of one run with their milliseconds, kept by `connection.execute_wrapper`."""

    seen: list[tuple[str, Any, float]] = field(default_factory=list)

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.seen.append((sql, params, _ms_since(began)))

    def ms(self, *, reads: bool) -> float:
        return sum(ms for sql, _, ms in self.seen if sql.lstrip().startswith("SELECT") == reads)


@dataclass(frozen=True, slots=True)
class Run:
    """One sweep's milliseconds."""

    planning_ms: float  # all of it, with what follows
    finding_ms: float  # in the database: which cameras are due, and which are under way
    schedules_ms: float  # asking the schedules, done once more by itself
    rows_ms: float  # in the database: writing
    sending_ms: float


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--cameras", type=int, default=10_000)
    parser.add_argument("--due", type=int, default=100, help="so many of them are due at once")
    parser.add_argument("--history", type=int, default=10, help="captures of each camera that are over")
    add_server_arguments(parser)


def bench_sweep(options: Mapping[str, Any], say: Say) -> None:
    """Measures on a database and a broker of its own; the installation's records are not touched."""
    cameras, due = options["cameras"], options["due"]
    if not 0 < due <= cameras:
        raise CommandError("--due must be from 1 to --cameras.")
    folder = folder_inside("sweep", options, say)
    if folder is None:
        return
    with temporary_database(folder), _own_broker():
        _fill(cameras, options["history"])
        keys = list(Camera.objects.order_by("pk").values_list("pk", flat=True)[:: max(1, cameras // due)][:due])
        say(f"{cameras} cameras, {due} of them due, {Capture.objects.count()} captures, on {connection.vendor}")
        _, statements = _sweep(keys)  # warms up
        _make_due(keys)
        _print_plans(statements, say)
        runs = [_sweep(keys)[0] for _ in range(RUNS)]
        _print_runs(runs, say)
        say(f"a whole sweep with these due: {_spread([_whole_sweep_ms(keys) for _ in range(RUNS)])}")
        Camera.objects.filter(pk__in=keys).update(next_at=datetime.now(UTC) + timedelta(hours=1))
        say(f"a whole sweep with nothing due: {_spread([_whole_sweep_ms([]) for _ in range(RUNS)])}")


# ---- what is measured


def _sweep(keys: Sequence[int]) -> tuple[Run, Statements]:
    _make_due(keys)
    due = list(Camera.objects.filter(pk__in=keys))
    began = time.perf_counter()
    moment = datetime.now(UTC)
    for camera in due:
        camera.rule.between(camera.accounted_until or moment, moment, 20_000)
        camera.rule.next_after(moment)
    schedules_ms = _ms_since(began)
    statements = Statements()
    with connection.execute_wrapper(statements):
        began = time.perf_counter()
        planned = plan_due()
        planning_ms = _ms_since(began)
    if len(planned) != len(keys):
        raise CommandError(f"{len(planned)} captures were planned where {len(keys)} were due.")
    began = time.perf_counter()
    if not tasks._send_captures(planned):
        raise CommandError("The broker of the bench does not take messages.")
    sending_ms = _ms_since(began)
    Capture.objects.filter(pk__in=[capture.pk for capture in planned]).update(state=Capture.State.GRABBED)
    reads, writes = statements.ms(reads=True), statements.ms(reads=False)
    return Run(planning_ms, reads, schedules_ms, writes, sending_ms), statements


def _make_due(keys: Sequence[int]) -> None:
    """Sets these cameras to their latest time that has passed, and removes what an earlier run made of it."""
    moment = datetime.now(UTC)
    cameras = list(Camera.objects.filter(pk__in=keys))
    for camera in cameras:
        latest = camera.rule.between(moment - timedelta(seconds=camera.every_s), moment)[-1]
        camera.next_at, camera.accounted_until = latest, latest - timedelta(milliseconds=1)
    Camera.objects.bulk_update(cameras, ["next_at", "accounted_until"])
    Capture.objects.filter(camera__in=keys, planned_at__gte=moment - timedelta(minutes=10)).delete()


def _print_runs(runs: Sequence[Run], say: Say) -> None:
    planning = [run.planning_ms for run in runs]
    say(f"milliseconds of {len(runs)} runs, least / median / most")
    say(f"planning: {_spread(planning)}")
    say(f"  finding, in the database: {_spread([run.finding_ms for run in runs])}")
    say(f"  asking the schedules: {_spread([run.schedules_ms for run in runs])}")
    say(f"  writing rows, in the database: {_spread([run.rows_ms for run in runs])}")
    say(f"sending: {_spread([run.sending_ms for run in runs])}")


def _whole_sweep_ms(keys: Sequence[int]) -> float:
    """All that the task does: planning and sending, and looking for whatever else is to be done."""
    _make_due(keys)
    began = time.perf_counter()
    tasks.sweep()
    took_ms = _ms_since(began)
    planned = Capture.objects.filter(state=Capture.State.PLANNED)
    if planned.count() != len(keys):
        raise CommandError(f"{planned.count()} captures were planned where {len(keys)} were due.")
    planned.update(state=Capture.State.GRABBED)
    return took_ms


def _print_plans(statements: Statements, say: Say) -> None:
    """How the database finds what it is asked for, in its own words."""
    explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    finding: list[str] = []
    for sql, params, _ in statements.seen:
        table = Camera._meta.db_table if f'FROM "{Camera._meta.db_table}"' in sql else Capture._meta.db_table
        if not sql.startswith("SELECT") or f'FROM "{table}"' not in sql:
            continue
        with connection.cursor() as cursor:
            cursor.execute(explain + sql, params)
            lines = [str(row[-1]) for row in cursor.fetchall()]
        if table == Camera._meta.db_table:
            finding += lines
        say(f"how {table} is read:")
        for line in lines:
            say(f"  {line[:160]}")
    say(f"the index on next_at is used: {'yes' if any(INDEX in line for line in finding) else 'no'}")


# ---- what it is measured on


def _fill(count: int, history: int) -> None:
    """Cameras whose time is to come, each with captures that are over."""
    moment = datetime.now(UTC)
    address = Secret.of("http://camera.invalid/picture.jpg")
    for start in range(0, count, BATCH):
        cameras = [
            Camera(
                name=f"Camera {number:06d}",
                source=Camera.Kind.HTTP,
                address=address,
                every_s=100,
                state=Camera.State.OK,
                next_at=moment + timedelta(hours=1, seconds=number),
                accounted_until=moment,
            )
            for number in range(start, min(start + BATCH, count))
        ]
        Camera.objects.bulk_create(cameras)
        for back in range(1, history + 1):
            planned_at = moment - timedelta(hours=1, seconds=100 * back)
            state = {"state": Capture.State.GRABBED, "planned_at": planned_at, "finished_at": planned_at}
            Capture.objects.bulk_create([Capture(camera=camera, **state) for camera in cameras])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


@contextmanager
def _own_broker() -> Iterator[None]:
    """The embedded broker of the bench's own data folder, from its start to its end."""
    data_dir = settings.DATA_DIR
    with subprocess.Popen(broker.command(data_dir), stdout=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + 30
            while not broker.answers(broker.socket_path(data_dir)):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise CommandError("The broker of the bench did not start.")
                time.sleep(0.05)
            yield
        finally:
            server.terminate()


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.1f} / {median(values):.1f} / {max(values):.1f}"


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
