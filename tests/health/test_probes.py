"""The real probes, where what they look at is not well."""

from __future__ import annotations

import socket

import pytest
from django.test import Client

from detection import health
from detection.fields import Secret
from detection.health import probing, snapshot
from detection.health.probes import DISK, MIGRATIONS, STORAGE, SYSTEM
from detection.health.probing import look_at
from tests.cast import a_camera, a_user
from tests.disks import Free, a_disk

NEARLY_FULL = "The disk is nearly full, and new files are refused: make room on it, or remove media."


@pytest.fixture(autouse=True)
def anew(settings, monkeypatch):
    """Each look is a new one; and what is seen here is forgotten after, for other files look with the same probes."""
    settings.HEALTH_PROBE_S = 20.0
    monkeypatch.setattr(probing, "APART_S", 0.0)
    for probe in SYSTEM:
        monkeypatch.setattr(probe, "_latest", None)
        monkeypatch.setattr(probe, "_was_ok", True)


@pytest.fixture
def disk_with(monkeypatch, settings) -> Free:
    settings.DISK_RESERVE_BYTES = 1000
    return a_disk(monkeypatch)


def test_a_database_that_is_not_up_to_date_is_unwell(monkeypatch):
    pending = [0]
    monkeypatch.setattr("detection.health.probes.pending_migrations", lambda: pending[0])
    assert look_at([MIGRATIONS])["migrations"].is_ok
    pending[0] = 1
    outcome = look_at([MIGRATIONS])["migrations"]
    assert not outcome.is_ok
    assert outcome.says == "The database is not up to date (1 migrations): run `manage.py prepare`."


def test_a_storage_that_cannot_be_written_to_is_unwell(settings, tmp_path):
    settings.INCOMING_DIR = tmp_path / "incoming"
    assert look_at([STORAGE])["storage"].is_ok
    assert not any(settings.INCOMING_DIR.iterdir()), "it leaves nothing behind"
    (tmp_path / "taken").write_text("")
    settings.INCOMING_DIR = tmp_path / "taken" / "incoming"
    outcome = look_at([STORAGE])["storage"]
    assert not outcome.is_ok
    assert outcome.says == "The storage cannot be written to (Not a directory); the log has the rest."


def test_a_disk_that_is_nearly_full_is_unwell_and_what_it_has_free_is_told_all_the_same(disk_with):
    disk_with(1001)
    assert look_at([DISK])["disk"].is_ok
    disk_with(5000, data=1000)
    outcome = look_at([DISK])["disk"]
    assert (outcome.is_ok, outcome.says) == (False, NEARLY_FULL)
    assert outcome.found == {"media": 5000, "data": 1000}


def test_a_disk_that_does_not_tell_is_unwell(monkeypatch):
    def refuses(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("detection.disk.os.statvfs", refuses)
    outcome = look_at([DISK])["disk"]
    assert (outcome.is_ok, outcome.says) == (False, "How much room the disk has cannot be told.")


def test_what_a_nearly_full_disk_has_free_is_taken_down(disk_with, monkeypatch):
    monkeypatch.setattr(snapshot, "SYSTEM", (DISK,))
    disk_with(700, data=900)
    taken = snapshot.take()
    assert [(probe.is_ok, probe.says) for probe in taken.probes] == [(False, NEARLY_FULL)]
    assert taken.free_bytes == {"media": 700, "data": 900}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_no_look_touches_a_camera(settings):
    settings.CAMERA_ALLOW_LOOPBACK = True
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = "http://{}:{}/".format(*listener.getsockname())
        a_camera(address=Secret.of(address), state="failing", failures=3)
        taken = health.take()
        assert taken.records is not None
        assert taken.records.cameras["failing"] == 1, "it knows of the camera"
        client = Client()
        client.force_login(a_user("operator"))
        for path in ("/health/live", "/health/ready", "/health/system"):
            assert client.get(path).status_code == 200
        with pytest.raises(BlockingIOError):  # nobody has called
            listener.accept()
        with socket.create_connection(listener.getsockname(), timeout=10):
            listener.accept()[0].close()  # which it would have seen
