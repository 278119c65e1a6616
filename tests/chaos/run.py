"""One stack under its faults, in a process whose environment is that of the installation under test.

`python -m tests.chaos.run ORDER`: the order is JSON as `Order` has it. Started by __main__.py, which also removes what
this leaves behind where it is killed itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django

from tests.chaos.media import Sample, load
from tests.chaos.reference import MODEL, RESULTS, SAMPLES, WEIGHTS

DISK_MB = 256
DONE_WITHIN_S = 240.0
UPLOADED_WITHIN_S = 240.0
HOUSEKEEPING_S = 45.0
REFERENCE_S = 120.0  # the undisturbed results, which are worked out meanwhile
UPLOADING = 0.95  # so far through the faults, all has been sent once


@dataclass(frozen=True)
class Order:
    """What to do."""

    stack: str
    folder: str  # of this stack
    common: str  # of all stacks: the files and their undisturbed results
    mark: str
    seconds: float
    seed: int
    short: bool
    left_out: list[str]  # kinds of fault
    ports: dict[str, int]  # of the servers, in the order in which they are started
    clocks: dict[str, int]  # by how many seconds that of which process is ahead


def main(order: Order) -> int:
    # An order to end is an exception, so that everything is cleared away on the way out.
    signal.signal(signal.SIGTERM, _ends)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # the one who gave the order is gone
    django.setup()
    with _stack(order) as scene:
        outcome = _run(order, scene)
    from tests.chaos.report import block

    text = block(outcome)
    (Path(order.folder) / "report.txt").write_text(text + "\n")
    return 1 if outcome.failures else 0


def _ends(*_: object) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _stack(order: Order) -> Iterator[Any]:
    """The servers and the installation, made ready and started; ended and their mount taken away in any case."""
    from tests.chaos.installation import Installation
    from tests.chaos.scene import Scene
    from tests.chaos.servers import SERVERS
    from tests.chaos.watch import Watch

    folder, mark = Path(order.folder), f"{order.mark}-servers"
    servers: dict[str, Any] = {name: SERVERS[name](folder / name, mark, port) for name, port in order.ports.items()}
    installation = Installation(folder, order.mark, order.clocks)
    disk = Path(os.environ["DATA_DIR"]) / "media"
    mounted = False
    try:
        for server in servers.values():
            server.prepare()
            server.start()
        disk.mkdir(parents=True)
        mounted = _mount(disk)
        _prepare(order)
        installation.start()
        yield Scene(
            installation,
            Watch(),
            random.Random(order.seed),
            folder / "faults.log",
            order.short,
            frozenset(order.left_out),
            broker=servers.get("redis") or servers.get("rabbitmq"),
            postgres=servers.get("postgres"),
            disk=disk if mounted else None,
            poison={sample.sha256 for sample in load(Path(order.common) / SAMPLES) if sample.poison},
        )
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        installation.kill_all()
        for server in servers.values():
            server.stop()
        if mounted:
            subprocess.run(["umount", "--lazy", str(disk)], check=False, capture_output=True)


def _mount(disk: Path) -> bool:
    """A small disk of memory there; answers whether that may be."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "tmpfs", str(disk)]
    return os.geteuid() == 0 and subprocess.run(words, check=False, capture_output=True).returncode == 0


def _prepare(order: Order) -> None:
    """The database, the administrator and the model, as the product's own commands make them."""
    from django.core.management import call_command

    from workers.registry import add_model

    said = io.StringIO()
    call_command("prepare", no_example=True, stdout=said)
    password = re.search(r"password\s+(\S+)", said.getvalue())
    assert password, said.getvalue()
    (Path(order.folder) / "password").write_text(password[1])
    weights = (Path(order.common) / WEIGHTS).read_text()
    add_model(weights, MODEL, lambda _: None).activate()


def _run(order: Order, scene: Any) -> Any:
    from tests.chaos.inject import Injector, kinds_of, plan
    from tests.chaos.load import Client, Load

    samples = load(Path(order.common) / SAMPLES)
    password = (Path(order.folder) / "password").read_text()
    load_ = Load(
        lambda: Client(scene.installation.address, password),
        samples,
        lambda: injector.how_far() / UPLOADING,
        order.seed,
        scene.watch.cancelled,
        lambda: not injector.is_quiet,
    )
    injector = Injector(scene, plan(kinds_of(scene), order.seconds, scene.rng))
    scene.watch.start()
    load_.start()
    try:
        last_fault = injector.run()
        load_.calm_down()
        recovered_s = _wait_until_done(scene, load_, last_fault)
    finally:
        load_.stop()
        scene.watch.stop()
    if not scene.installation.stop():
        scene.complaints.append("the installation did not stop in order, or left processes behind")
    return _outcome(order, scene, load_, injector, samples, recovered_s)


