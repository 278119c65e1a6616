"""`manage.py check_storage`: what differs between storage and rows is told, and changed only where somebody says so."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage, storages
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from detection.management.commands import check_storage as command
from detection.models import LooseFile, Media, Model, Proxy, Sighting, stock
from detection.models.intake import sha256_of, take_in
from detection.storage import MovableFile, put
from project.storage import from_url
from tests.cast import CLIP, a_done_analysis, a_media
from tests.views.files import a_clip, a_jpeg

pytestmark = pytest.mark.django_db
DAY_S = 86_400


@pytest.fixture(autouse=True)
def folder(settings, tmp_path) -> Path:
    """A storage of its own."""
    settings.STORAGES = {**settings.STORAGES, "default": from_url(f"file://{tmp_path}/media")}
    settings.INCOMING_DIR = tmp_path / "media" / "incoming"
    return tmp_path / "media"


@pytest.fixture
def old(folder):
    """Makes all that is stored old enough for its row to have come."""

    def all_of_it() -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                os.utime(path, (time.time() - DAY_S,) * 2)

    return all_of_it


def check(*words: str, fails: bool = False) -> str:
    """What it prints; with ``fails``, its exit code is 1."""
    out = StringIO()
    if fails:
        with pytest.raises(SystemExit) as ended:
            call_command("check_storage", *words, stdout=out, stderr=out)
        assert ended.value.code == 1
    else:
        call_command("check_storage", *words, stdout=out, stderr=out)
    return out.getvalue()


def refused(*words: str) -> str:
    with pytest.raises(CommandError) as told:
        call_command("check_storage", *words, stdout=StringIO(), stderr=StringIO())
    assert told.value.returncode == 1
    return str(told.value)


def a_full_stock() -> Media:
    """A media with everything that can be made from one, and a model's weights."""
    media = a_media()
    a_done_analysis(media)
    Sighting.objects.update(thumbnail=put(f"{media.folder}/sightings/1.jpg", b"a thumbnail"))
    name = put(f"{media.folder}/proxy.mp4", b"a proxy")
    Proxy.objects.create(media=media, state="done", finished_at=timezone.now(), file=name, bytes=7)
    Model.objects.create(name="cars", files=[put("models/abc/cars.bin", b"weights")])
    return media


def an_orphan(name: str = f"ab/{'ab' * 32}-12345678/media.mp4", content: bytes = b"nobody's") -> str:
    return put(name, content)


# Looking


def test_where_all_is_well_it_says_so(old):
    a_full_stock()
    old()
    said = check("--hash")
    assert "Compared 5 files" in said
    assert "with the 5 that are named" in said
    assert said.endswith("All is well.\n")


def test_an_empty_storage_and_an_empty_database_agree():
    assert "All is well" in check()


def test_files_that_no_row_names_are_told_and_left_where_they_are(old):
    a_full_stock()
    names = [an_orphan(), an_orphan("elsewhere/deep/in/it.txt"), an_orphan("top.txt"), an_orphan("models/gone/x.bin")]
    old()
    said = check(fails=True)
    assert "Files that no row names: 4" in said
    for name in names:
        assert f"  {name}  8 bytes\n" in said
        assert default_storage.exists(name)
    assert "--delete-orphans" in said


def test_a_file_of_the_last_hour_may_still_get_its_row(folder):
    name = an_orphan()
    assert "All is well" in check()
    for age_s, is_old in ((stock.YOUNG_S - 60, False), (stock.YOUNG_S + 60, True)):
        os.utime(folder / name, (time.time() - age_s,) * 2)
        assert (name in check(fails=is_old)) is is_old


def test_what_is_coming_in_and_what_is_on_its_way_out_is_no_orphan(old, folder):
    LooseFile.expect([an_orphan()])
    (folder / "incoming" / "upload-xyz").write_bytes(b"half")
    old()
    said = check()
    assert "All is well" in said
    assert "1 more wait for their row, or to be deleted" in said
    assert (folder / "incoming" / "upload-xyz").exists()


