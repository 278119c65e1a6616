"""The upload handler: what comes in lies hashed in the incoming folder, or is refused with a sentence."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import time
from io import BytesIO
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpRequest, UnreadablePostError
from django.test import RequestFactory
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from detection.storage import UPLOAD
from detection.views import upload_handler
from detection.views.upload_handler import HashingUploadHandler, IncomingFile
from tests.cast import a_user
from tests.disks import Free, a_disk


@pytest.fixture
def disk_with(monkeypatch: pytest.MonkeyPatch) -> Free:
    return a_disk(monkeypatch)


def a_post(**files: bytes) -> HttpRequest:
    """A form with these files, one of each name; it comes without a user, as to a view that asks for none."""
    parts = {name: SimpleUploadedFile(f"{name}.bin", content) for name, content in files.items()}
    body = encode_multipart(BOUNDARY, parts)
    return RequestFactory().generic("POST", "/", body, content_type=MULTIPART_CONTENT)


def the_files(request: HttpRequest) -> dict[str, IncomingFile]:
    return {name: request.FILES[name] for name in request.FILES}


def left_in(folder: Path) -> list[str]:
    gc.collect()
    return [path.name for path in folder.glob("*")] if folder.exists() else []


def test_a_file_lies_in_the_incoming_folder_with_its_hash(incoming: Path) -> None:
    content = os.urandom(700_000)  # more than two of the handler's blocks
    request = a_post(clip=content)
    file = the_files(request)["clip"]
    assert Path(file.temporary_file_path()).parent == incoming
    assert Path(file.temporary_file_path()).read_bytes() == content
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert (file.size, file.refusal, file.refusal_kind) == (len(content), "", "")
    request.close()
    assert left_in(incoming) == []


def test_a_file_that_was_stored_elsewhere_meanwhile_closes_quietly(incoming: Path, tmp_path: Path) -> None:
    request = a_post(clip=b"abc")
    Path(the_files(request)["clip"].temporary_file_path()).rename(tmp_path / "stored")
    request.close()
    assert (tmp_path / "stored").read_bytes() == b"abc"


def test_a_file_over_the_limit_is_refused_alone(incoming: Path, settings) -> None:
    settings.MEDIA_MAX_BYTES = 300_000
    request = a_post(first=b"a" * 1000, large=b"b" * 900_000, last=b"c" * 300_000)
    files = the_files(request)
    assert files["large"].refusal_kind == "too_large"
    assert "larger than the 293.0\xa0KB" in files["large"].refusal
    assert files["first"].sha256 == hashlib.sha256(b"a" * 1000).hexdigest()
    assert files["last"].sha256 == hashlib.sha256(b"c" * 300_000).hexdigest()
    assert len(left_in(incoming)) == 2
    request.close()
    assert left_in(incoming) == []


def test_a_full_disk_is_a_sentence_and_the_other_files_go_on(incoming: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk:
        """A file of a disk with room for nothing."""

        name = "full"

        def fileno(self) -> int:
            return 1_000_000  # none

        def write(self, _data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    real = upload_handler.tempfile.NamedTemporaryFile
    files = iter([FullDisk, lambda: real(dir=incoming, prefix=UPLOAD)])
    monkeypatch.setattr(upload_handler.tempfile, "NamedTemporaryFile", lambda **_: next(files)())
    request = a_post(first=b"x" * 10, second=b"y")
    got = the_files(request)
    assert got["first"].refusal_kind == "disk_full"
    assert got["first"].refusal == upload_handler.DISK_FULL
    assert got["second"].refusal == ""
    request.close()
    assert left_in(incoming) == []


def test_a_folder_that_cannot_be_written_is_a_sentence(settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings.INCOMING_DIR = tmp_path / "file" / "incoming"
    file = the_files(a_post(clip=b"abc"))["clip"]
    assert (file.refusal_kind, file.refusal) == ("not_kept", upload_handler.NOT_KEPT)


def test_a_folder_of_another_machine_that_is_away_is_said_as_where_the_file_is_taken_in(incoming: Path, monkeypatch):
    def gone(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", str(incoming))

    monkeypatch.setattr(upload_handler.tempfile, "NamedTemporaryFile", gone)
    file = the_files(a_post(clip=b"abc"))["clip"]
    assert (file.refusal_kind, file.refusal) == ("storage_away", upload_handler.NO_STORAGE)


def test_an_upload_that_is_cut_off_leaves_nothing(incoming: Path) -> None:
    body = encode_multipart(BOUNDARY, {"clip": SimpleUploadedFile("a.bin", b"z" * 600_000)})
    request = RequestFactory().generic("POST", "/", body[:400_000], content_type=MULTIPART_CONTENT)
    assert not request.FILES
    request.close()
    assert left_in(incoming) == []


def test_a_connection_that_breaks_leaves_nothing(incoming: Path) -> None:
    class Broken(BytesIO):
        def read(self, size: int = -1) -> bytes:
            data = super().read(size)
            if not data:
                raise OSError("the client is gone")
            return data

    body = encode_multipart(BOUNDARY, {"clip": SimpleUploadedFile("a.bin", b"z" * 600_000)})[:400_000]
    request = RequestFactory().generic("POST", "/", body, content_type=MULTIPART_CONTENT)
    request._stream = Broken(body)  # type: ignore[attr-defined]
    with pytest.raises(UnreadablePostError):
        request.FILES  # noqa: B018
    del request
    assert left_in(incoming) == []


def test_what_a_killed_process_left_goes_with_the_next_upload_and_what_is_in_use_stays(incoming: Path) -> None:
    incoming.mkdir()
    left, fresh, other = incoming / "upload-left", incoming / "upload-fresh", incoming / "other"
    for path in (left, fresh, other):
        path.write_text("left")
    for path in (left, other):
        os.utime(path, (time.time() - 90,) * 2)
    first = a_post(clip=b"abc")
    received = Path(the_files(first)["clip"].temporary_file_path())
    os.utime(received, (time.time() - 3600,) * 2)  # it is being probed for long
    second = a_post(clip=b"def")
    the_files(second)
    assert [path.exists() for path in (left, fresh, other, received)] == [False, True, True, True]


def test_what_is_announced_and_does_not_fit_is_refused_before_anything_is_written(
    incoming: Path, settings, disk_with
) -> None:
    disk_with(free=settings.DISK_RESERVE_BYTES + 1_000_000)
    fits, does_not = a_post(clip=b"a" * 900_000), a_post(clip=b"b" * 600_000, other=b"c" * 600_000)
    assert the_files(fits)["clip"].refusal == ""
    fits.close()
    file = the_files(does_not)["clip"]
    assert file.refusal_kind == "disk_full"
    assert "room for 976.6\xa0KB, and 1.1\xa0MB were to come in" in file.refusal
    assert the_files(does_not)["other"].refusal_kind == "disk_full"
    assert left_in(incoming) == []
    assert file.size == 600_000  # the form was read to its end, so that the browser gets the answer


def test_what_is_too_large_is_said_to_be_so_also_where_there_is_no_room(incoming: Path, settings, disk_with) -> None:
    settings.MEDIA_MAX_BYTES = 300_000
    disk_with(free=settings.DISK_RESERVE_BYTES + 200_000)
    files = the_files(a_post(large=b"a" * 300_001, small=b"b" * 1000))
    assert (files["large"].refusal_kind, files["small"].refusal_kind) == ("too_large", "disk_full")
    assert left_in(incoming) == []


def test_on_a_disk_that_is_nearly_full_all_is_refused(incoming: Path, settings, disk_with) -> None:
    disk_with(free=settings.DISK_RESERVE_BYTES)
    file = the_files(a_post(clip=b"abc"))["clip"]
    assert (file.refusal_kind, file.refusal) == ("disk_full", upload_handler.NEARLY_FULL)
    assert left_in(incoming) == []


def test_of_two_at_once_that_fit_only_alone_the_first_is_kept(incoming: Path, settings, disk_with) -> None:
    """Both were begun, and both broken off."""
    disk_with(free=settings.DISK_RESERVE_BYTES + 1_000_000)
    first, second, third = (HashingUploadHandler(None) for _ in range(3))
    first.handle_raw_input(BytesIO(), {}, 600_000, "boundary")
    second.handle_raw_input(BytesIO(), {}, 600_000, "boundary")
    assert (first.no_room, "room for 390.6\xa0KB" in second.no_room) == ("", True)
    first.new_file("clip", "a.mp4", "video/mp4", None)
    first.receive_data_chunk(b"x" * 250_000, 0)
    disk_with(free=settings.DISK_RESERVE_BYTES + 750_000)
    third.handle_raw_input(BytesIO(), {}, 390_000, "boundary")
    assert third.no_room == ""  # what has come in is not counted twice
    third.upload_complete()
    first.upload_interrupted()
    disk_with(free=settings.DISK_RESERVE_BYTES + 1_000_000)
    second = HashingUploadHandler(None)
    second.handle_raw_input(BytesIO(), {}, 1_000_000, "boundary")
    assert second.no_room == ""
    del second  # a request that nobody ended
    gc.collect()
    third.handle_raw_input(BytesIO(), {}, 1_000_000, "boundary")
    assert third.no_room == ""


def test_a_disk_that_others_fill_up_while_it_comes_in_breaks_it_off(
    incoming: Path, settings, disk_with, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_handler, "LOOKS_EVERY", 1_000_000)
    handler = HashingUploadHandler(None)
    handler.handle_raw_input(BytesIO(), {}, 3_000_000, "boundary")
    handler.new_file("clip", "a.mp4", "video/mp4", None)
    block = b"x" * 250_000
    for start in range(0, 750_000, 250_000):
        handler.receive_data_chunk(block, start)
    disk_with(free=settings.DISK_RESERVE_BYTES - 1)
    assert handler.file.refusal == ""
    assert len(left_in(incoming)) == 1
    handler.receive_data_chunk(block, 750_000)
    assert (handler.file.refusal_kind, handler.file.refusal) == ("disk_full", upload_handler.NEARLY_FULL)
    assert left_in(incoming) == []


def test_without_a_reserve_nobody_looks(incoming: Path, settings, disk_with) -> None:
    disk_with(free=0)
    settings.DISK_RESERVE_BYTES = 0
    assert the_files(a_post(clip=b"abc"))["clip"].refusal == ""


@pytest.mark.django_db
def test_nothing_is_kept_for_somebody_who_may_not_upload(incoming: Path) -> None:
    request = a_post(clip=b"abc")
    request.user = a_user("viewer")
    file = the_files(request)["clip"]
    assert file.refusal_kind == "forbidden"
    assert left_in(incoming) == []


@pytest.mark.django_db
def test_what_somebody_announces_who_may_not_upload_holds_no_room_back(incoming: Path, settings, disk_with) -> None:
    settings.MEDIA_MAX_BYTES = 100
    disk_with(free=settings.DISK_RESERVE_BYTES + 1_000_000)
    request = HttpRequest()
    request.user = a_user("viewer")
    forbidden, allowed = HashingUploadHandler(request), HashingUploadHandler(None)
    forbidden.handle_raw_input(BytesIO(), {}, 900_000, "boundary")
    allowed.handle_raw_input(BytesIO(), {}, 900_000, "boundary")
    assert allowed.no_room == ""
    forbidden.new_file("clip", "a.mp4", "video/mp4", None)
    forbidden.receive_data_chunk(b"x" * 101, 0)
    assert forbidden.file.refusal_kind == "forbidden"


@pytest.mark.django_db
def test_the_page_says_that_there_is_no_room_with_507(incoming: Path, settings, disk_with, operator) -> None:
    disk_with(free=settings.DISK_RESERVE_BYTES)
    answer = operator.post("/upload/", {"files": SimpleUploadedFile("a.jpg", b"abc")})
    assert answer.status_code == 507
    assert "nearly full, so this file was not kept" in answer.content.decode()
    assert left_in(incoming) == []
    answer = operator.post(
        "/upload/", {"files": SimpleUploadedFile("a.jpg", b"abc")}, headers={"Accept": "application/json"}
    )
    assert (answer.status_code, answer.json()["files"][0]["outcome"]) == (507, "refused")
