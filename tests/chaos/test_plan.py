"""What is planned: every kind of fault, in an order that lets what is killed be watched; and what is uploaded."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.chaos import media
from tests.chaos.clocks import faketime_library
from tests.chaos.faults import Kind, Phase
from tests.chaos.inject import QUIET_S, Injector, plan
from tests.chaos.installation import ROOT, procfile
from tests.chaos.media import POISONS, poison_of
from tests.chaos.servers import Missing
from tests.services import absent

COUNT = 16  # fewer than in the short form


def nothing(_scene) -> None:
    pass


KINDS = [
    Kind("kill -9 of a process that analyses", nothing, Phase.FEWER),
    Kind("kill -9 of web", nothing, Phase.QUIET),
    Kind("kill -9 of analyse", nothing, Phase.QUIET),
    Kind("kill -9 of the broker", nothing, Phase.HARSH),
    Kind("the storage filled", nothing, Phase.HARSH, lasts_s=10),
    Kind("everything killed", nothing, Phase.HARSH, needs_calm=True),
    Kind("rolling restart", nothing, Phase.HARSH, needs_calm=True),
]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("seconds", [30.0, 170.0])
def test_every_kind_is_planned_the_quiet_first_and_one_that_needs_calm_last(seed, seconds):
    planned = plan(KINDS, seconds, random.Random(seed))
    assert {kind.name for _, kind in planned} == {kind.name for kind in KINDS}
    assert [at for at, _ in planned] == sorted(at for at, _ in planned)
    first = {kind.name: min(at for at, one in planned if one is kind) for kind in KINDS}
    assert all(first[one.name] < first[other.name] for one in KINDS for other in KINDS if one.phase < other.phase)
    assert planned[-1][1].needs_calm
    assert 0 < planned[0][0] < planned[-1][0] < max(seconds, 2 * QUIET_S)


@pytest.mark.parametrize("seed", range(20))
def test_the_work_of_the_worker_that_is_killed_first_has_its_time(seed):
    planned = plan(KINDS, 30.0, random.Random(seed))
    assert planned[0][1].name == "kill -9 of analyse"
    others = [at for at, kind in planned if kind.phase > Phase.QUIET]
    assert others[0] - planned[0][0] > 11
    killed = [at for at, kind in planned[1:] if kind.name.startswith("kill -9 of a")]
    assert killed[0] - planned[0][0] > 11


def test_something_is_killed_every_few_seconds():
    times = [at for at, kind in plan(KINDS, 170.0, random.Random(1)) if kind.name.startswith("kill -9")]
    assert len(times) > 30


def test_the_same_seed_plans_the_same():
    assert plan(KINDS, 60.0, random.Random(5)) == plan(KINDS, 60.0, random.Random(5))


def test_all_that_was_planned_is_required():
    injector = Injector(None, plan(KINDS, 30.0, random.Random(1)))  # type: ignore[arg-type]
    assert injector.required == {kind.name for kind in KINDS}


def test_the_workers_of_the_test_know_poison_and_a_second_one_analyses(tmp_path):
    text = procfile((ROOT / "Procfile").read_text(), tmp_path, {})
    lines = dict(line.split(":", 1) for line in text.splitlines() if line)
    assert "flower" not in lines
    assert "-A tests.chaos.app" in lines["analyse"]
    assert lines["analyse2"] == lines["analyse"].replace("-n analyse@", "-n analyse2@")
    assert "-A project " in lines["grab"]
    assert "project.wsgi" in lines["web"]


@pytest.mark.parametrize("ahead_s", [60, -60])
def test_a_process_whose_clock_is_off_sleeps_and_waits_as_long_as_others(tmp_path, ahead_s):
    try:
        faketime_library()
    except Missing as missing:
        absent(str(missing))
    program = """
import subprocess, sys, threading, time
began = time.monotonic()
time.sleep(0.1)
threading.Event().wait(0.1)
subprocess.run([sys.executable, "-I", "-S", "-c", "import time; time.sleep(0.1)"], check=True)
print(time.time(), time.monotonic() - began)
"""
    (tmp_path / "program.py").write_text(program)
    line = procfile(f"grab: exec {sys.executable} {tmp_path}/program.py", tmp_path, {"grab": ahead_s})
    said = subprocess.run(["/bin/sh", "-c", line.removeprefix("grab:")], capture_output=True, text=True, check=True)
    shown, took_s = map(float, said.stdout.split())
    assert shown - time.time() == pytest.approx(ahead_s, abs=5)
    assert 0.3 <= took_s < 5


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[media.Sample]:
    return media.make(tmp_path_factory.mktemp("chaos") / "files", COUNT, seed=3, poisons_at_most=len(POISONS))


def test_no_two_files_have_the_same_bytes(samples):
    assert len({sample.sha256 for sample in samples}) == len(samples) == COUNT + len(POISONS)


def test_there_are_files_of_all_kinds(samples):
    assert {Path(sample.path).suffix for sample in samples if not sample.poison} == {*media.STILLS, *media.CLIPS}


def test_poison_is_known_by_its_mark_and_the_others_are_not(samples):
    assert {poison_of(Path(sample.path)) for sample in samples} == {"", *POISONS}
    assert all(poison_of(Path(sample.path)) == sample.poison for sample in samples)


def test_the_list_of_files_survives_being_written_down(samples, tmp_path):
    media.save(samples, tmp_path / "list.json")
    assert media.load(tmp_path / "list.json") == samples


class Clock:
    """Instead of the module time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_fault_that_lasts_has_its_time_also_as_the_last_one(monkeypatch):
    clock, ended_at = Clock(), []
    monkeypatch.setattr("tests.chaos.inject.time", clock)
    scene = SimpleNamespace(injected=Counter(), last_killed={})
    lasting = Kind("the storage filled", lambda _: lambda: ended_at.append(clock.now), Phase.HARSH, lasts_s=10)
    Injector(scene, [(1.0, lasting)]).run()  # type: ignore[arg-type]
    assert ended_at == [pytest.approx(1011, abs=0.5)]


def test_the_uploads_follow_the_faults_and_wait_for_one_that_takes_long(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("tests.chaos.inject.time", clock)
    injector = Injector(None, [(2.0 * number, KINDS[0]) for number in range(1, 11)])  # type: ignore[arg-type]
    assert injector.how_far() == 0.0
    clock.now += 1.0
    assert injector.how_far() == pytest.approx(0.05)
    clock.now += 100.0  # the first one cannot be injected
    assert injector.how_far() == pytest.approx(0.1)
    injector._done = 10
    assert injector.how_far() == 1.0


def test_more_is_uploaded_while_a_fault_finds_nobody_at_work(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("tests.chaos.inject.time", clock)
    injector = Injector(None, [(2.0 * number, KINDS[0]) for number in range(1, 11)])  # type: ignore[arg-type]
    clock.now += 100.0
    injector._waits_since = clock.now
    before = injector.how_far()
    clock.now += 10.0
    assert injector.how_far() == pytest.approx(before + 0.2)
