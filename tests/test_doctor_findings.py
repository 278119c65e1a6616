"""What the doctor finds that is wrong, check by check; tests/commands/test_doctor.py has the command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile

from detection.storage import DurableFileSystemStorage
from project.doctor import configuration, connections, machine
from project.doctor.findings import Finding, Level
from tests.cast import a_model
from tests.disks import a_disk

Look = Callable[[], Iterator[Finding]]


def only(look: Look) -> Finding:
    (finding,) = look()
    return finding


@pytest.mark.parametrize(
    ("free", "level", "says"),
    [
        (1000, Level.ERROR, "below DISK_RESERVE_BYTES: nothing new is taken in."),
        (1001, Level.WARNING, "soon below DISK_RESERVE_BYTES."),
        (1999, Level.WARNING, "soon below DISK_RESERVE_BYTES."),
        (2000, Level.OK, "free for media."),
    ],
)
def test_a_disk_with_little_room_is_told(settings, monkeypatch, free, level, says):
    settings.DISK_RESERVE_BYTES = 1000
    a_disk(monkeypatch)(free, data=5000)
    media, other = machine.disks()
    assert (media.level, says in media.sentence) == (level, True), media.sentence
    assert (other.level, "the other data" in other.sentence) == (Level.OK, True)


def test_a_machine_without_time_zones_is_told(monkeypatch):
    assert only(machine.time_zones).level == Level.OK
    monkeypatch.setattr(machine, "available_timezones", set)
    finding = only(machine.time_zones)
    assert (finding.level, "no time zone data" in finding.sentence) == (Level.ERROR, True)


@pytest.mark.parametrize(
    ("bound", "value", "level", "says"),
    [
        ("OLDEST", (3, 99), Level.ERROR, "is too old"),
        ("NEWEST_TRIED", (3, 1), Level.WARNING, "is newer than any that was tried"),
    ],
)
def test_a_python_that_was_not_tried_is_told(monkeypatch, bound, value, level, says):
    monkeypatch.setattr(machine, bound, value)
    running = "Python {}.{} ".format(*sys.version_info)
    first, *_ = machine.versions()
    assert (first.level, first.sentence.startswith(running + says)) == (level, True), first.sentence


def test_a_data_folder_that_cannot_be_used_is_told(settings, tmp_path: Path):
    settings.DATA_DIR = tmp_path / "data"
    finding = only(machine.own_folders)
    assert (finding.level, "is not there: `make setup`" in finding.sentence) == (Level.WARNING, True)
    assert not settings.DATA_DIR.exists(), "looking makes nothing"
    settings.DATA_DIR.write_text("a file")
    finding = only(machine.own_folders)
    assert finding.level == Level.ERROR
    assert finding.sentence.startswith(f"The data folder {settings.DATA_DIR} cannot be written to (")


def test_a_storage_that_gives_back_other_bytes_is_told(monkeypatch):
    assert only(connections.storage).level == Level.OK
    monkeypatch.setattr(DurableFileSystemStorage, "open", lambda self, name: ContentFile(b"other"))
    finding = only(connections.storage)
    assert (finding.level, "does not give back what was written" in finding.sentence) == (Level.ERROR, True)


@pytest.mark.django_db
def test_where_nobody_can_administer_it_that_is_told():
    User.objects.create_superuser("gone", is_active=False)
    User.objects.create_user("somebody")
    finding = only(connections.people)
    assert (finding.level, finding.subject) == (Level.WARNING, "accounts")
    assert finding.sentence == "Nobody is administrator: `manage.py createsuperuser`."
    User.objects.create_superuser("here")
    assert [*connections.people()] == []


@pytest.mark.django_db
def test_an_active_model_without_files_is_told():
    a_model("cars").activate()
    finding = only(connections.model)
    assert (finding.level, "names no files" in finding.sentence) == (Level.ERROR, True), finding.sentence


@pytest.mark.parametrize(
    ("look", "given", "level", "says"),
    [
        (configuration.names, {"METRICS_TOKEN": "x" * 15}, Level.WARNING, "METRICS_TOKEN is easy to guess"),
        (configuration.names, {"SITE_URL": "nightjar.example"}, Level.ERROR, "SITE_URL must be such as https://"),
        (
            configuration.names,
            {"SITE_URL": "http://localhost", "HTTPS": True, "TRUSTED_PROXIES": ["127.0.0.1"]},
            Level.WARNING,
            "HTTPS is set and SITE_URL begins with http://",
        ),
        (configuration.told, {"NOTIFY_EMAILS": ["a@example.org"]}, Level.WARNING, "NOTIFY_EMAILS is set and EMAIL_URL"),
        (configuration.told, {"NOTIFY_WEBHOOK_URL": "ftp://x/"}, Level.ERROR, "NOTIFY_WEBHOOK_URL must begin with"),
        (
            configuration.told,
            {"NOTIFY_APPRISE_URLS": ["json://localhost", "no-such://x"]},
            Level.ERROR,
            "Address 2 of NOTIFY_APPRISE_URLS is none",
        ),
        (configuration.flower, {"FLOWER_PASSWORD": ""}, Level.WARNING, "FLOWER_PASSWORD is not set"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_setting_that_is_not_well_is_told(
    settings, monkeypatch, look: Look, given: dict[str, Any], level: Level, says: str
):
    monkeypatch.delenv("EMAIL_URL", raising=False)
    assert {finding.level for finding in look()} == {Level.OK}, "without it nothing is said"
    for name, value in given.items():
        setattr(settings, name, value)
    wrong = [finding for finding in look() if finding.level != Level.OK]
    assert [(one.level, one.sentence.startswith(says)) for one in wrong] == [(level, True)], wrong


def test_a_token_that_is_long_enough_is_not_told(settings):
    settings.METRICS_TOKEN = "x" * configuration.TOKEN_LEAST
    assert not any("METRICS_TOKEN" in finding.sentence for finding in configuration.names())
