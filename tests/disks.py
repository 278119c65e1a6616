"""Disks that have as much free as a test says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import settings

Free = Callable[..., None]


def a_disk(monkeypatch: pytest.MonkeyPatch) -> Free:
    """Answers a function that says what is free, where new media come in and, unless that is the same, elsewhere."""

    def with_free(free: int, data: int | None = None) -> None:
        def statvfs(path: Path | str) -> SimpleNamespace:
            is_media = data is None or Path(path) == Path(settings.INCOMING_DIR)
            return SimpleNamespace(f_bavail=free if is_media else data, f_frsize=1)

        monkeypatch.setattr("detection.disk.os.statvfs", statvfs)

    return with_free
