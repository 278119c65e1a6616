"""Waiting for what a page will show: never a look at one moment, which is true or not by the speed of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.processes import PATIENCE

PATIENCE_S = 20.0 * PATIENCE


def until(page: Any, expression: str) -> None:
    """Waits for something to be true in the page; Playwright's own way needs `eval`, which the policy forbids."""
    eventually(page, lambda: page.evaluate(f"() => {expression}"), True, lambda value, _: bool(value))


def eventually(
    page: Any, look: Callable[[], Any], wanted: Any, same: Callable[[Any, Any], bool] = lambda one, other: one == other
) -> None:
    """Looks again until it sees what is wanted, and fails with what it saw last; the page goes on in between."""
    end = time.monotonic() + PATIENCE_S
    while not same(seen := look(), wanted):
        assert time.monotonic() < end, f"seen last: {seen!r}, wanted: {wanted!r}"
        page.wait_for_timeout(50)


def has_a_picture(page: Any, selector: str) -> None:
    """Waits until the first image that the selector names has come whole from the server."""
    image = page.locator(selector).first
    eventually(page, lambda: image.evaluate("image => image.complete && image.naturalWidth > 100"), True)
