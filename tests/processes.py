"""Looking at the real processes that a test started."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import requests

MARK = "NIGHTJAR_TEST_MARK"
# So many times longer than here tests wait until they give up, and so much more time something may take, where they run
# side by side on a machine that may be slow.
PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))
NOT_OURS = (
    "DJANGO_SETTINGS_MODULE",
    "DATABASE_URL",
    "BROKER_URL",
    "STORAGE_URL",
    "NIGHTJAR_TEST_DATA_DIR",
    "NIGHTJAR_TEST_RUNNER",
    "TEST_DATABASE_URL",
)


def environment(data_dir: Path, port: int, **more: str) -> dict[str, str]:
    """The environment of an installation of its own: nothing of the tests' settings, or of this machine's, is in it."""
    return {
        **{name: value for name, value in os.environ.items() if name not in NOT_OURS},
        "NIGHTJAR_ENV_FILE": os.devnull,
        "SECRET_KEY": "an-installation-for-one-test-" + "0123456789abcdefghijklmnopqrstuv",
        "FLOWER_PASSWORD": "for-one-test",
        "CAMERA_KEYS": "b25seS1mb3ItdGVzdHMtMDEyMzQ1Njc4OWFiY2RlZmc=",
        "DATA_DIR": str(data_dir),
        "PORT": str(port),
        "NO_COLOR": "1",
        **more,
    }


def marked(mark: str) -> dict[int, str]:
    """The command line of each living process that has this mark in its environment, by process id."""
    found: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                if words != [b""]:  # a zombie has none
                    found[int(folder.name)] = b" ".join(words).decode()
    return found


def kill_marked(mark: str) -> None:
    for pid in marked(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_for(what: str, holds: Callable[[], object], limit_s: float = 30.0) -> float:
    """Waits until something holds and returns how many seconds that took; fails where it takes too long."""
    limit_s *= PATIENCE
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < limit_s, f"not within {limit_s} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - started


def answers(url: str, ask: Callable[..., requests.Response] = requests.get) -> bool:
    """Whether a page is there, with 200."""
    try:
        return ask(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False
