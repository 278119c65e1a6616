"""A backup that is damaged, was tampered with, or that this version cannot read is refused with a sentence.

And one that cannot be made is never half there.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from django.apps import apps
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection, models

from detection.backup import BackupError, files, making, manifest, names, state
from detection.backup.restoring import Restorer
from detection.models import Media, Proxy
from project.storage import from_url
from tests.cast import a_camera, a_done_analysis, a_media, a_model, a_user
from tests.installations import files_of, newest, rows_of

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture(autouse=True)
def storage(settings, tmp_path: Path) -> Path:
    """A storage of its own."""
    settings.STORAGES = {**settings.STORAGES, "default": from_url(f"file://{tmp_path}/media")}
    settings.DATA_DIR = tmp_path / "data"
    return tmp_path / "media"


@pytest.fixture
def system() -> Media:
    """A media with its result, and a camera."""
    a_model().activate()
    a_camera("Gate")
    return a_done_analysis(a_media()).media


@pytest.fixture
def folder(system: Media, tmp_path: Path) -> Path:
    """A backup folder with one backup of it."""
    run("backup", tmp_path / "backup")
    return tmp_path / "backup"


def run(command: str, folder: Path, *words: str) -> str:
    out = StringIO()
    call_command(command, str(folder), *words, stdout=out, stderr=out)
    return out.getvalue()


def refused(command: str, folder: Path, *words: str) -> str:
    """What it says; nothing is restored, nothing is left half made."""
    out = StringIO()
    with pytest.raises(CommandError) as error:
        call_command(command, str(folder), *words, stdout=out, stderr=out)
    assert list(folder.glob(f"{manifest.UNFINISHED}*")) == []
    return f"{out.getvalue()}{error.value}"


def resealed(folder: Path, change: Callable[[dict], None]) -> None:
    """Changes the manifest as somebody would who knows how it is sealed."""
    path = newest(folder) / "manifest.json"
    about = json.loads(path.read_text())
    change(about)
    text = json.dumps(about).encode()
    path.write_bytes(text)
    (path.parent / "manifest.sha256").write_text(f"{hashlib.sha256(text).hexdigest()}  manifest.json\n")


def rewritten(folder: Path, name: str, change: Callable[[list], object]) -> None:
    """Changes the lines of a part, and its sum in the manifest."""
    path = newest(folder) / name
    with gzip.open(path, "rt") as file:
        lines = [json.loads(line) for line in file]
    change(lines)
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    part = {
        "rows": len(lines) - 1,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    table = name.removesuffix(".jsonl.gz")
    resealed(
        folder, lambda about: about.update(files=part) if table == "files" else about["tables"].update({table: part})
    )


# What may happen to a backup that lies somewhere


def test_a_whole_one_is_called_whole(folder: Path) -> None:
    assert "is whole" in run("restore", folder, "--check")


@pytest.mark.parametrize("part", ["files.jsonl.gz", "detection.media.jsonl.gz", "manifest.json"])
@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_a_damaged_part_is_told(folder: Path, part: str, how: str) -> None:
    path = newest(folder) / part
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "changed":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.unlink()
    said = refused("restore", folder, "--check")
    assert part in said
    assert "damaged" in said or "missing" in said or "cannot be read" in said


@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_a_damaged_file_is_told_by_its_name(folder: Path, system: Media, how: str) -> None:
    path = folder / "files" / str(system.file.name)
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + (b"" if how == "cut" else b"?"))
    assert str(system.file.name) in refused("restore", folder, "--check")


def test_nothing_at_all_is_no_backup(tmp_path: Path) -> None:
    assert "There is no folder" in refused("restore", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "There is no whole backup" in refused("restore", tmp_path / "empty", "--check")


def test_one_of_another_name_is_not_there(folder: Path) -> None:
    assert f"there are {newest(folder).name}" in refused("restore", folder, "--backup", "../../etc")


# What somebody may have done to it


def no_rows() -> None:
    for model in (Media, apps.get_model("detection", "Camera"), apps.get_model("auth", "User")):
        model._base_manager.all().delete()


@pytest.mark.parametrize(
    "name", ["../../outside.txt", "/etc/outside.txt", "ab/../../outside.txt", "ab\\..\\outside.txt", "a\0b", "", "a//b"]
)
def test_a_name_that_leads_out_of_the_storage_is_refused(folder: Path, name: str, tmp_path: Path) -> None:
    rewritten(folder, "files.jsonl.gz", lambda lines: lines[1].__setitem__(0, name))
    assert "impossible name" in refused("restore", folder, "--check")
    no_rows()
    shutil.rmtree(tmp_path / "media")
    assert "tampered with" in refused("restore", folder)
    assert not list(tmp_path.rglob("outside.txt"))
    assert not (tmp_path / "media").exists()


def test_a_link_that_leads_out_of_the_backup_is_refused(folder: Path, system: Media, tmp_path: Path) -> None:
    no_rows()
    shutil.rmtree(tmp_path / "media")
    top = folder / "files" / str(system.file.name).split("/")[0]
    shutil.move(top, tmp_path / "elsewhere")
    top.symlink_to(tmp_path / "elsewhere")
    assert "by a link" in refused("restore", folder)
    assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()] == []


def test_a_table_with_an_odd_name_is_refused(folder: Path) -> None:
    resealed(folder, lambda about: about["tables"].update({"../../x": about["files"]}))
    assert "odd name" in refused("restore", folder, "--check")


@pytest.mark.parametrize("key", ["tables", "files", "migrations", "keys", "secrets", "made_at"])
def test_a_manifest_without_what_it_needs_is_refused(folder: Path, key: str) -> None:
    resealed(folder, lambda about: about.pop(key))
    assert "manifest.json is damaged" in refused("restore", folder, "--check")


def test_a_row_that_names_a_file_which_is_not_listed_is_refused(folder: Path, tmp_path: Path) -> None:
    rewritten(folder, "detection.media.jsonl.gz", lambda lines: lines[1].__setitem__(lines[0].index("file"), "../x"))
    no_rows()
    shutil.rmtree(tmp_path / "media")
    assert "names a file that it does not list" in refused("restore", folder)
    assert not Media.objects.exists()


def test_rows_that_do_not_belong_together_are_refused_and_none_is_there(folder: Path, tmp_path: Path) -> None:
    rewritten(folder, "detection.media.jsonl.gz", lambda lines: lines.pop())
    no_rows()
    shutil.rmtree(tmp_path / "media")
    assert "do not belong together" in refused("restore", folder)
    assert not apps.get_model("detection", "Analysis")._base_manager.exists()


@pytest.mark.parametrize(
    ("column", "value"), [("created_at", "yesterday"), ("bytes", "many"), ("address", "rtsp://plain"), ("id", None)]
)
def test_a_value_that_is_none_of_its_column_is_refused(
    folder: Path, column: str, value: object, tmp_path: Path
) -> None:
    table = "camera" if column == "address" else "media"
    rewritten(folder, f"detection.{table}.jsonl.gz", lambda lines: lines[1].__setitem__(lines[0].index(column), value))
    no_rows()
    shutil.rmtree(tmp_path / "media")
    said = refused("restore", folder)
    assert f"detection.{table}" in said.lower() or "CAMERA_KEYS" in said
    assert not Media.objects.exists()


def test_one_of_a_newer_version_is_refused(folder: Path) -> None:
    resealed(folder, lambda about: about["migrations"].append(["detection", "9999_tomorrow"]))
    said = refused("restore", folder, "--check")
    assert "made by a newer version" in said
    assert "detection.9999_tomorrow" in said
    resealed(folder, lambda about: about.update(format=manifest.FORMAT + 1))
    assert "of a newer format" in refused("restore", folder, "--check")


# Making one


def test_what_was_removed_after_the_rows_were_read_is_removed_when_it_is_restored(
    system: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = a_done_analysis(a_media(b"goes"), []).media
    copy = Proxy.objects.create(media=system, state=Proxy.State.DONE, bytes=1, file=f"{system.folder}/proxy-1.mp4")
    learn = making._Maker._learn

    def meanwhile(self: making._Maker, known: files.Index) -> None:
        other.remove()
        copy.remake()
        learn(self, known)

    default_storage.save(str(copy.file.name), files_content(b"x"))
    monkeypatch.setattr(making._Maker, "_learn", meanwhile)
    said = run("backup", tmp_path / "backup")
    assert "3 more were removed with their media meanwhile" in said  # file and small picture, and the copy
    assert len(rows_of(newest(tmp_path / "backup"))["detection.media"]) == 2
    assert sorted(fate for *_, fate in files_of(newest(tmp_path / "backup")))[-3:] == ["removed"] * 3
    no_rows()
    shutil.rmtree(tmp_path / "media")
    run("restore", tmp_path / "backup")
    assert [media.sha256 for media in Media.objects.all()] == [system.sha256]
    assert [(row.state, row.file.name) for row in Proxy.objects.all()] == [("queued", "")]


def files_content(data: bytes):
    from django.core.files.base import ContentFile

    return ContentFile(data)


def test_files_that_the_storage_has_lost_or_damaged_are_named_and_all_others_are_there(
    system: Media, tmp_path: Path
) -> None:
    lost = a_media(b"lost")
    default_storage.delete(str(lost.file.name))
    default_storage.save(str(system.file.name), files_content(b"other bytes"))
    said = refused("backup", tmp_path / "backup")
    assert f"{lost.file.name} is not in the storage" in said
    assert f"{system.file.name} has other bytes" in said
    assert "2 files are not in the backup as they should be" in said
    no_rows()
    shutil.rmtree(tmp_path / "media")
    assert "had lost 1 and damaged 1 files" in run("restore", tmp_path / "backup")
    assert Media.objects.count() == 2


def test_a_full_disk_leaves_no_half_backup_and_the_next_goes_on(
    system: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, taken = files.put, []

    def fills_up(*words: object) -> object:
        taken.append(words)
        if len(taken) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return put(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(making, "put", fills_up)
    assert "There is no room left" in refused("backup", tmp_path / "backup")
    assert manifest.backups(tmp_path / "backup") == []
    monkeypatch.setattr(making, "put", put)
    assert "Files: 1 copied" in run("backup", tmp_path / "backup")  # the media is known by its hash


def test_what_a_killed_one_left_is_cleared_away(folder: Path) -> None:
    left = folder / f"{manifest.UNFINISHED}2026-01-01T000000Z"
    left.mkdir()
    (left / "detection.media.jsonl.gz").write_bytes(b"half")
    stray = folder / "files/ab/of-no-backup.mp4"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"x")
    run("backup", folder)
    assert not left.exists()
    assert not stray.exists()
    assert "is whole" in run("restore", folder, "--check")


def test_the_oldest_go_with_the_files_that_only_they_have(folder: Path, system: Media) -> None:
    old = newest(folder).name
    name = str(system.file.name)
    system.remove()
    kept = a_media(b"kept")
    run("backup", folder, "--keep", "2")
    assert (folder / "files" / name).exists()
    assert f"Dropped the backup {old}" in run("backup", folder, "--keep", "2")
    assert not (folder / "files" / name).exists()
    assert (folder / "files" / str(kept.file.name)).exists()
    assert len(manifest.backups(folder)) == 2
    assert "is whole" in run("restore", folder, "--check")


def test_two_at_once_in_one_folder_are_refused(folder: Path) -> None:
    with manifest.held(folder), pytest.raises(CommandError, match="Another backup is being made"):
        call_command("backup", str(folder), stdout=StringIO())


def test_a_folder_that_cannot_be_made_is_told(system: Media, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot be written to" in refused("backup", tmp_path / "file")
    assert "--keep must be" in refused("backup", tmp_path / "backup", "--keep", "-1")


def test_neither_rows_nor_files_can_be_read_by_others(folder: Path) -> None:
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, newest(folder), folder / "files")] == ["0o700"] * 3


def test_no_secret_of_the_settings_is_in_it(folder: Path, settings) -> None:
    secrets = [settings.SECRET_KEY, *settings.CAMERA_KEYS, "s3cret"]
    for path in folder.rglob("*"):
        if path.is_file():
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], path


def test_a_key_that_is_not_the_right_one_is_noticed_in_the_rows_as_well(folder: Path, settings, tmp_path: Path) -> None:
    """The key of the backup is set; but an address was encrypted with an older one, which is not any more."""
    no_rows()
    shutil.rmtree(tmp_path / "media")
    other = "YW5vdGhlci1rZXktYW5vdGhlci1rZXktYW5vdGhlci0="
    resealed(folder, lambda about: about["keys"].append(manifest.fingerprint(other)))
    settings.CAMERA_KEYS = [other]
    assert "CAMERA_KEYS is not the key" in refused("restore", folder)
    assert not Media.objects.exists()


def test_a_database_of_tomorrow_is_not_backed_up(system: Media, tmp_path: Path) -> None:
    from django.db.migrations.recorder import MigrationRecorder

    recorder = MigrationRecorder(connection)
    recorder.record_applied("detection", "9999_tomorrow")
    try:
        assert "set up by a newer version" in refused("backup", tmp_path / "backup")
    finally:
        recorder.record_unapplied("detection", "9999_tomorrow")


def test_every_column_that_names_files_is_known() -> None:
    """A column that is added must be added to NAMING, too: its files would not be backed up otherwise."""
    of_models = {
        (model._meta.label_lower, field.name)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, models.FileField)
    }
    known = {(table, column) for table, columns in names.NAMING.items() for column in columns}
    assert known - of_models == {("detection.sighting", "thumbnail"), ("detection.model", "files")}
    assert of_models <= known


def test_every_table_is_either_backed_up_or_left_out_by_name() -> None:
    there = {model._meta.label_lower for model in state.tables(state.apps_at(state.applied()))}
    left_out = {
        model._meta.label_lower
        for model in apps.get_models(include_auto_created=True)
        if model._meta.app_label in state.LEFT_OUT_APPS
    }
    all_tables = {model._meta.label_lower for model in apps.get_models(include_auto_created=True)}
    assert all_tables - there == left_out | (state.LEFT_OUT & all_tables)


def test_a_restore_says_so_where_the_disk_is_too_small(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_rows()
    shutil.rmtree(tmp_path / "media")
    monkeypatch.setattr("detection.backup.restoring.free_at", lambda path: 3)
    assert "has 3 bytes left" in refused("restore", folder)
    assert not (tmp_path / "media").exists()


def test_a_database_in_use_is_not_restored_into(folder: Path) -> None:
    a_user("viewer")
    with pytest.raises(BackupError, match="in use: it has accounts"):
        Restorer(folder, newest(folder), lambda said: None).run()
