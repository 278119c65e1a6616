"""The main process of a worker, killed or told to stop, with real processes and no launcher to clear up after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.chaos.servers import Missing, RabbitMQ, Redis
from tests.conftest import ROOT
from tests.processes import MARK, kill_marked, marked, wait_for
from tests.services import absent, find_free_port

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux'")]
HEALTH = [sys.executable, "manage.py", "health"]


@pytest.fixture
def environment(installation, redis_url) -> Iterator[dict[str, str]]:
    mark = uuid4().hex
    made = installation(BROKER_URL=redis_url, HEARTBEAT_S="1", **{MARK: mark})
    Path(made["DATA_DIR"]).mkdir(parents=True)
    migrated = subprocess.run(
        [sys.executable, "manage.py", "migrate"], cwd=ROOT, env=made, capture_output=True, text=True
    )
    assert migrated.returncode == 0, migrated.stderr
    yield made
    kill_marked(mark)


def start(environment: dict[str, str], *words: str, **more: str) -> subprocess.Popen[bytes]:
    app = "tests.story.odd_app" if "ODD" in more else "project"
    command = [sys.executable, "-m", "celery", "-q", "-A", app, *words]
    return subprocess.Popen(command, cwd=ROOT, env=environment | more, stderr=subprocess.PIPE)


def start_worker(environment: dict[str, str], *words: str, **more: str) -> subprocess.Popen[bytes]:
    quiet = ("--without-mingle", "--without-gossip")
    return start(
        environment, "worker", "-n", "analyse@%h", "-Q", "chunks", "--concurrency", "2", *quiet, *words, **more
    )


def health(environment: dict[str, str], *words: str) -> int:
    return subprocess.run([*HEALTH, *words], cwd=ROOT, env=environment, capture_output=True).returncode


def below(environment: dict[str, str], main: subprocess.Popen[bytes]) -> list[int]:
    """Its pool's processes and its watchdog."""
    return [pid for pid in marked(environment[MARK]) if pid != main.pid]


@pytest.mark.parametrize("odd", ["", "holds"])
def test_with_the_main_process_all_below_it_end_whatever_they_are_at(environment, odd):
    main = start_worker(environment, ODD=odd)
    wait_for("it is up", lambda: health(environment, "worker", "analyse") == 0, limit_s=60)
    assert len(below(environment, main)) == 3
    time.sleep(3)
    main.kill()
    main.wait()
    wait_for("nothing is left", lambda: not below(environment, main), limit_s=8)
    assert main.communicate()[1].count(b"has stood still") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("words", "of"), [(("worker",), ("worker", "analyse")), (("beat",), ("beat",))])
def test_one_that_is_told_to_stop_is_not_missed(environment, words, of, number):
    main = start(environment, "beat") if words == ("beat",) else start_worker(environment)
    wait_for("it is up", lambda: health(environment, *of) == 0, limit_s=60)
    main.send_signal(number)
    errors = main.communicate(timeout=40)[1]
    code = 1 if number == signal.SIGINT and words == ("worker",) else 0  # Celery's own for a worker at a terminal
    assert (main.returncode, errors.count(b"Traceback")) == (code, 0), errors
    said = subprocess.run([*HEALTH, *of], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (said.returncode, "has given no sign of life" in said.stderr) == (1, True), said.stderr


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_the_loop_goes_round_on_rabbitmq_as_well(environment, rabbitmq_url, pool):
    """Whatever Celery's loop is there: it gives signs of life, and the watchdog, who is in a hurry, leaves it alone."""
    environment = environment | {"BROKER_URL": rabbitmq_url, "WATCHDOG_S": "4"}
    main = start_worker(environment, "--pool", pool)
    wait_for("it is up", lambda: health(environment, "worker", "analyse") == 0, limit_s=60)
    time.sleep(8)
    assert main.poll() is None
    assert health(environment, "worker", "analyse") == 0
    main.terminate()
    main.communicate(timeout=40)


@pytest.mark.parametrize("words", [("beat",), ("worker",)])
def test_who_waits_for_the_broker_at_the_start_is_not_stuck(environment, free_port, words):
    environment = environment | {"BROKER_URL": f"redis://127.0.0.1:{free_port}/0", "WATCHDOG_S": "4"}
    main = start(environment, "beat") if words == ("beat",) else start_worker(environment)
    of = ("beat",) if words == ("beat",) else ("worker", "analyse")
    wait_for("it gives signs of life", lambda: health(environment, *of) == 0, limit_s=60)
    time.sleep(8)
    assert main.poll() is None
    main.terminate()
    errors = main.communicate(timeout=40)[1]
    assert errors.count(b"cannot be reached") == 1, "one line for the outage, and not one for each try"


@pytest.mark.parametrize("kind", [Redis, RabbitMQ])
def test_a_broker_that_hangs_kills_nobody(environment, tmp_path, kind):
    """It keeps all connections, and answers nothing, for longer than a loop may stand still."""
    server = kind(tmp_path / "broker", environment[MARK], find_free_port())
    try:
        server.prepare()
        server.start()
    except Missing as missing:
        absent(str(missing))
    environment = environment | {"BROKER_URL": server.url, "WATCHDOG_S": "30"}
    threads = ("worker", "-n", "grab@%h", "-Q", "grab", "--pool", "threads", "--without-mingle", "--without-gossip")
    running = {"beat": start(environment, "beat"), "analyse": start_worker(environment)}
    running["grab"] = start(environment, *threads)
    of = {"beat": ("beat",), "analyse": ("worker", "analyse"), "grab": ("worker", "grab")}
    for name, words in of.items():
        wait_for(f"{name} is up", lambda words=words: health(environment, *words) == 0, limit_s=60)
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGSTOP)
    try:
        time.sleep(50)
        assert [name for name, main in running.items() if main.poll() is not None] == []
    finally:
        os.killpg(server.process.pid, signal.SIGCONT)
    for name, words in of.items():
        wait_for(f"{name} gives signs", lambda words=words: health(environment, *words) == 0, limit_s=60)
    for main in running.values():
        main.terminate()
    for main in running.values():
        assert b"has stood still" not in main.communicate(timeout=60)[1]
    server.kill()


def test_a_worker_outlives_its_database(installation, redis_url, postgres, postgres_url):
    """Its loop goes round while no sign can be written, and the signs come again by themselves."""
    from tests.story.conftest import away

    mark = uuid4().hex
    environment = installation(
        BROKER_URL=redis_url, DATABASE_URL=postgres, HEARTBEAT_S="1", WATCHDOG_S="5", **{MARK: mark}
    )
    subprocess.run([sys.executable, "manage.py", "migrate"], cwd=ROOT, env=environment, capture_output=True, check=True)
    main = start_worker(environment)
    try:
        wait_for("it is up", lambda: health(environment, "worker", "analyse") == 0, limit_s=60)
        with away(postgres, postgres_url):
            assert health(environment, "worker", "analyse") == 3
            assert health(environment, "worker", "analyse", "--lenient") == 0
            time.sleep(8)
            assert main.poll() is None
        wait_for("it gives signs again", lambda: health(environment, "worker", "analyse") == 0, limit_s=30)
        main.terminate()
        errors = main.communicate(timeout=40)[1]
        assert errors.count(b"could not be written, and is tried again") == 1, errors
    finally:
        kill_marked(mark)
