"""The real Flower's pages in a real browser: their scripts run under our policy, and show names."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes import PATIENCE, environment
from tests.programs import Programs, programs
from tests.services import find_free_port

SEND = "from workers import tasks; tasks.analyse.apply_async((17,)); tasks.sweep.apply_async()"
WORKER = f"grab@{socket.gethostname()}"


@pytest.fixture
def running(tmp_path: Path, settings) -> Iterator[Programs]:
    """A broker, workers and Flower, which the pages of the test's own server show."""
    with programs(environment(tmp_path / "data", find_free_port()), tmp_path / "logs") as held:
        settings.FLOWER_URL = f"unix://{held.run_dir / 'flower.sock'}"
        settings.FLOWER_PASSWORD = held.environment["FLOWER_PASSWORD"]
        held.start_broker()
        held.manage("migrate", "-v0")
        held.start("flower", "grab", "analyse")
        held.wait("Flower listens", (held.run_dir / "flower.sock").exists)
        held.wait("the workers are there", lambda: held.said().count(" ready") >= 2 or held.said().count("ready.") >= 2)
        held.manage("shell", "-c", SEND)
        yield held


def test_an_operator_sees_workers_tasks_and_queues_by_their_names(
    open_page: Callable[..., object], running: Programs
) -> None:
    from playwright.sync_api import TimeoutError as PageTimeout

    page = open_page("operator")
    page.set_default_timeout(30_000 * PATIENCE)
    page.goto("/flower/")
    page.wait_for_selector(f"#workers-table >> text={WORKER}")
    page.wait_for_selector("text=/Updated /")  # its script goes on asking
    page.click("text=Tasks")
    told = page.locator("#tasks-table >> text=analysis 17").first
    for _ in range(6):  # what is done before it hears the workers is not told again
        with suppress(PageTimeout):
            told.wait_for(timeout=10_000)
            break
        running.manage("shell", "-c", SEND)
        page.reload()
    told.wait_for()
    page.wait_for_selector("#tasks-table >> text=workers.tasks.analyse")
    page.click("text=Broker")
    page.wait_for_selector("text=broker.sock")
    page.goto(f"/flower/worker/{WORKER}")
    page.click("[role=tab]:has-text('Config')")
    page.wait_for_selector("text=/acks.late/i")
