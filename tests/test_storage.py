"""The storage folder keeps only whole files; STORAGE_URL chooses folder or bucket."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.files.uploadedfile import TemporaryUploadedFile

from detection import storage
from detection.storage import DurableFileSystemStorage, MovableFile, clear_left_behind, local_copy, part_in
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
    # The new storage folder; the file, its name, the folder that holds the name.
    assert happened == ["fsync", "fsync", "rename", "fsync"]
    happened.clear()
    folder.save("ab/cd/one.txt", ContentFile(b"x"))
    assert happened == ["fsync", "fsync", "fsync", "rename", "fsync"]  # two new folders more, before the name


def test_while_it_is_written_a_file_lies_in_the_incoming_folder_only(folder, tmp_path):
    seen = []

    class Looks(ContentFile):
        def chunks(self, chunk_size=None):
            seen.extend(str(Path(name).parent) for name in everything_in(tmp_path))
            yield b"x"

    folder.save("ab/one.txt", Looks(b"x"))
    assert seen == ["media/incoming"]
    assert everything_in(tmp_path) == ["media/ab/one.txt"]
    assert folder.incoming == incoming_folder(f"file://{folder.location}", Path("/data"))


def test_folders_go_with_their_last_file_and_the_first_ones_stay(folder, tmp_path):
    for name in ("ab/one/media.mp4", "ab/one/sightings/1.jpg", "ab/two/media.mp4", "cd/three/media.mp4", "top.txt"):
        folder.save(name, ContentFile(b"x"))
    folder.delete("ab/one/sightings/1.jpg")
    assert folder.listdir("ab/one") == ([], ["media.mp4"])
    folder.delete("ab/one/media.mp4")
    assert folder.listdir("ab") == (["two"], [])
    folder.delete("cd/three/media.mp4")
    folder.delete("top.txt")
    folder.delete("never/there.txt")
    assert everything_in(tmp_path) == ["media/ab/two/media.mp4"]
    assert (tmp_path / "media/cd").is_dir()


def test_a_file_is_stored_though_its_folder_is_removed_in_that_moment(folder, monkeypatch):
    """Somebody removes a media while a picture is made from it."""
    replace, removed = Path.replace, []

    def removes_the_folder_first(self, target):
        if not removed:
            removed.append(target.parent)
            target.parent.rmdir()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", removes_the_folder_first)
    folder.save("ab/one/sightings/1.jpg", ContentFile(b"x"))
    assert removed
    assert folder.open("ab/one/sightings/1.jpg").read() == b"x"


KILLED = """
import sys, time
from pathlib import Path
from django.conf import settings
settings.configure()
from detection.storage import part_in
with part_in(Path(sys.argv[1])) as part:
    part.write(b"half")
    part.flush()
    print(part.name, flush=True)
    time.sleep(60)
