"""Who visits the pages, and the one wire that is not real: the queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from django.test import Client

from detection.models import Analysis, Capture, Proxy, Trial
from tests.cast import a_user

Visit = Callable[[str], Client]


@dataclass
class Queue:
    """What was sent to the workers; ``is_away`` makes the broker unreachable."""

    is_away: bool = False
    analyses: list[int] = field(default_factory=list)
    proxies: list[int] = field(default_factory=list)
    captures: list[int] = field(default_factory=list)
    trials: list[int] = field(default_factory=list)

    def send_analysis(self, analysis: Analysis) -> bool:
        if not self.is_away:
            self.analyses.append(analysis.pk)
        return not self.is_away

    def send_proxy(self, proxy: Proxy) -> bool:
        if not self.is_away:
            self.proxies.append(proxy.pk)
        return not self.is_away

    def send_capture(self, capture: Capture) -> bool:
        if not self.is_away:
            self.captures.append(capture.pk)
        return not self.is_away

    def send_trial(self, trial: Trial) -> bool:
        if not self.is_away:
            self.trials.append(trial.pk)
        return not self.is_away


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    queue = Queue()
    monkeypatch.setattr("workers.tasks.send_analysis", queue.send_analysis)
    monkeypatch.setattr("workers.tasks.send_proxy", queue.send_proxy)
    monkeypatch.setattr("workers.tasks.send_capture", queue.send_capture)
    monkeypatch.setattr("workers.tasks.send_trial", queue.send_trial)
    return queue


@pytest.fixture
def visit(db: None) -> Visit:
    """A browser of someone in a group: "" is in none, "anonymous" is not logged in."""

    def as_member(group: str) -> Client:
        client = Client()
        if group != "anonymous":
            client.force_login(a_user(group))
        return client

    return as_member


@pytest.fixture
def viewer(visit: Visit) -> Client:
    return visit("viewer")


@pytest.fixture
def reviewer(visit: Visit) -> Client:
    return visit("reviewer")


@pytest.fixture
def operator(visit: Visit) -> Client:
    return visit("operator")


@pytest.fixture
def incoming(settings, tmp_path: Path) -> Path:
    """The incoming folder, in which nothing may be left."""
    settings.INCOMING_DIR = tmp_path / "incoming"
    return tmp_path / "incoming"
