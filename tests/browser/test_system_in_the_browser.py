"""The system's page, in a real browser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.health.seen import a_snapshot
from tests.processes import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def seen(monkeypatch):
    snapshots = [a_snapshot({"broker": "The broker cannot be reached (Connection refused); the log has the rest."})]
    monkeypatch.setattr("detection.health.take", lambda: snapshots[0])
    return snapshots


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_what_happens_without_being_loaded_again(open_page, seen, scheme):
    page = open_page("operator", color_scheme=scheme)
    page.click("nav >> text=System")
    page.wait_for_selector("text=The broker cannot be reached")
    if "SCREENSHOTS" in os.environ:
        page.screenshot(path=Path(os.environ["SCREENSHOTS"]) / f"system-{scheme}.png", full_page=True)
    page.evaluate("window.isTheSamePage = true")
    seen[0] = a_snapshot()
    page.wait_for_selector("text=All is well", timeout=30_000 * PATIENCE)
    assert page.evaluate("window.isTheSamePage")


def test_on_a_narrow_screen_only_the_tables_scroll_aside(open_page, seen):
    page = open_page("operator")
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/health/system")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    if "SCREENSHOTS" in os.environ:
        page.screenshot(path=Path(os.environ["SCREENSHOTS"]) / "system-narrow.png", full_page=True)
