"""The launcher, with real processes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.folders import StartError
from project.launcher import read_procfile
from tests.conftest import ROOT
from tests.processes import MARK, PATIENCE, kill_marked, marked, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

GRACE_S = 2.0
LAUNCH = f"""
import os, sys
from pathlib import Path
from project.launcher import Launcher, Program, read_procfile

folder = Path(sys.argv[1])
broker = folder / "broker.sh"
Launcher(
    read_procfile(folder / "Procfile"),
    cwd=folder,
    env=dict(os.environ),
    broker=Program("broker", ["sh", str(broker)]) if broker.exists() else None,
    broker_answers=lambda: (folder / "answers").exists(),
    broker_wait_s=3.0,
    web_answers=lambda: (folder / "web").exists(),
    greeting="come in",
    grace_s={GRACE_S},
    follow_parent="--follow-parent" in sys.argv,
).run()
"""
# Says when it is asked to stop, and stops a moment later.
POLITE = "trap 'echo NAME >> order; exit 0' TERM; echo up; while :; do sleep 0.05; done"
STUBBORN = "trap '' TERM INT HUP; echo up; while :; do sleep 0.05; done"


class Started:
    """A launcher of its own process group, and what runs under it."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, str(folder), *flags],
                cwd=ROOT,
                env=os.environ | {MARK: self.mark},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()

    def pids(self, words: str) -> set[int]:
        """Who runs with these words in the command line, the launcher itself left out."""
        return {pid for pid, line in marked(self.mark).items() if words in line and pid != self.process.pid}

    def wait_said(self, text: str, times: int = 1) -> None:
        wait_for(f"“{text}” in {self.log}", lambda: sum(text in line for line in self.said()) >= times)

    def everybody(self) -> set[int]:
        return set(marked(self.mark))

    def wait_nobody(self, limit_s: float) -> float:
        return wait_for(f"nobody left of {marked(self.mark)}", lambda: not self.everybody(), limit_s)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator:
    started: list[Started] = []

    def _launch(*flags: str, **programs: str) -> Started:
        (tmp_path / "Procfile").write_text("".join(f"{name}: {command}\n" for name, command in programs.items()))
        started.append(Started(tmp_path, *flags))
        return started[-1]

    yield _launch
    for one in started:
        kill_marked(one.mark)
        one.process.wait()
        kill_marked(one.mark)


def test_each_program_that_is_killed_is_started_again(launch) -> None:
    it = launch(one="exec sleep 1001", two="exec sleep 1002", three="exec sleep 1003")
    for words in ("sleep 1001", "sleep 1002", "sleep 1003"):
        wait_for(words, lambda words=words: it.pids(words))
        (before,) = it.pids(words)
        os.kill(before, signal.SIGKILL)
        took_s = wait_for(f"another {words}", lambda words=words, old=before: it.pids(words) - {old})
        assert took_s < 2 * PATIENCE
    assert sum("was ended by signal 9; starting it again in 0.5 s." in line for line in it.said()) == 3


def test_a_program_that_ends_well_is_started_again_too(launch) -> None:
    it = launch(one="echo done")
    it.wait_said("one      | done", times=2)
    assert any("ended with exit status 0; starting it again" in line for line in it.said())


def test_what_a_killed_program_left_is_ended_before_it_is_started_again(launch) -> None:
    it = launch(one="sleep 1001 & echo started; exec sleep 1002")
    wait_for("both", lambda: it.pids("sleep 1001") and it.pids("sleep 1002"))
    left = it.pids("sleep 1001")
    os.kill(min(it.pids("sleep 1002")), signal.SIGKILL)
    it.wait_said("| started", times=2)
    assert not left & it.pids("sleep 1001")


def test_a_program_that_cannot_live_is_tried_ever_less_often(launch) -> None:
    it = launch(one="echo try; exit 3")
    it.wait_said("ended with exit status 3; starting it again in 2 s.")
    assert [line.rpartition(" in ")[2] for line in it.said() if "again in" in line] == ["0.5 s.", "1 s.", "2 s."]
    assert it.said().count("one      | try") == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_everybody_and_that_is_no_failure(launch, number: signal.Signals) -> None:
    it = launch(one="exec sleep 1001", two="sleep 1002 & sleep 1003", three=POLITE.replace("NAME", "three"))
    wait_for("all", lambda: it.pids("sleep 1001") and it.pids("sleep 1002"))
    it.wait_said("three    | up")
    it.process.send_signal(number)
    assert it.process.wait(timeout=(GRACE_S + 3) * PATIENCE) == 0
    it.wait_nobody(0.5)