@pytest.mark.parametrize(
    ("what", "words", "advice"),
    [
        ("media", "Media whose file is not there: 1", "Restore them from a backup"),
        ("preview", "Media whose small picture is not there: 1", "--remake-pictures"),
        ("copy", "Copies for browsers that are not there: 1", "--remake-copies"),
        ("thumbnail", "Sightings whose picture is not there: 1", "--remake-pictures"),
        ("weights", "Files of models that are not there: 1", "add the model again"),
    ],
)
def test_a_row_whose_file_is_not_there_is_told_with_what_to_do(old, what, words, advice):
    media = a_full_stock()
    old()
    name = {
        "media": media.file.name,
        "preview": media.preview.name,
        "copy": media.proxy.file.name,
        "thumbnail": Sighting.objects.get().thumbnail,
        "weights": Model.objects.get(name="cars").files[0],
    }[what]
    default_storage.delete(name)
    said = check(fails=True)
    assert words in said
    assert f"  {name}" in said
    assert advice in said
    assert said.count(" is not there") + said.count(" are not there") == 1


def test_a_row_whose_whole_folder_is_gone_is_told(folder):
    media = a_media()
    for name in (media.file.name, media.preview.name):
        default_storage.delete(name)
    (folder / media.folder[:2]).rmdir()
    assert f"{media.file.name}  (media {media.pk})" in check(fails=True)


def test_a_file_of_another_size_is_told(old):
    media = a_full_stock()
    put(media.file.name, b"a clip, longer")
    put(media.proxy.file.name, b"short")
    said = check(fails=True)
    assert f"{media.file.name}  14 bytes  instead of 6 bytes  (media {media.pk})" in said
    assert "Copies for browsers of another size: 1" in said


def test_a_copy_from_before_sizes_were_noted_is_not_of_another_size():
    media = a_full_stock()
    Proxy.objects.update(bytes=0)
    assert media.proxy.file.size == 7
    assert "All is well" in check()


def test_other_bytes_of_the_same_size_are_found_only_where_all_are_read():
    media = a_full_stock()
    put(media.file.name, b"A clip")
    assert "All is well" in check()
    said = check("--hash", fails=True)
    assert "Media whose file has other bytes than were taken in: 1" in said
    assert f"instead of SHA-256 {media.sha256}" in said


def test_a_file_that_lies_in_another_folder_than_its_media_is_there_all_the_same(old):
    a_full_stock()
    Sighting.objects.update(thumbnail=put("elsewhere/1.jpg", b"a thumbnail"))
    Proxy.objects.update(file=put("00/proxy.mp4", b"a proxy"))
    old()
    said = check(fails=True)
    assert "Files that no row names: 2" in said  # those of before
    assert "not there" not in said
    assert "elsewhere/1.jpg" not in said
    assert "00/proxy.mp4" not in said


def test_a_media_that_is_removed_while_it_looks_is_no_finding(old, monkeypatch):
    """Its rows were read, then it went, with its files."""
    media = a_media()
    old()
    files_in = stock.files_in

    def then_it_goes(storage, folder):
        if folder == media.folder[:2]:
            Media.objects.get().remove()
            LooseFile.clear()
        return files_in(storage, folder)

    monkeypatch.setattr(stock, "files_in", then_it_goes)
    assert "All is well" in check()
    assert not Media.objects.exists()


def test_a_media_that_is_on_its_way_out_while_it_looks_is_no_orphan(old, monkeypatch):
    media = a_media()
    old()
    rows_of = stock._rows_of

    def gone_before(folder):
        if folder == media.folder[:2]:
            Media.objects.all().delete()
            LooseFile.drop([media.file.name, media.preview.name])
        return rows_of(folder)

    monkeypatch.setattr(stock, "_rows_of", gone_before)
    assert "2 more wait" in check()


def test_a_row_that_comes_while_it_looks_makes_its_file_no_orphan(old, monkeypatch):
    media = a_media()
    old()
    rows_of = stock._rows_of
    monkeypatch.setattr(stock, "_rows_of", lambda folder: iter(()) if folder == media.folder[:2] else rows_of(folder))
    assert "All is well" in check()


def test_of_many_only_some_are_printed_and_json_has_all(old, monkeypatch):
    monkeypatch.setattr(command, "SHOWN", 3)
    monkeypatch.setattr(stock, "PAGE", 2)
    names = [an_orphan(f"ab/{'ab' * 32}-12345678/{number}.jpg") for number in range(7)]
    names += [an_orphan(f"elsewhere/{number}.jpg") for number in range(4)]
    old()
    said = check(fails=True)
    assert "Files that no row names: 11" in said
    assert "and 8 more; --json names all" in said
    lines = [json.loads(line) for line in check("--json", fails=True).splitlines()]
    assert sorted(line["name"] for line in lines[:-1]) == sorted(names)
    assert {line["kind"] for line in lines[:-1]} == {"orphan"}
    assert lines[-1]["sums"]["found"] == {"orphan": 11}
    assert lines[-1]["sums"]["files"] == 11


