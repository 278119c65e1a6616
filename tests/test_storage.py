"""The storage folder keeps only whole files; STORAGE_URL chooses folder or bucket."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.files.uploadedfile import TemporaryUploadedFile

from detection.storage import DurableFileSystemStorage, local_copy
from project.storage import from_url, incoming_folder


@pytest.fixture
def folder(tmp_path) -> DurableFileSystemStorage:
    return DurableFileSystemStorage(location=tmp_path / "media", allow_overwrite=True)


def everything_in(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


def test_what_is_stored_can_be_read_and_written_over(folder, tmp_path):
    assert folder.save("ab/one.txt", ContentFile(b"first")) == "ab/one.txt"
    assert folder.save("ab/one.txt", ContentFile(b"second")) == "ab/one.txt"
    assert folder.open("ab/one.txt").read() == b"second"
    assert everything_in(tmp_path) == ["media/ab/one.txt"]


def test_a_write_that_breaks_off_leaves_nothing_and_not_half(folder, tmp_path):
    folder.save("ab/one.txt", ContentFile(b"whole"))

    class Breaks(ContentFile):
        def chunks(self, chunk_size=None):
            yield b"ha"
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        folder.save("ab/one.txt", Breaks(b"half"))
    assert folder.open("ab/one.txt").read() == b"whole"
    assert everything_in(tmp_path) == ["media/ab/one.txt"]


def test_a_file_is_on_the_disk_before_it_has_its_name(folder, monkeypatch):
    happened = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (happened.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (happened.append("rename"), replace(self, to))[1])
    folder.save("one.txt", ContentFile(b"x"))
    assert happened == ["fsync", "rename", "fsync"]  # the file, its name, the folder that holds the name


def test_an_upload_on_the_same_disk_is_moved_and_not_copied(folder, tmp_path, settings):
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    with TemporaryUploadedFile("yard.mp4", "video/mp4", 4, None) as upload:
        upload.write(b"clip")
        upload.flush()
        inode = os.stat(upload.temporary_file_path()).st_ino
        folder.save("yard.mp4", upload)
        assert os.stat(folder.path("yard.mp4")).st_ino == inode


def test_a_folder_url_names_a_folder():
    entry = from_url("file:///srv/night%20jar")
    assert entry["OPTIONS"]["location"] == "/srv/night jar"
    assert incoming_folder("file:///srv/media", Path("/data")) == Path("/srv/media/incoming")
    assert incoming_folder("s3://k:s@host/b", Path("/data")) == Path("/data/incoming")


def test_a_bucket_url_names_server_keys_bucket_and_prefix():
    entry = from_url("s3://key:se%2Fcret@s3.example.org:9000/footage/yard?region=eu-west-1&tls=false")
    options = entry["OPTIONS"]
    assert (options["bucket_name"], options["location"]) == ("footage", "yard")
    assert (options["access_key"], options["secret_key"]) == ("key", "se/cret")
    assert options["endpoint_url"] == "http://s3.example.org:9000"
    assert options["region_name"] == "eu-west-1"
    assert "endpoint_url" not in from_url("s3:///footage")["OPTIONS"]


@pytest.mark.parametrize("url", ["", "ftp://host/x", "file://host/x", "s3://host/", "/srv/media"])
def test_a_wrong_storage_url_is_refused_with_what_is_right(url):
    with pytest.raises(ImproperlyConfigured, match="file:///FOLDER or s3://"):
        from_url(url)


def test_a_real_s3_server_stores_and_gives_back(s3_url, tmp_path):
    entry = from_url(s3_url)
    bucket = storages.create_storage(entry)
    assert bucket.save("ab/one.bin", ContentFile(b"bytes" * 1000)) == "ab/one.bin"
    assert bucket.save("ab/one.bin", ContentFile(b"other")) == "ab/one.bin"
    copy = local_copy("ab/one.bin", tmp_path, bucket)
    assert copy.read_bytes() == b"other"
    assert everything_in(tmp_path) == ["ab/one.bin"]
    bucket.delete("ab/one.bin")
    assert not bucket.exists("ab/one.bin")
    assert local_copy("ab/one.bin", tmp_path, bucket) == copy  # once fetched it is at hand


def test_copies_of_a_bucket_make_room_for_each_other(s3_url, tmp_path, settings):
    settings.CACHE_MAX_BYTES = 2500
    bucket = storages.create_storage(from_url(s3_url))
    for name in "abc":
        bucket.save(f"room/{name}", ContentFile(b"x" * 1000))
        local_copy(f"room/{name}", tmp_path, bucket)
        os.utime(tmp_path / "room" / name, (ord(name), ord(name)))
    assert everything_in(tmp_path) == ["room/b", "room/c"]


def test_a_copy_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, s3_url):
    bucket = storages.create_storage(from_url(s3_url))
    bucket.save("broken", ContentFile(b"x"))

    def breaks(self, chunk_size=None):
        yield b"x"
        raise OSError("connection reset")

    monkeypatch.setattr("django.core.files.base.File.chunks", breaks)
    with pytest.raises(OSError, match="reset"):
        local_copy("broken", tmp_path, bucket)
    assert everything_in(tmp_path) == []