"""


def aged(path: Path, seconds: float) -> Path:
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_what_a_killed_process_left_goes_soon_and_never_while_it_lives(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    part = aged(Path(process.stdout.readline().strip()), 3600)
    assert clear_left_behind(tmp_path) == 0
    assert part.read_bytes() == b"half"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert clear_left_behind(tmp_path) == 1
    assert not part.exists()


def test_what_was_just_begun_and_what_is_not_ours_is_left_alone(tmp_path):
    fresh, other = tmp_path / "upload-fresh", tmp_path / "somebody's"
    fresh.write_bytes(b"x")
    aged(fresh, storage.HELD_AT_LEAST_S - 30)  # it may not have its lock yet
    other.write_bytes(b"x")
    aged(other, 90_000)
    assert clear_left_behind(tmp_path) == 0
    assert clear_left_behind(tmp_path / "not there") == 0


def test_without_locks_only_a_days_age_tells(tmp_path, monkeypatch):
    def no_locks(handle, operation):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with part_in(tmp_path) as part:  # a file can be written all the same
        aged(Path(part.name), 3600)
        old = tmp_path / ".part-old"
        old.write_bytes(b"x")
        aged(old, 90_000)
        assert clear_left_behind(tmp_path) == 1
        assert not old.exists()
        assert Path(part.name).exists()


def test_a_part_keeps_its_lock_when_it_gets_its_name(folder, tmp_path):
    with part_in(folder.incoming) as part:
        part.write(b"x")
        part.flush()
        target = tmp_path / "moved"
        Path(part.name).replace(target)
        handle = os.open(target, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)
    assert target.read_bytes() == b"x"


def test_an_upload_on_the_same_disk_is_moved_and_not_copied(folder, tmp_path, settings):
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    with TemporaryUploadedFile("yard.mp4", "video/mp4", 4, None) as upload:
        upload.write(b"clip")
        upload.flush()
        inode = os.stat(upload.temporary_file_path()).st_ino
        folder.save("yard.mp4", upload)
        assert os.stat(folder.path("yard.mp4")).st_ino == inode


def test_a_file_made_in_the_incoming_folder_is_moved_and_not_copied(folder, tmp_path):
    with part_in(folder.incoming) as part:
        part.write(b"a copy")
        part.flush()
        inode = os.stat(part.name).st_ino
        with MovableFile(Path(part.name)) as file:
            folder.save("ab/proxy.mp4", file)
    assert os.stat(folder.path("ab/proxy.mp4")).st_ino == inode
    assert folder.open("ab/proxy.mp4").read() == b"a copy"
    assert everything_in(tmp_path) == ["media/ab/proxy.mp4"]


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


def test_copies_nobody_used_lately_make_room_on_a_disk_that_is_nearly_full(s3_url, tmp_path, monkeypatch):
    bucket = storages.create_storage(from_url(s3_url))
    for name in ("idle", "in-use", "new"):
        bucket.save(f"disk/{name}", ContentFile(b"x" * 1000))
    for name in ("idle", "in-use"):
        local_copy(f"disk/{name}", tmp_path, bucket)
    aged(tmp_path / "disk/idle", storage.IDLE_S + 60)
    monkeypatch.setattr("detection.disk.has_room_for", lambda size: False)
    local_copy("disk/new", tmp_path, bucket)
    assert everything_in(tmp_path) == ["disk/in-use", "disk/new"]


def test_the_age_of_a_part_is_told_by_the_clock_of_its_disk(tmp_path, monkeypatch):
    """That of a machine which is a minute ahead would have it for old before it has its lock."""
    (tmp_path / f"{storage.PART}x").write_bytes(b"new")
    monkeypatch.setattr(storage.time, "time", lambda: time.time_ns() / 1e9 + storage.HELD_AT_LEAST_S + 60)
    assert clear_left_behind(tmp_path) == 0


def test_a_copy_that_another_process_deletes_in_this_moment_is_fetched_again(s3_url, tmp_path, monkeypatch):
    """It once became an empty file, which every later analysis on this machine was given."""
    bucket = storages.create_storage(from_url(s3_url))
    bucket.save("ab/two.bin", ContentFile(b"bytes"))
    copy = local_copy("ab/two.bin", tmp_path, bucket)
    exists = Path.exists

    def exists_and_is_gone(path):
        was_there = exists(path)
        if path == copy and was_there:
            path.unlink()
        return was_there

    def gone_right_before(path, *args, **kwargs):
        if path == copy and exists(copy):
            copy.unlink()
        return utime(path, *args, **kwargs)

    utime = os.utime
    monkeypatch.setattr(Path, "exists", exists_and_is_gone)
    monkeypatch.setattr(os, "utime", gone_right_before)
    assert local_copy("ab/two.bin", tmp_path, bucket).read_bytes() == b"bytes"


def test_what_another_process_is_fetching_makes_no_room(s3_url, tmp_path, settings):
    settings.CACHE_MAX_BYTES = 10
    bucket = storages.create_storage(from_url(s3_url))
    bucket.save("one", ContentFile(b"x" * 1000))
    with part_in(tmp_path / "incoming") as part:
        aged(Path(part.name), 3600)
        local_copy("one", tmp_path, bucket)
        assert Path(part.name).exists()


def test_a_part_of_a_copy_that_a_killed_process_left_goes_with_the_next_copy(s3_url, tmp_path):
    bucket = storages.create_storage(from_url(s3_url))
    bucket.save("one", ContentFile(b"x"))
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming/.part-left").write_bytes(b"half")
    aged(tmp_path / "incoming/.part-left", 3600)
    local_copy("one", tmp_path, bucket)
    assert everything_in(tmp_path) == ["one"]


def test_a_copy_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, s3_url):
    bucket = storages.create_storage(from_url(s3_url))
    bucket.save("broken", ContentFile(b"x"))

    class BreaksOff:
        def download_fileobj(self, part):
            part.write(b"x")
            raise OSError("connection reset")

    class Source(ContentFile):
        obj = BreaksOff()

    monkeypatch.setattr(bucket, "open", lambda name: Source(b"x"))
    with pytest.raises(OSError, match="reset"):
        local_copy("broken", tmp_path, bucket)
    assert everything_in(tmp_path) == []


def test_a_large_file_of_a_bucket_is_never_whole_in_memory(s3_url, tmp_path, monkeypatch):
    bucket = storages.create_storage(from_url(s3_url))
    bucket.save("large", ContentFile(bytes(32 * 1024**2)))
    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", None)  # where django-storages would put it
    assert local_copy("large", tmp_path, bucket).stat().st_size == 32 * 1024**2
