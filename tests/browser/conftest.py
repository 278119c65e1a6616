"""A real browser at a real server: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.cast import a_user
from tests.processes import PATIENCE
from tests.services import absent

# Playwright's loop runs in the tests' own thread, where Django would refuse the database.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A database in a file, where each thread has a connection of its own, as when it is for real.

    One in memory is a single connection for the tests and all threads of their server, and Python can stand still
    for ever where two of them use it in the same moment.
    """
    from django.db import connection

    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed: pip install -r requirements-dev.txt")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not path:
        absent("there is no chromium: apt-get install chromium, or set CHROMIUM.")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, live_server, transactional_db: None) -> Iterator[Callable[..., object]]:
    """Opens a browser page for a member of a group, logged in; whatever its scripts complain of fails the test."""
    complaints: list[str] = []
    contexts = []

    def opened(group: str, **options: object) -> object:
        user = a_user(group)
        context = chromium.new_context(base_url=live_server.url, viewport={"width": 1300, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000 * PATIENCE)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if is_complaint(line) else None)
        page.goto("/login/")
        page.fill("#id_username", user.username)
        page.fill("#id_password", "only for tests")
        page.click("main button")
        page.wait_for_url(lambda url: "/login/" not in url)  # a page opened sooner would break the login off
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def is_complaint(line) -> bool:
    """Errors, but not that a refused upload was answered with its status, which the test asks for."""
    return line.type == "error" and "status of 422" not in line.text


@pytest.fixture(autouse=True)
def _groups_after_flush(request: pytest.FixtureRequest, transactional_db: None) -> None:
    """A transactional test begins with empty tables: what the migrations put there is put there again."""
    from importlib import import_module

    from django.apps import apps
    from django.contrib.auth.models import Group

    if not Group.objects.exists():
        import_module("detection.migrations.0002_groups_and_motion").fill(apps, None)
        import_module("detection.migrations.0003_cameras").fill(apps, None)
        import_module("detection.migrations.0005_operations").fill(apps, None)