def test_nothing_secret_is_printed(settings, s3_url, monkeypatch):
    settings.STORAGES = {**settings.STORAGES, "default": from_url(s3_url)}
    monkeypatch.setitem(connection.settings_dict, "PASSWORD", "pl4nted")
    said = check()
    assert "s3://footage" in said
    assert "secret" not in said
    assert "pl4nted" not in said


# Deleting


def test_files_that_no_row_names_are_deleted_where_somebody_says_so(old):
    media = a_full_stock()
    orphan = an_orphan()
    old()
    said = check("--delete-orphans", "--max-share", "20")
    assert "Deleted: 1 of 1 files that no row names" in said
    assert "Delete them with" not in said
    assert not default_storage.exists(orphan)
    assert "All is well" in check()
    assert media.file.read() == b"a clip"


def test_it_goes_through_all_batches(old, monkeypatch):
    monkeypatch.setattr(stock, "AT_ONCE", 3)
    a_media()
    for number in range(10):
        an_orphan(f"ab/{'ab' * 32}-12345678/{number}.jpg")
    old()
    assert "Deleted: 10 of 10" in check("--delete-orphans", "--max-share", "90")


def test_with_no_media_in_the_database_nothing_is_deleted(old):
    """The wrong DATABASE_URL, or one that was just set up."""
    name = an_orphan()
    old()
    said = refused("--delete-orphans", "--max-share", "100")
    assert "the database has no media at all, and 1 of 1 files (100.0%) have no row" in said
    assert "DATABASE_URL" in said
    assert "STORAGE_URL" in said
    assert stock.database() in said
    assert default_storage.exists(name)
    assert "Deleted: 1 of 1" in check("--delete-orphans", "--force")


def test_where_too_many_have_no_row_nothing_is_deleted(old):
    """The wrong STORAGE_URL, or a database from a backup of last year."""
    a_media()
    names = [an_orphan(f"ab/{'ab' * 32}-12345678/{number}.jpg") for number in range(2)]
    old()
    assert "2 of 4 files (50.0%) have no row, and more than 5% is too much" in refused("--delete-orphans")
    assert "more than 49% is too much" in refused("--delete-orphans", "--max-share", "49")
    assert all(default_storage.exists(name) for name in names)
    sums = json.loads(check("--delete-orphans", "--json", fails=True).splitlines()[-1])["sums"]
    assert "2 of 4 files" in sums["refusal"]
    assert "Deleted: 2 of 2" in check("--delete-orphans", "--max-share", "50")


@pytest.mark.parametrize("share", ["-1", "101"])
def test_a_share_is_a_percentage(share):
    assert "from 0 to 100" in refused("--delete-orphans", "--max-share", share)


@pytest.mark.parametrize("names_it", ["media", "preview", "copy", "thumbnail", "weights", "loose"])
def test_a_row_that_comes_before_it_is_deleted_saves_it(old, monkeypatch, names_it):
    """Whatever kind of row it is, and wherever it lies."""
    a_full_stock()
    name = an_orphan()
    old()
    monkeypatch.setattr(stock, "_named_by_rows", lambda names: set())  # as if it came after that look

    def it_comes(self, orphans: int, most_share: float) -> str:
        match names_it:
            case "media" | "preview":
                Media.objects.update(**{"file" if names_it == "media" else "preview": name})
            case "copy":
                Proxy.objects.update(file=name)
            case "thumbnail":
                Sighting.objects.update(thumbnail=name)
            case "weights":
                Model.objects.filter(name="cars").update(files=["x", name])
            case "loose":
                LooseFile.expect([name])
        return ""

    monkeypatch.setattr(stock.Stock, "refusal", it_comes)
    with suppress(SystemExit):
        check("--delete-orphans")
    assert default_storage.exists(name)


def test_deleting_orphans_mends_nothing_else(old):
    media = a_media()
    an_orphan()
    default_storage.delete(media.preview.name)
    old()
    said = check("--delete-orphans", "--max-share", "60", fails=True)
    assert "Deleted: 1 of 1" in said
    assert "Media whose small picture is not there: 1" in said