def _wait_until_done(scene: Any, load_: Any, last_fault: float) -> float | None:
    """Seconds from the last fault until nothing was unfinished; None where that never was."""
    deadline = last_fault + UPLOADED_WITHIN_S
    while not load_.all_accepted and time.monotonic() < deadline:
        time.sleep(0.1)
    accepted = time.monotonic()
    scene.say(f"{len(load_.told.accepted)} media are accepted; left: {scene.watch.left}")
    told = accepted
    while time.monotonic() < max(accepted, last_fault) + DONE_WITHIN_S:
        if scene.watch.quiet() and scene.watch.looked_at > accepted:
            recovered_s: float = scene.watch.looked_at - last_fault
            scene.say(f"all is done {recovered_s:.1f} s after the last fault")
            _let_housekeeping_work(scene)
            return recovered_s
        if time.monotonic() > told + 5:
            told = time.monotonic()
            scene.say(f"left: {scene.watch.left}")
        time.sleep(0.1)
    return None


def _let_housekeeping_work(scene: Any) -> None:
    """What dead processes left behind in the storage is cleared away a while later."""
    from tests.chaos.records import to_clear_away

    began = time.monotonic()
    while True:
        scene.kept_until = time.time()  # what comes to its time after this, nobody clears away: all is stopped then
        left = to_clear_away()
        if not left or time.monotonic() - began >= HOUSEKEEPING_S:
            break
        time.sleep(0.2)
    scene.say(f"cleared away after {time.monotonic() - began:.1f} s; left: {left}")


def _outcome(
    order: Order, scene: Any, load_: Any, injector: Any, samples: list[Sample], recovered_s: float | None
) -> Any:
    from tests.chaos.check import Expected, check, missing_kinds
    from tests.chaos.clocks import ahead_in_words
    from tests.chaos.records import collect
    from tests.chaos.report import Outcome

    results = Path(order.common) / RESULTS
    deadline = time.monotonic() + REFERENCE_S
    while not results.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    records = collect(scene.kept_until)
    told = load_.told
    expected = Expected(
        accepted=frozenset(told.accepted),
        spoilt={sample.sha256: sample.poison for sample in samples if sample.spoils_analysis},
        spoilt_copies={s.sha256: s.poison for s in samples if s.poison and not s.spoils_analysis},
        reference=json.loads(results.read_text()) if results.exists() else {},
    )
    findings = check(expected, records)
    healthy = [result for result in records.results if result.sha256 not in expected.spoilt]
    names = {sample.sha256: sample.poison for sample in samples if sample.poison}
    poison = {
        names[one.sha256]: f"{one.state} after {one.attempts} attempts, {one.error_kind}: {one.error}"
        for one in [
            *(result for result in records.results if result.sha256 in expected.spoilt),
            *(copy for copy in records.copies if copy.sha256 in expected.spoilt_copies),
        ]
    }
    return Outcome(
        stack=order.stack,
        seed=order.seed,
        media=len(samples),
        accepted=len(told.accepted),
        poison=poison,
        injected=dict(scene.injected),
        missing=missing_kinds(injector.required, scene.injected),
        findings=findings,
        waits=scene.watch.waits,
        recovered_s=recovered_s,
        left=scene.watch.left,
        most_attempts=max((result.attempts for result in healthy), default=0),
        most_lapses=max((result.lapses for result in healthy), default=0),
        is_crowded=order.short,
        sightings=sum(len(json.loads(result.exported)["sightings"]) for result in healthy),
        complaints=[*scene.complaints, *(f"a good file was refused: {line}" for line in told.refused)],
        not_injected=_not_injected(scene),
        notes=[
            *(f"clock of {name:9}{ahead_in_words(s)}, from the start to the end" for name, s in order.clocks.items()),
            f"graceful stops    {scene.longest_stop_s:.1f} s at most",
            f"people            {told.cancelled} cancelled, {told.retried} retried, {told.resubmitted} sent the same "
            f"again; the server answered {dict(told.answers)}",
        ],
    )


def _not_injected(scene: Any) -> list[str]:
    reasons = [f"{kind} (the short form has no time for it here)" for kind in sorted(scene.left_out)]
    if scene.postgres is None:
        reasons.append("PostgreSQL restarted (there is none)")
        reasons.append("a clock a minute off (with SQLite all are on one machine, and its clock is the database's)")
    if scene.disk is None:
        reasons.append("the storage filled (no small disk can be mounted here: that takes root)")
    return reasons


if __name__ == "__main__":
    raise SystemExit(main(Order(**json.loads(sys.argv[1]))))