def test_the_broker_starts_first_is_waited_for_and_ends_last(launch, tmp_path: Path) -> None:
    (tmp_path / "broker.sh").write_text(POLITE.replace("NAME", "broker") + "\n")
    it = launch(one=POLITE.replace("NAME", "one"), two=POLITE.replace("NAME", "two"))
    it.wait_said("broker   | up")
    assert not any("one " in line for line in it.said())
    (tmp_path / "answers").touch()
    it.wait_said("one      | up")
    it.wait_said("two      | up")
    it.process.terminate()
    assert it.process.wait(timeout=5 * PATIENCE) == 0
    order = (tmp_path / "order").read_text().splitlines()
    assert sorted(order[:2]) == ["one", "two"]
    assert order[2:] == ["broker"]


def test_a_broker_that_does_not_start_is_a_sentence(launch, tmp_path: Path) -> None:
    (tmp_path / "broker.sh").write_text("exit 7\n")
    it = launch(one="exec sleep 1001")
    assert it.process.wait(timeout=10) != 0
    assert "The broker did not start" in it.log.read_text()
    assert not it.everybody()


def test_a_broker_that_never_answers_is_a_sentence(launch, tmp_path: Path) -> None:
    (tmp_path / "broker.sh").write_text("exec sleep 1009\n")
    it = launch(one="exec sleep 1001")
    assert it.process.wait(timeout=10) != 0
    assert "The broker did not start" in it.log.read_text()
    assert not it.everybody()


def test_who_will_not_stop_is_killed_after_the_grace(launch) -> None:
    it = launch(one=STUBBORN)
    it.wait_said("one      | up")
    it.process.terminate()
    assert it.process.wait(timeout=(GRACE_S + 3) * PATIENCE) == 0
    it.wait_nobody(0.5)


def test_a_second_signal_waits_for_nobody(launch) -> None:
    it = launch(one=STUBBORN)
    it.wait_said("one      | up")
    it.process.terminate()
    it.wait_said("Stopping")
    it.process.terminate()
    assert it.process.wait(timeout=GRACE_S * 0.75) == 0
    it.wait_nobody(0.5)


def test_nothing_is_left_when_the_launcher_is_killed(launch) -> None:
    it = launch(one="exec sleep 1001", two="sleep 1002 & sleep 1003", three=STUBBORN)
    wait_for("all", lambda: it.pids("sleep 1001") and it.pids("sleep 1002"))
    it.wait_said("three    | up")
    it.process.kill()
    it.process.wait()
    it.wait_nobody(GRACE_S + 3)


def test_programs_end_even_when_launcher_and_guardian_are_killed_at_once(launch) -> None:
    it = launch(one="exec sleep 1001", two="exec sleep 1002")
    wait_for("all", lambda: it.pids("sleep 1001") and it.pids("sleep 1002"))
    for pid in (*it.pids("guardian.py"), it.process.pid):
        os.kill(pid, signal.SIGKILL)
    it.process.wait()
    it.wait_nobody(2)


def test_a_killed_guardian_is_replaced_by_one_that_knows_everybody(launch) -> None:
    it = launch(one="sleep 1001 & sleep 1002", two=STUBBORN)
    wait_for("both", lambda: it.pids("sleep 1002") and it.pids("guardian.py"))
    it.wait_said("two      | up")
    (first,) = it.pids("guardian.py")
    os.kill(first, signal.SIGKILL)
    wait_for("another guardian", lambda: it.pids("guardian.py") - {first})
    it.process.kill()
    it.process.wait()
    it.wait_nobody(GRACE_S + 3)


