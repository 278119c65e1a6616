"""A system of the version before, with all that people have in it, goes on under this version."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installations import Installation, an_installation, files_of, newest, rows_of
from tests.services import new_database

# Everything a person who may see all looks at, and the work that was left, done by today's code.
PAGES = """
from django.contrib.auth.models import User
from django.test import Client
from detection.models import Analysis, Camera, Media
browser = Client(SERVER_NAME="localhost")
browser.force_login(User.objects.get(username="grace"))
paths = ["/", "/media/", "/sightings/", "/analyses/", "/cameras/", "/upload/", "/metrics"]
paths += [f"/media/{pk}/" for pk in Media.objects.values_list("pk", flat=True)]
paths += [row.get_absolute_url() for row in (*Analysis.objects.all(), *Camera.objects.all())]
for model in ("analysis", "camera", "capture", "media", "model", "sighting", "verdict"):
    paths.append(f"/admin/detection/{model}/")
    from django.apps import apps
    first = apps.get_model("detection", model).objects.first()
    paths.append(f"/admin/detection/{model}/{first.pk}/change/")
for path in paths:
    answer = browser.get(path, follow=True)
    assert answer.status_code == 200, (path, answer.status_code)
    assert path not in ("/sightings/",) or b"van" in answer.content
print(len(paths), "pages")
"""
WORK = """
from detection.models import Analysis, Chunk, Notification
from detection.vision.types import DetectStats
from detection.vision.pack import pack
chunk = Chunk.claim(Chunk.objects.get(worker="analyse@gone").pk, "today")
assert chunk.finish(pack([]), DetectStats(125, 25, 0, 0.1, 0.1))
for name in ("looked at", "ready"):
    row = Analysis.claim_finish(Analysis.objects.get(media__name=f"{name}.mp4").pk, "today")
    row.finish([], {}, 0.1)
assert Analysis.claim(Analysis.objects.get(media__name="queued.mp4").pk, "today").planned([])  == []
assert Notification.claim(Notification.objects.get().pk, "today")
assert Analysis.objects.get(media__name="broken.mp4").retry()
print("worked")
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The system as the version before left it: made once, and not touched."""
    folder = tmp_path_factory.mktemp("previous") / "data"
    if request.param == "sqlite":
        system = an_installation(folder)
        system.python("-m", "tests.previous")
        yield system
        return
    with new_database(request.getfixturevalue("postgres_url")) as database:
        system = an_installation(folder, DATABASE_URL=database)
        system.python("-m", "tests.previous")
        yield system


@pytest.fixture
def previous(made: Installation, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Installation]:
    """A copy of it for each test."""
    shutil.copytree(made.env["DATA_DIR"], tmp_path / "data")
    if "DATABASE_URL" not in made.env:
        yield an_installation(tmp_path / "data")
        return
    template = made.env["DATABASE_URL"].rpartition("/")[2]
    with new_database(request.getfixturevalue("postgres_url"), template) as database:
        yield an_installation(tmp_path / "data", DATABASE_URL=database)


def test_nothing_of_the_version_before_is_lost_or_changed(previous: Installation, tmp_path: Path) -> None:
    previous.manage("backup", str(tmp_path / "before"))  # by this version, before it has touched anything
    assert "run `make setup`" in previous.manage("up", fails=True)
    previous.manage("prepare", "--no-example")  # what `make run` does
    previous.manage("backup", str(tmp_path / "after"))
    before, after = rows_of(newest(tmp_path / "before")), rows_of(newest(tmp_path / "after"))
    assert len(before["detection.analysis"]) == 6
    for table, rows in before.items():
        if table in ("auth.permission", "contenttypes.contenttype", "auth.group_permissions"):
            continue  # what came in with this version is there as well
        assert after[table].keys() == rows.keys(), table
        for key, row in rows.items():
            assert {column: after[table][key][column] for column in row} == row, (table, key)
    assert files_of(newest(tmp_path / "after")) == files_of(newest(tmp_path / "before"))


def test_its_pages_hold_and_its_work_goes_on(previous: Installation) -> None:
    previous.manage("prepare", "--no-example")
    assert "pages" in previous.manage("shell", "-v0", "-c", PAGES)
    assert "worked" in previous.manage("shell", "-v0", "-c", WORK)
    assert "All is well" in previous.manage("check_storage", "--hash")


def test_a_backup_of_it_is_restored_by_this_version(previous: Installation, tmp_path: Path) -> None:
    previous.manage("backup", str(tmp_path / "backup"))
    system = an_installation(tmp_path / "restored")
    assert "is restored" in system.manage("restore", str(tmp_path / "backup"))
    system.manage("prepare", "--no-example")
    assert "pages" in system.manage("shell", "-v0", "-c", PAGES)
    assert "All is well" in system.manage("check_storage", "--hash")
    system.manage("backup", str(tmp_path / "after"))
    before, after = rows_of(newest(tmp_path / "backup")), rows_of(newest(tmp_path / "after"))
    assert {table: len(rows) for table, rows in before.items() if table.startswith("detection.")} == {
        table: len(after[table]) for table in before if table.startswith("detection.")
    }


def test_a_backup_of_it_is_not_restored_into_the_tables_of_this_version(previous: Installation, tmp_path: Path) -> None:
    previous.manage("backup", str(tmp_path / "backup"))
    system = an_installation(tmp_path / "restored")
    (tmp_path / "restored").mkdir()
    system.manage("migrate", "-v0")
    said = system.manage("restore", str(tmp_path / "backup"), fails=True)
    assert "restore it into a database without tables" in said