# Mending


def test_a_lost_copy_is_queued_again(old, monkeypatch):
    sent = []
    monkeypatch.setattr("workers.tasks.send_proxy", sent.append)
    media = a_full_stock()
    name = media.proxy.file.name
    default_storage.delete(name)
    said = check("--remake-copies")
    assert "Queued to be made again: 1 of 1 copies" in said
    proxy = Proxy.objects.get()
    assert (proxy.state, proxy.file.name, proxy.bytes, proxy.attempts, proxy.finished_at) == ("queued", "", 0, 0, None)
    assert sent == [proxy]
    assert "All is well" in check()


def test_a_copy_of_another_size_is_made_again_and_what_lies_there_goes(old, monkeypatch):
    monkeypatch.setattr("workers.tasks.send_proxy", lambda proxy: False)
    media = a_full_stock()
    put(media.proxy.file.name, b"half")
    check("--remake-copies")
    LooseFile.clear()
    assert not default_storage.exists(media.proxy.file.name)


def test_a_copy_that_is_being_made_again_already_is_left_alone():
    media = a_full_stock()
    Proxy.objects.update(state="running")
    assert Proxy.objects.get().remake() is False
    assert Proxy.objects.get().file.name == media.proxy.file.name


@pytest.mark.parametrize("kind", ["image", "clip"])
def test_lost_small_pictures_are_made_again(tmp_path, kind):
    path = tmp_path / ("a.jpg" if kind == "image" else "a.mp4")
    if kind == "image":
        path.write_bytes(a_jpeg(size=(640, 360)))
    else:
        a_clip(path, frames=30)
    with MovableFile(path) as file:
        media = take_in(file, path, sha256_of(path), path.name).media
    a_done_analysis(media)
    first, second = (f"{media.folder}/sightings/{number}.jpg" for number in (1, 2))
    Sighting.objects.update(thumbnail=first)
    kept = Sighting.objects.get()
    kept.pk, kept.number, kept.thumbnail = None, 2, put(second, b"still there")
    kept.save()
    default_storage.delete(media.preview.name)
    said = check("--remake-pictures")
    assert "Made again: 1 of 1 media whose small picture" in said
    assert "Made again: 1 of 1 sightings whose picture" in said
    for name in (media.preview.name, first):
        assert default_storage.open(name).read(2) == b"\xff\xd8"
    assert default_storage.open(second).read() == b"still there"
    assert "All is well" in check()


def test_pictures_of_a_media_that_is_lost_itself_cannot_be_made_again():
    media = a_full_stock()
    for name in (media.file.name, media.preview.name, Sighting.objects.get().thumbnail):
        default_storage.delete(name)
    said = check("--remake-pictures", fails=True)
    assert f"The pictures of media {media.pk} could not be made again" in said
    assert "Made again" not in said


# A bucket


def test_a_bucket_is_checked_in_the_same_way(settings, s3_url, monkeypatch):
    settings.STORAGES = {**settings.STORAGES, "default": from_url(s3_url.replace("/footage", "/footage/yard"))}
    storages.create_storage(from_url(s3_url)).save("elsewhere.txt", ContentFile(b"not of this installation"))
    media = a_full_stock()
    orphan, top = an_orphan(), an_orphan("top.txt")
    monkeypatch.setattr(stock, "YOUNG_S", -DAY_S)  # nothing in a bucket can be made older than it is
    said = check("--hash", fails=True)
    assert "Compared 7 files" in said
    assert "Files that no row names: 2" in said
    assert orphan in said
    assert f"  {top}" in said
    put(media.file.name, b"A clip")
    default_storage.delete(media.preview.name)
    said = check("--hash", fails=True)
    assert "has other bytes" in said
    assert "Media whose small picture is not there: 1" in said
    check("--delete-orphans", "--max-share", "50", fails=True)
    assert not default_storage.exists(orphan)
    assert media.file.read() == b"A clip"
    assert storages.create_storage(from_url(s3_url)).exists("elsewhere.txt")


def test_a_clip_of_another_kind_is_named_like_all(old):
    """Older installations have no token in their folders' names."""
    media = a_media(b"older", replace(CLIP, format="mov"))
    name = put(f"{media.sha256[:2]}/{media.sha256}/media.mov", b"older")
    default_storage.delete(media.file.name)
    Media.objects.update(file=name)
    old()
    assert "All is well" in check()