def test_it_stops_when_who_started_it_is_gone_if_asked_to(launch, tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("one: exec sleep 1001\n")
    mark = uuid.uuid4().hex
    command = [sys.executable, "-c", LAUNCH, str(tmp_path), "--follow-parent"]
    parent = subprocess.Popen(
        ["sh", "-c", '"$@" & wait', "sh", *command], cwd=ROOT, env=os.environ | {MARK: mark}, start_new_session=True
    )
    try:
        wait_for("the program", lambda: any("sleep 1001" in line for line in marked(mark).values()))
        parent.kill()
        parent.wait()
        wait_for("nobody", lambda: not marked(mark), GRACE_S + 3)
    finally:
        kill_marked(mark)


def test_each_line_has_the_name_of_its_program_in_front(launch) -> None:
    it = launch(
        a="echo out; echo err >&2; printf unfinished; exec sleep 0.2",
        longer="echo x$VARIABLE ${UNSET:-7}; exec sleep 1",
    )
    it.wait_said("a        | unfinished")
    it.wait_said("longer   | x 7")
    assert {"a        | out", "a        | err"} <= set(it.said())
    assert not any("\x1b" in line for line in it.said())


def test_names_are_coloured_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("one: echo hello; exec sleep 1001\n")
    master, slave = pty.openpty()
    mark = uuid.uuid4().hex
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {MARK: mark}
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(tmp_path)], cwd=ROOT, env=environment, stdout=slave, start_new_session=True
    )
    os.close(slave)
    try:
        seen = b""
        while b"hello" not in seen:
            seen += os.read(master, 1024)
        assert b"\x1b[32m" in seen or b"\x1b[3" in seen
        os.close(master)  # the terminal is closed; what is printed from now on reaches nobody, and nothing breaks
        process.terminate()
        assert process.wait(timeout=5 * PATIENCE) == 0
    finally:
        kill_marked(mark)
        process.wait()


def test_a_program_that_prints_without_end_holds_nobody_up(launch) -> None:
    it = launch(loud="exec yes loud", quiet="echo here; exec sleep 1001")
    it.wait_said("quiet    | here")
    it.process.terminate()
    assert it.process.wait(timeout=(GRACE_S + 3) * PATIENCE) == 0
    it.wait_nobody(0.5)


def test_a_line_without_end_is_printed_in_portions(launch) -> None:
    it = launch(one="head -c 200000 /dev/zero | tr '\\0' x; echo; exec sleep 1001")
    it.wait_said("| xxx", times=2)
    assert max(len(line) for line in it.said()) < 200_000


def test_a_program_that_closes_its_output_costs_no_time(launch) -> None:
    it = launch(one="exec sleep 1001 >/dev/null 2>&1")
    wait_for("it", lambda: it.pids("sleep 1001"))
    ticks = [_processor_ticks(it.process.pid)]
    with pytest.raises(subprocess.TimeoutExpired):
        it.process.wait(timeout=1.5)
    ticks.append(_processor_ticks(it.process.pid))
    assert ticks[1] - ticks[0] < 0.2 * os.sysconf("SC_CLK_TCK")


def _processor_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_the_greeting_comes_once_and_when_the_web_answers(launch, tmp_path: Path) -> None:
    it = launch(one="echo up; exec sleep 1001")
    it.wait_said("one      | up")
    assert not any("come in" in line for line in it.said())
    (tmp_path / "web").touch()
    it.wait_said("nightjar | come in")
    it.process.terminate()
    it.process.wait(timeout=5 * PATIENCE)
    assert sum("come in" in line for line in it.said()) == 1


def test_comments_and_empty_lines_of_a_procfile_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "Procfile"
    path.write_text("# what runs\n\nrelease: once\nweb: exec a --b 'c: d'\n  # more\nworker-2:e\n")
    assert [(program.name, program.command) for program in read_procfile(path)] == [
        ("web", "exec a --b 'c: d'"),
        ("worker-2", "e"),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("web exec\n", "Line 1 of .* is not"),
        ("web: a\nweb: b\n", "Line 2 of .* is not"),
        ("web:\n", "Line 1 of .* is not"),
        ("release: migrate\n", "names no process"),
        ("# nothing\n", "names no process"),
    ],
)
def test_a_procfile_that_makes_no_sense_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "Procfile"
    path.write_text(text)
    with pytest.raises(StartError, match=sentence):
        read_procfile(path)


def test_a_procfile_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot be read"):
        read_procfile(tmp_path / "Procfile")
