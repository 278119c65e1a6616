"""What `manage.py backup` has written, `manage.py restore` brings back: every row and every file, wherever they lay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from project import folders
from tests.conftest import ROOT
from tests.installations import Installation, an_installation, files_of, newest, rows_of
from tests.processes import wait_for
from tests.s3 import s3_server
from tests.services import new_database

pytestmark = pytest.mark.slow
BACKED_UP = {
    "admin.logentry", "auth.group", "auth.group_permissions", "auth.permission", "auth.user", "auth.user_groups",
    "auth.user_user_permissions", "contenttypes.contenttype", "detection.analysis", "detection.camera",
    "detection.cameraevent", "detection.capture", "detection.chunk", "detection.media", "detection.model",
    "detection.notification", "detection.proxy", "detection.sighting", "detection.verdict",
}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Installation:
    """On SQLite and a folder, with something of everything in it."""
    system = an_installation(tmp_path_factory.mktemp("source") / "data")
    system.manage("prepare", "--no-example")
    system.python("-m", "tests.populated")
    return system


@pytest.fixture(scope="module")
def backup(source: Installation, tmp_path_factory) -> Path:
    """A backup folder with a backup of it."""
    folder = tmp_path_factory.mktemp("backup") / "folder"
    said = source.manage("backup", str(folder))
    assert "is whole" in said
    assert "CAMERA_KEYS is not in it" in said
    return folder


def restored(backup: Path, folder: Path, **settings: str) -> Installation:
    """A new installation with the newest backup in it, whose storage and rows agree."""
    system = an_installation(folder, **settings)
    assert "is restored" in system.manage("restore", str(backup))
    assert "All is well" in system.manage("check_storage", "--hash")
    return system


def backed_up_again(system: Installation, folder: Path) -> Path:
    system.manage("backup", str(folder))
    return newest(folder)


def without_leases(rows: dict[str, dict[str, dict]]) -> dict[str, dict[str, dict]]:
    """All but what says who is working on a row just now: that ends with a restore."""
    held = {"lease", "lease_until", "sent_at", "attempts", "state", "step"}
    return {
        table: {key: {column: row[column] for column in row.keys() - held} for key, row in by_key.items()}
        for table, by_key in rows.items()
    }


def test_every_table_has_rows_in_the_backup(backup: Path) -> None:
    """Otherwise the tests below prove nothing of it."""
    rows = rows_of(newest(backup))
    assert set(rows) >= BACKED_UP
    assert [table for table in BACKED_UP if not rows[table]] == []


def test_what_is_of_no_use_elsewhere_is_left_out(backup: Path) -> None:
    tables = set(rows_of(newest(backup)))
    left_out = {"sessions.session", "detection.loosefile", "detection.trial", "detection.heartbeat"}
    assert not tables & left_out
    assert not {table for table in tables if table.startswith("axes.")}


def test_a_backup_of_a_folder_and_sqlite_is_restored_whole(source: Installation, backup: Path, tmp_path: Path) -> None:
    system = restored(backup, tmp_path / "data")
    again = backed_up_again(system, tmp_path / "again")
    before, after = rows_of(newest(backup)), rows_of(again)
    assert without_leases(after) == without_leases(before)
    assert files_of(again) == files_of(newest(backup))
    assert len(files_of(again)) > 20
    assert system.manage("export") == source.manage("export")


def test_it_goes_to_postgresql_and_a_bucket_and_back(postgres_url: str, backup: Path, tmp_path: Path) -> None:
    with new_database(postgres_url) as database, s3_server("restored") as bucket:
        there = restored(backup, tmp_path / "data", DATABASE_URL=database, STORAGE_URL=bucket)
        again = backed_up_again(there, tmp_path / "again")
        assert without_leases(rows_of(again)) == without_leases(rows_of(newest(backup)))
        assert files_of(again) == files_of(newest(backup))
        # What is new there has a number of its own.
        added = "from tests.cast import a_done_analysis, a_media; print(a_done_analysis(a_media(b'new')).pk)"
        last = max(int(key) for key in rows_of(again)["detection.analysis"])
        assert int(there.manage("shell", "-v0", "-c", added).split()[-1]) > last
    back = restored(tmp_path / "again", tmp_path / "back")
    third = backed_up_again(back, tmp_path / "third")
    assert rows_of(third) == rows_of(again)
    assert files_of(third) == files_of(again)


def test_what_was_being_worked_on_goes_on_and_counts_as_no_attempt(backup: Path, tmp_path: Path) -> None:
    again = backed_up_again(restored(backup, tmp_path / "data"), tmp_path / "again")
    before, after = rows_of(newest(backup)), rows_of(again)
    held = {
        (table, key): row
        for table, rows in before.items()
        for key, row in rows.items()
        if row.get("lease") and row["state"] == "running"
    }
    assert len(held) == 4  # planned, looked at, finished, copied
    for (table, key), row in held.items():
        now = after[table][key]
        assert (now["lease"], now["attempts"]) == (None, row["attempts"] - 1)
        is_finish = row.get("step") == "finish"
        assert (now["state"], now.get("step")) == (
            ("running", "detect") if is_finish else ("queued", row.get("step"))
        ), (table, row)
    for name in ("analysis", "chunk", "proxy", "notification", "capture"):
        table, waits = f"detection.{name}", "planned" if name == "capture" else "queued"
        sent = [key for key, row in before[table].items() if row["state"] == waits and row["sent_at"]]
        assert sent, name
        assert [after[table][key]["sent_at"] for key in sent] == [None] * len(sent), name  # its message is gone


def test_a_further_backup_copies_only_what_is_new(source: Installation, tmp_path: Path) -> None:
    first = source.manage("backup", str(tmp_path))
    second = source.manage("backup", str(tmp_path))
    count = len(files_of(newest(tmp_path)))
    assert f"Files: {count} copied" in first
    assert f"Files: 0 copied (0 bytes), {count} were there." in second
    assert source.manage("restore", "--list", str(tmp_path)).count("rows") == 2


@pytest.mark.parametrize("on", ["sqlite", "postgresql"])
def test_a_backup_while_media_come_and_go_is_of_one_moment(on: str, request, tmp_path: Path) -> None:
    if on == "postgresql":
        with new_database(request.getfixturevalue("postgres_url")) as database:
            _backed_up_while_busy(tmp_path, DATABASE_URL=database)
    else:
        _backed_up_while_busy(tmp_path)


def _backed_up_while_busy(folder: Path, **settings: str) -> None:
    system = an_installation(folder / "data", **settings)
    system.manage("prepare", "--no-example")
    busy = subprocess.Popen(
        [sys.executable, "-m", "tests.populated", "churn"],
        cwd=ROOT,
        env=system.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert busy.stdout.readline() == "churning\n"
        files = folder / "data/media"
        wait_for("some media", lambda: len(list(files.glob("*/*/media.mp4"))) > 20, limit_s=60)
        for _ in range(3):
            system.manage("backup", str(folder / "backup"))
            assert busy.poll() is None
        _, __ = busy.communicate("enough", timeout=60)
    finally:
        busy.kill()
        busy.wait()
    assert busy.returncode == 0
    assert "is whole" in system.manage("restore", "--check", str(folder / "backup"))
    again = backed_up_again(restored(folder / "backup", folder / "restored"), folder / "again")
    after = rows_of(again)
    media = {row["id"] for row in after["detection.media"].values()}
    assert len(media) > 10
    # Whole results of all that is there but of the newest, which may have been under way, and of nothing else.
    for table in ("sighting", "chunk", "analysis"):
        of_media = {after["detection.analysis"][str(row.get("analysis_id", row["id"]))]["media_id"]
                    for row in after[f"detection.{table}"].values()}  # fmt: skip
        assert media - {max(media)} <= of_media <= media


def test_only_an_empty_system_is_restored_into(source: Installation, backup: Path, tmp_path: Path) -> None:
    said = source.manage("restore", str(backup), fails=True)
    assert "The database is in use: it has accounts (4) and media" in said
    system = an_installation(tmp_path / "data")
    stray = tmp_path / "data/media/ab/somebody-elses.mp4"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"x")
    said = system.manage("restore", str(backup), fails=True)
    assert "is in use: it has ab/somebody-elses.mp4, which is not of this backup" in said
    stray.unlink()
    assert "is restored" in system.manage("restore", str(backup))


def test_a_wrong_key_is_told_before_anything_is_touched(backup: Path, tmp_path: Path) -> None:
    other = "YW5vdGhlci1rZXktYW5vdGhlci1rZXktYW5vdGhlci0="
    system = an_installation(tmp_path / "data", CAMERA_KEYS=other)
    said = system.manage("restore", str(backup), fails=True)
    assert "CAMERA_KEYS is not the key that was set when this backup was made" in said
    assert not (tmp_path / "data/media").exists()
    assert not (tmp_path / "data/nightjar.sqlite3").exists()
    said = system.manage("restore", "--check", str(backup), fails=True)
    assert "is whole" in said
    assert "It could not be restored here: CAMERA_KEYS" in said
    # The right one may stand behind a new one.
    system.env["CAMERA_KEYS"] = f"{other},b25seS1mb3ItdGVzdHMtMDEyMzQ1Njc4OWFiY2RlZmc="
    assert "is restored" in system.manage("restore", str(backup))


def test_a_restore_that_was_broken_off_goes_on(backup: Path, tmp_path: Path) -> None:
    """Some files are there, one of them damaged, and no row is."""
    system = an_installation(tmp_path / "data")
    listed = [name for name, *_ in files_of(newest(backup))]
    for number, name in enumerate(listed[:5]):
        target = tmp_path / "data/media" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        content = (backup / "files" / name).read_bytes()
        target.write_bytes(content if number else b"?" * len(content))
    said = system.manage("restore", str(backup))
    assert "5 files are in the storage already" in said
    assert "All is well" in system.manage("check_storage", "--hash")


def test_nobody_starts_on_the_folder_while_it_is_restored_into(backup: Path, tmp_path: Path) -> None:
    held = folders.hold(folders.data_folder(tmp_path / "data"))
    try:
        said = an_installation(tmp_path / "data").manage("restore", str(backup), fails=True)
    finally:
        os.close(held)
    assert "Nightjar already runs on the data folder" in said
