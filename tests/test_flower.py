"""The real Flower behind the real view, with real workers, on each kind of broker, all of them with passwords."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.test import Client

from project.launcher import read_procfile
from tests import planted
from tests.cast import a_user
from tests.chaos.servers import LOCALHOST, Missing, RabbitMQ, Redis, Server
from tests.processes import environment, kill_marked
from tests.programs import ROOT, Programs, programs
from tests.services import absent, find_free_port

pytestmark = pytest.mark.slow
HERE = {"HTTP_ORIGIN": "http://testserver"}
HOST = socket.gethostname()
WORKERS = (f"analyse@{HOST}", f"grab@{HOST}")
# Of things that do not exist: their tasks end at once, and well. The last is tried in vain, with secrets in its words.
SEND = """
from tests.sentry_site import failing
from workers import tasks
tasks.analyse.apply_async((17,))
tasks.analyse_chunk.apply_async((18,), queue="bulk-chunks")
tasks.grab.apply_async((19,))
tasks.sweep.apply_async()
failing.apply_async((5,), queue="housekeeping")
"""
SEND_ONE = "from workers import tasks; tasks.analyse.apply_async((4711,))"


class LockedRedis(Redis):
    @property
    def url(self) -> str:
        return planted.redis_url(LOCALHOST, self.port)

    def command(self) -> Sequence[str]:
        return [*super().command(), "--requirepass", planted.BROKER_PASSWORD]

    def answers(self) -> bool:
        try:
            with socket.create_connection((LOCALHOST, self.port), timeout=2) as connection:
                connection.sendall(f"AUTH {planted.BROKER_PASSWORD}\r\n".encode())
                return connection.recv(64).startswith(b"+OK")
        except OSError:
            return False


class LockedRabbitMQ(RabbitMQ):
    @property
    def url(self) -> str:
        return f"amqp://nightjar:{quote(planted.BROKER_PASSWORD, safe='')}@{LOCALHOST}:{self.port}//"

    def prepare(self) -> None:
        super().prepare()
        with (self.folder / "rabbitmq.conf").open("a") as file:
            file.write(f"default_user = nightjar\ndefault_pass = {planted.BROKER_PASSWORD}\n")


KINDS: dict[str, type[Server] | None] = {"embedded": None, "redis": LockedRedis, "rabbitmq": LockedRabbitMQ}


class Site:
    """An installation without pages, and somebody at the pages of this process, who sees its Flower."""

    def __init__(self, held: Programs, server: Server | None, client: Client) -> None:
        self.programs, self.server, self.client = held, server, client

    def get(self, path: str) -> str:
        answer = self.client.get(f"/flower/{path}")
        text = answer.getvalue().decode() if answer.streaming else answer.text
        answer.close()
        expected = 404 if path == "no-such-page" else 200
        return text if answer.status_code == expected else f"{answer.status_code}: {text}"

    def table(self) -> str:
        """The rows of the page of tasks, as its script asks for them."""
        form = {
            "draw": "1",
            "start": "0",
            "length": "100",
            "search[value]": "",
            "order[0][column]": "0",
            "order[0][dir]": "asc",
            "columns[0][data]": "name",
        }
        answer = self.client.post("/flower/tasks/datatable", form, **HERE)
        return answer.getvalue().decode()

    def stop_broker(self) -> None:
        if self.server is None:
            self.programs.stop("broker")
        else:
            self.server.stop()

    def start_broker(self) -> None:
        if self.server is None:
            self.programs.start_broker()
        else:
            self.server.start()


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path, settings, db: None) -> Iterator[Site]:
    kind, mark = KINDS[request.param], uuid4().hex
    server = kind(tmp_path / "server", mark, find_free_port()) if kind else None
    try:
        if server is not None:
            server.prepare()
            server.start()
    except Missing as missing:
        absent(str(missing))
    given = planted.settings(
        DJANGO_SETTINGS_MODULE="tests.sentry_settings", LOG_LEVEL="DEBUG", STORAGE_URL=planted.s3_url(LOCALHOST, 9)
    )
    if server is not None:
        given["BROKER_URL"] = server.url
    user = a_user("operator")
    client = Client()
    client.force_login(user)
    try:
        with programs(environment(tmp_path / "data", find_free_port()) | given, tmp_path / "logs") as held:
            settings.FLOWER_URL = f"unix://{held.run_dir / 'flower.sock'}"
            settings.FLOWER_PASSWORD = planted.FLOWER_PASSWORD
            if server is None:
                held.start_broker()
            held.manage("migrate", "-v0")
            held.start("grab", "analyse", "flower")
            found = Site(held, server, client)
            held.wait("Flower knows the workers", lambda: all(name in found.get("workers?json=1") for name in WORKERS))
            yield found
    finally:
        if server is not None:
            server.stop()
        kill_marked(mark)


def test_flower_shows_workers_and_tasks_by_names_and_no_secret_and_outlives_its_broker(site: Site) -> None:
    done = ("analysis 17", "chunk 18", "capture 19", "workers.tasks.sweep", "tests.sentry_site.failing", "FAILURE")
    missing: list[str] = []
    sent_at: list[float] = []

    def shows_all() -> bool:
        # Flower asks the workers who they are before it hears what they do, and that is told once: so it is sent again.
        if not sent_at or time.monotonic() - sent_at[-1] > 15:
            site.programs.manage("shell", "-c", SEND)
            sent_at.append(time.monotonic())
        table = site.table()
        missing[:] = [words for words in done if words not in table]
        return not missing

    try:
        site.programs.wait("it shows the tasks", shows_all, 90)
    except AssertionError as error:
        raise AssertionError(f"{missing} after {len(sent_at)} times: {error}") from None
    shown = {
        path: site.get(path)
        for path in (
            "",
            "workers",
            "workers?json=1&refresh=1",
            *(f"worker/{name}" for name in WORKERS),
            "tasks",
            "broker",
            "api/workers?refresh=1",
            *(f"api/workers?refresh=1&workername={name}" for name in WORKERS),
            "api/tasks",
            "api/task/types",
            "api/queues/length",
            "metrics",
            "healthcheck",
            "no-such-page",
        )
    }
    shown["the table"] = site.table()
    for uuid in tasks_of(shown["api/tasks"]):
        for path in (f"task/{uuid}", f"api/task/info/{uuid}"):
            shown[path] = site.get(path)
    told = {path: planted.found_in(text) for path, text in shown.items()}
    assert {path: found for path, found in told.items() if found} == {}
    assert {path: text[:300] for path, text in shown.items() if is_refused(text)} == {}
    assert "task_acks_late" in shown[f"api/workers?refresh=1&workername={WORKERS[0]}"]  # else “no secret” says little
    assert "failed at" in shown["api/tasks"]
    if site.server is not None:
        user = "nightjar" if isinstance(site.server, LockedRabbitMQ) else ""  # Redis has none
        assert f"://{user}:**@" in shown["broker"]

    before = site.programs.running["flower"].pid
    site.stop_broker()
    assert not is_refused(site.get("tasks"))  # it goes on answering
    site.start_broker()
    sent = []

    def shows_another() -> bool:
        if len(sent) < 30:  # the first may fall into the time in which the workers come back
            site.programs.manage("shell", "-c", SEND_ONE)
            sent.append(1)
        return "analysis 4711" in site.table()

    site.programs.wait("it shows what is done after the restart", shows_another, 120)
    assert site.programs.running["flower"].pid == before
    assert planted.found_in(site.programs.said()) == []


def is_refused(text: str) -> bool:
    return bool(re.match(r"\d{3}: ", text))


def tasks_of(text: str) -> list[str]:
    import json

    found = json.loads(text)
    assert {task["state"] for task in found.values()} >= {"SUCCESS", "FAILURE"}
    return list(found)


def test_flower_has_no_port_and_a_bound_for_its_memory_and_keeps_nothing() -> None:
    (line,) = [str(program.command) for program in read_procfile(ROOT / "Procfile") if program.name == "flower"]
    assert "--unix_socket=" in line
    assert "--port" not in line
    assert "--address" not in line
    assert "--max_tasks=10000" in line
    assert "--persistent" not in line
