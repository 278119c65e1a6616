"""Which of several runners (`pytest -n 3`) does which tests, and in what order.

The tests of a file go to one runner: they may share what takes long to start. So do all stories, the first of all:
each starts a whole system, which is given its time.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

STORIES = "tests/story"


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """In the order in which the tests were collected."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return STORIES if nodeid.startswith(f"{STORIES}/") else nodeid.partition("::")[0]


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Or, at the end, all would wait for the runner that got the last of them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    return sorted(items, key=lambda item: (not item.nodeid.startswith(f"{STORIES}/"), item.path not in slow))
