"""The kinds of fault, and how each is done to a running stack.

A fault is a function; what it returns, if anything, ends it again. A kind that could not be done says NotNow, and is
tried again; only what was really done is counted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import redis
from celery import current_app
from django.conf import settings
from django.db import connection
from kombu.exceptions import OperationalError

from detection.management.commands._bench_farm import children
from detection.models import Analysis, Chunk, Proxy
from project.folders import run_dir
from tests.chaos.clocks import CLOCK_OFF_S, ahead_in_words, with_clock_off
from tests.chaos.installation import ROOT, SECOND, group
from tests.chaos.scene import NotNow, Scene, held_by
from tests.chaos.servers import RabbitMQ
from tests.chaos.watch import at_work
from workers.crash import process_name
from workers.lanes import AGAIN, BULK
from workers.stopping import GONE_AFTER_S

Ending = Callable[[], object] | None
Begin = Callable[[Scene], Ending]

ANALYSING = ("analyse", SECOND)
AFTERWARDS_S = 11.0  # so long after the broker lost messages, the sweep takes them for still waiting
# The limit of the product, and slack; more of it where three stacks share the processors.
STOPS_S, SHORT_STOPS_S = GONE_AFTER_S + 10.0, GONE_AFTER_S + 20.0
STARTS_S = 8.0  # one that the launcher starts again
LEAVE_BYTES = 48 * 1024  # on the disk that is filled


class Phase(IntEnum):
    """What a kind of fault does to the work of others, and so in which order they come."""

    QUIET = 0  # nothing: what was killed is back in time all the same
    FEWER = 1  # there are fewer workers for a while
    HARSH = 2  # it waits for something that is away


@dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    name: str
    begin: Begin
    phase: Phase
    lasts_s: float = 0.0
    needs_calm: bool = False  # nothing else may be going on


def kill_child(scene: Scene) -> None:
    """A process that analyses, in the middle of something."""
    busy = scene.busy(ANALYSING)
    if not busy:
        raise NotNow("nobody is at work")
    scene.kill([scene.rng.choice(sorted(busy))], "kill -9 of a process that analyses")


def kill_main(name: str) -> Begin:
    """The main process of a worker, or of anything else that the launcher runs."""

    def begin(scene: Scene) -> None:
        target = name
        if name == "analyse":
            busy = scene.busy(ANALYSING)
            if not busy:
                raise NotNow("nobody is at work")
            there = {pid: main for main, pid in scene.installation.mains().items()}
            target = there.get(scene.rng.choice(sorted(busy.values())), name)
        began = scene.last_killed[target] = time.monotonic()
        main = scene.main(target)
        # With its children, as when a machine goes: they would end what they have in the moment they live on.
        scene.kill(group(main) if name == "analyse" else [main], f"kill -9 of {target}")
        if name in ("grab", "beat", "analyse"):  # the first two run the sweep
            scene.watch.amiss(f"kill -9 of {target}", began, time.monotonic() + STARTS_S)

    return begin


def kill_broker(scene: Scene) -> None:
    began = time.monotonic()
    if scene.broker is None:
        scene.last_killed["broker"] = began
        scene.kill([scene.main("broker")], "kill -9 of the broker")
        scene.installation.wait("the broker", lambda: "broker" in scene.installation.mains(), 40)
    else:
        scene.say("kill -9 of the broker")
        scene.broker.kill()
        time.sleep(scene.rng.uniform(0.5, 3.0))
        scene.broker.start()
    scene.watch.amiss("the broker killed", began, time.monotonic() + AFTERWARDS_S)


def empty_broker(scene: Scene) -> None:
    """FLUSHALL, or what comes nearest to it."""
    try:
        if isinstance(scene.broker, RabbitMQ):
            purged = _purge_all()
        else:
            _client(scene).flushall()
            purged = "everything"
    except (redis.RedisError, OperationalError, OSError) as error:
        raise NotNow(str(error)) from error
    scene.say(f"the broker emptied: {purged}")
    scene.watch.amiss("the broker emptied", time.monotonic(), time.monotonic() + AFTERWARDS_S)


def _client(scene: Scene) -> redis.Redis:
    if scene.broker is None:
        return redis.Redis(unix_socket_path=str(run_dir(settings.DATA_DIR) / "broker.sock"), socket_timeout=5)
    return redis.Redis.from_url(settings.BROKER_URL, socket_timeout=5)


def queues() -> set[str]:
    """All queues that have anything to do with media."""
    own = {route["queue"] for route in settings.CELERY["task_routes"].values()}
    return own | {BULK + queue for queue in own} | {settings.CELERY["task_default_queue"], AGAIN}


def _purge_all() -> str:
    purged = {}
    with current_app.connection_for_write(connect_timeout=5) as broker:
        for queue in sorted(queues()):
            try:
                with broker.channel() as channel:
                    purged[queue] = channel.queue_purge(queue)
            except broker.channel_errors:
                pass  # there is no such queue yet
    return str({queue: number for queue, number in purged.items() if number})


def restart_postgres(scene: Scene) -> None:
    assert scene.postgres is not None
    began = time.monotonic()
    scene.postgres.stop()
    time.sleep(scene.rng.uniform(0.2, 1.5))
    scene.postgres.start()
    connection.close()  # this thread's own went with it, and may not be used again before the end
    scene.watch.amiss("PostgreSQL restarted", began, time.monotonic() + 8)
    scene.say(f"PostgreSQL restarted, away for {time.monotonic() - began:.1f} s")


def fill_storage(scene: Scene) -> Ending:
    assert scene.disk is not None
    began, filler = time.monotonic(), scene.disk / ".filler"
    with filler.open("wb") as file:
        while (free := free_bytes(scene.disk)) > LEAVE_BYTES:
            with suppress(OSError):  # others write, too: what was free a moment ago is no more
                os.posix_fallocate(file.fileno(), filler.stat().st_size, free - LEAVE_BYTES)
    scene.say(f"the storage filled: {free} bytes are left")

    def end() -> None:
        filler.unlink()
        scene.watch.amiss("the storage filled", began, time.monotonic() + 5)
        scene.say("the storage has room again")

    return end


def free_bytes(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def run_with_wrong_clock(scene: Scene) -> Ending:
    """One more worker that analyses, whose clock is a minute off; behind where that of the sweep is ahead."""
    installation = scene.installation
    ahead_s = -CLOCK_OFF_S if installation.clocks.get("grab", 0) > 0 else CLOCK_OFF_S
    command = installation.command("analyse").replace("-n analyse@", "-n clock@")
    worker = subprocess.Popen(
        ["/bin/sh", "-c", with_clock_off(command, ahead_s, installation.folder)],
        cwd=ROOT,
        env=installation.environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(installation.folder / "clock.log").open("ab"),
        start_new_session=True,
    )
    scene.say(f"a worker whose clock is {ahead_in_words(ahead_s)}: {worker.pid}")
    names: set[str] = set()

    def end() -> None:
        if worker.poll() is not None:
            scene.complaints.append(f"the worker whose clock is wrong ended by itself, with {worker.returncode}")
            return
        names.update(process_name(child) for child in children(worker.pid))
        worked = sum(rows.objects.filter(worker__in=names).count() for rows in (Chunk, Analysis))
        # Not by the clock: the broker may be away for long, and in the end there is work for everybody.
        if not worked:
            raise NotNow("it has not worked on anything yet")
        scene.kill(group(worker.pid), "kill -9 of the worker with the wrong clock")
        worker.wait()
        scene.say(f"the worker whose clock was wrong had worked on {worked} rows last")

    return end


def send_twice(scene: Scene) -> None:
    """Messages for rows that have theirs, are being worked on, or are done."""
    from workers import tasks

    sent = []
    try:
        for task, rows in (
            (tasks.analyse, Analysis),
            (tasks.analyse_chunk, Chunk),
            (tasks.finish, Analysis),
            (tasks.make_proxy, Proxy),
        ):
            open_ones = list(rows.objects.filter(finished_at=None).values_list("pk", flat=True)[:20])
            anyone = list(rows.objects.order_by("?").values_list("pk", flat=True)[:2])
            for pk in [*scene.rng.sample(open_ones, min(3, len(open_ones))), *anyone]:
                for _ in range(2):
                    task.apply_async((pk,))
                    sent.append(f"{task.name.rpartition('.')[2]} {pk}")
    except OperationalError as error:
        raise NotNow(str(error)) from error
    if not sent:
        raise NotNow("there is nothing to send")
    scene.say(f"sent twice: {', '.join(sorted(set(sent)))}")


def run_second_beat(scene: Scene) -> Ending:
    """Another beat, five times as busy, so that sweeps meet."""
    schedule = scene.installation.folder / "second-beat"
    words = ["-m", "celery", "-q", "-A", "project", "beat", "--schedule", str(schedule)]
    beat = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=scene.installation.environment | {"SWEEP_S": "0.2"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(scene.installation.folder / "beat.log").open("ab"),
        start_new_session=True,
    )
    scene.say(f"a second beat: {beat.pid}")

    def end() -> None:
        if beat.poll() is not None:
            scene.complaints.append(f"the second beat ended by itself, with {beat.returncode}")
        beat.kill()
        beat.wait()
        scene.say("the second beat is over")

    return end


def stop_worker(scene: Scene) -> None:
    """SIGTERM to a worker in the middle of something: it finishes or hands back in time."""
    busy = scene.busy(ANALYSING)
    if not busy:
        raise NotNow("nobody is at work")
    began = time.monotonic()
    _stop(scene, scene.rng.choice(sorted(set(busy.values()))), "a worker that analyses")
    scene.watch.amiss("SIGTERM to a worker", began, time.monotonic() + STARTS_S)


def _stop(scene: Scene, pid: int, name: str) -> None:
    # Not those that were killed a moment ago: what they had is not handed back by a stop.
    pids, began = [one for one in group(pid) if _lives(one)], time.monotonic()
    had = at_work(pids, scene.poison)
    os.kill(pid, signal.SIGTERM)
    limit_s = SHORT_STOPS_S if scene.short else STOPS_S
    while _lives(pid) and time.monotonic() - began < limit_s:
        time.sleep(0.05)
    took_s = time.monotonic() - began
    scene.longest_stop_s = max(scene.longest_stop_s, took_s)
    if _lives(pid):
        scene.complaints.append(f"{name} did not stop within {limit_s:.0f} s of SIGTERM")
    left = had & {(held.rows, held.pk, held.lease) for held in held_by(pids)}
    if left:
        what = ", ".join(f"{rows._meta.verbose_name} {pk}" for rows, pk, _ in left)
        scene.complaints.append(f"{name} stopped on SIGTERM and neither finished nor handed back {what}")
    scene.say(f"SIGTERM to {name}: gone after {took_s:.1f} s")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def restart_in_turn(scene: Scene) -> None:
    """A rolling restart: each is asked to stop, and the next when it is gone; the launcher starts them again."""
    began = time.monotonic()
    for name, pid in scene.installation.mains().items():
        if name != "broker":
            _stop(scene, pid, name)
    scene.watch.amiss("rolling restart", began, time.monotonic() + STARTS_S)


def cut_the_power(scene: Scene) -> None:
    """kill -9 of everything at once, and a start as after a power cut."""
    began = time.monotonic()
    scene.say("kill -9 of everything, the launcher included")
    scene.installation.kill_all()
    scene.installation.start()
    scene.watch.amiss("everything killed", began, time.monotonic() + STARTS_S)
    scene.say(f"everything started again after {time.monotonic() - began:.1f} s")


def freeze(scene: Scene) -> Ending:
    """SIGSTOP for longer than a lease, in the middle of something; then it wants to go on as if nothing had been."""
    busy = scene.busy(ANALYSING)
    if not busy:
        raise NotNow("nobody is at work")
    began, main = time.monotonic(), scene.rng.choice(sorted(busy.values()))
    pids = group(main)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    scene.say(f"stood still: {pids}, at work on {len(held_by(pids))} rows")

    def end() -> None:
        for pid in pids:
            if _lives(pid):
                os.kill(pid, signal.SIGCONT)
        scene.watch.amiss("a worker stood still", began)
        scene.say("what stood still goes on")

    return end
