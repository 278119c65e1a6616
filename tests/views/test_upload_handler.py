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

from detection.views import upload_handler
from detection.views.upload_handler import HashingUploadHandler, IncomingFile
from tests.cast import a_user


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
    assert (file.size, file.refusal, file.too_large) == (len(content), "", False)
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
    assert files["large"].too_large
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

        def write(self, _data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    real = upload_handler.tempfile.NamedTemporaryFile
    files = iter([FullDisk, lambda: real(dir=incoming, prefix=upload_handler.PREFIX)])
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


def test_what_a_killed_process_left_is_cleared_after_a_day(incoming: Path) -> None:
    incoming.mkdir()
    old, fresh, other = incoming / "upload-old", incoming / "upload-fresh", incoming / "other"
    for path in (old, fresh, other):
        path.write_text("left")
    for path in (old, other):
        os.utime(path, (time.time() - 90_000,) * 2)
    HashingUploadHandler(None).new_file("f", "a.jpg", "image/jpeg", None)
    assert not old.exists()
    assert fresh.exists()
    assert other.exists()


@pytest.mark.django_db
def test_nothing_is_kept_for_somebody_who_may_not_upload(incoming: Path) -> None:
    request = a_post(clip=b"abc")
    request.user = a_user("viewer")
    file = the_files(request)["clip"]
    assert file.refusal_kind == "forbidden"
    assert left_in(incoming) == []
