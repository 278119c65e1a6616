"""Uploading: every file has its outcome beside its name, as a page and as JSON."""

from __future__ import annotations

import errno
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import EndpointConnectionError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.test import Client

from detection.models import Analysis, LooseFile, Media, Proxy
from detection.models.speed import Speed
from tests.cast import IMAGE, a_media, a_user
from tests.counting import counted, fresh_counts
from tests.views.conftest import Queue
from tests.views.files import a_clip, a_jpeg

__all__ = ["fresh_counts"]

pytestmark = pytest.mark.usefixtures("incoming")


def send(client: Client, *files: tuple[str, bytes], json: bool = True) -> Any:
    accept = "application/json" if json else "text/html"
    uploads = [SimpleUploadedFile(name, content) for name, content in files]
    return client.post("/upload/", {"files": uploads}, headers={"accept": accept})


def a_zip() -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.jpg", b"x")
    return out.getvalue()


def test_the_page_says_its_limits_before_anything_is_sent(operator: Client, settings) -> None:
    page = operator.get("/upload/").text
    for limit in (
        "JPEG, PNG, WebP",
        "MP4, MOV, MKV, WebM, AVI, MPEG-TS",
        "8.0",
        "50 megapixels",
        "4 hours",
        "500 files",
    ):
        assert limit in page


def test_an_image_is_accepted_stored_and_sent(operator: Client, queue: Queue, incoming: Path) -> None:
    answer = send(operator, ("yard.jpg", a_jpeg()))
    assert answer.status_code == 201
    media = Media.objects.get()
    [outcome] = answer.json()["files"]
    assert outcome == {
        "name": "yard.jpg",
        "outcome": "accepted",
        "message": "Accepted.",
        "url": f"/media/{media.pk}/",
        "media": str(media.pk),
    }
    assert (media.name, media.kind, media.uploaded_by.username) == ("yard.jpg", "image", "the operator")
    assert queue.analyses == [Analysis.objects.get(media=media).pk]
    assert list(incoming.iterdir()) == []


def test_a_clip_that_browsers_cannot_play_is_sent_for_a_copy_too(
    operator: Client, queue: Queue, tmp_path: Path
) -> None:
    assert send(operator, ("old.avi", a_clip(tmp_path / "a.avi", "mpeg4"))).status_code == 201
    assert queue.proxies == [Proxy.objects.get().pk]


def test_without_a_broker_the_file_is_accepted_and_the_page_says_that_it_waits(operator: Client, queue: Queue) -> None:
    queue.is_away = True
    answer = send(operator, ("yard.jpg", a_jpeg()))
    assert answer.status_code == 201
    assert "waits for the queue" in answer.json()["files"][0]["message"]
    assert Analysis.objects.get().state == "queued"


@pytest.mark.usefixtures("fresh_counts")
def test_the_same_bytes_again_lead_to_what_is_there(operator: Client, queue: Queue) -> None:
    send(operator, ("yard.jpg", a_jpeg()))
    answer = send(operator, ("other name.jpg", a_jpeg()))
    assert answer.status_code == 200
    [outcome] = answer.json()["files"]
    assert outcome["outcome"] == "known"
    assert outcome["url"] == Media.objects.get().get_absolute_url()
    assert len(queue.analyses) == 1
    assert counted("nightjar_uploads_total") == {("accepted", ""): 1, ("known", ""): 1}
    assert counted("nightjar_upload_bytes_total") == {(): len(a_jpeg())}  # of what is new only


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.mp4", b"", "This file is empty."),
        ("notes.jpg", b"only some text " * 100, "neither an image nor a clip"),
        ("list.mp4", b"#EXTM3U\nhttp://127.0.0.1/secret.ts\n", "a list that names other files"),
        ("photos.jpg", a_zip(), "an archive"),
        ("half.jpg", a_jpeg(size=(640, 480))[:4000], ""),
    ],
)
def test_a_file_that_cannot_be_analysed_gets_its_sentence_and_leaves_nothing(
    operator: Client, queue: Queue, incoming: Path, name: str, content: bytes, sentence: str
) -> None:
    answer = send(operator, (name, content))
    assert answer.status_code == 422
    [outcome] = answer.json()["files"]
    assert (outcome["name"], outcome["outcome"]) == (name, "refused")
    assert sentence in outcome["message"]
    assert outcome["message"].endswith(".")
    assert not Media.objects.exists()
    assert not Analysis.objects.exists()
    assert list(incoming.iterdir()) == []


def test_a_cut_off_clip_is_refused_whatever_it_is_called(operator: Client, queue: Queue, tmp_path: Path) -> None:
    whole = a_clip(tmp_path / "a.mp4")
    answer = send(operator, ("clip.jpg", whole[: len(whole) // 2]))
    assert answer.status_code == 422
    assert "cut off" in answer.json()["files"][0]["message"]


def test_a_clip_is_known_by_its_content_and_not_by_its_name(operator: Client, queue: Queue, tmp_path: Path) -> None:
    assert send(operator, ("clip.txt", a_clip(tmp_path / "a.mp4"))).status_code == 201
    assert Media.objects.get().format == "mp4"


def test_a_file_over_the_limit_is_413(operator: Client, queue: Queue, settings, incoming: Path) -> None:
    settings.MEDIA_MAX_BYTES = 1000
    answer = send(operator, ("big.jpg", a_jpeg(size=(200, 200))))
    assert answer.status_code == 413
    assert "larger than the 1000\xa0bytes" in answer.json()["files"][0]["message"]
    assert list(incoming.iterdir()) == []


def test_a_huge_picture_is_refused(operator: Client, queue: Queue, settings) -> None:
    settings.MEDIA_MAX_PIXELS = 1000
    answer = send(operator, ("big.jpg", a_jpeg()))
    assert answer.status_code == 413
    assert "64 x 48 pixels" in answer.json()["files"][0]["message"]


def test_too_many_files_at_once_are_413_with_a_sentence(operator: Client, settings) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 2
    files = [(f"{n}.jpg", b"x") for n in range(3)]
    answer = send(operator, *files)
    assert answer.status_code == 413
    assert answer.json()["error"] == "These are too many files at once: at most 2 are taken."
    assert "at most 2 are taken" in send(operator, *files, json=False).text


@pytest.mark.parametrize(("json", "where"), [(True, "error"), (False, "")])
def test_a_form_without_a_file_is_told_to_choose_one(operator: Client, json: bool, where: str) -> None:
    answer = send(operator, json=json)
    assert answer.status_code == 422
    assert "Choose at least one" in (answer.json()[where] if where else answer.text)


def test_without_javascript_the_page_lists_each_file_with_its_outcome(operator: Client, queue: Queue) -> None:
    send(operator, ("old.jpg", a_jpeg(1)))
    answer = send(operator, ("new.jpg", a_jpeg(2)), ("again.jpg", a_jpeg(1)), ("<b>.txt", b"text"), json=False)
    assert answer.status_code == 201
    assert [outcome.word for outcome in answer.context["outcomes"]] == ["accepted", "known", "refused"]
    for said in ("new.jpg", "again.jpg", "&lt;b&gt;.txt", "Accepted", "Already here", "neither an image nor a clip"):
        assert said in answer.text


@pytest.mark.parametrize(
    ("fault", "status", "kind", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 507, "disk_full", "disk is full"),
        (OSError(errno.EIO, "I/O error"), 503, "storage_away", "cannot be reached just now, so this file was not kept"),
        (EndpointConnectionError(endpoint_url="http://s3"), 503, "storage_away", "cannot be reached just now"),
        (OSError(errno.EMFILE, "Too many open files"), 500, "not_kept", "could not keep this file"),
        (RuntimeError("The probe ended with 3 and no answer."), 500, "not_kept", "could not keep this file"),
    ],
)
@pytest.mark.usefixtures("fresh_counts")
def test_a_fault_of_the_server_is_a_sentence_and_a_log_entry(
    operator: Client,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
    status: int,
    kind: str,
    sentence: str,
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise fault

    broken = "Media.with_files" if isinstance(fault, OSError) else "probe_isolated"
    monkeypatch.setattr(f"detection.models.intake.{broken}", break_down)
    answer = send(operator, ("yard.jpg", a_jpeg()))
    assert answer.status_code == status
    assert sentence in answer.json()["files"][0]["message"]
    assert "could not be taken in" in caplog.text
    assert not Media.objects.exists()
    assert counted("nightjar_uploads_total") == {("refused", kind): 1}
    assert counted("nightjar_upload_bytes_total") == {}


def test_a_database_that_is_full_is_507_and_leaves_nothing(
    operator: Client, queue: Queue, monkeypatch: pytest.MonkeyPatch, incoming: Path
) -> None:
    def fails(sentence: str) -> None:
        monkeypatch.setattr(LooseFile, "expect", Mock(side_effect=OperationalError(sentence)))

    fails("database or disk is full")
    answer = send(operator, ("yard.jpg", a_jpeg()), ("notes.txt", b"text"))
    assert answer.status_code == 507
    full, other = answer.json()["files"]
    assert "The server's disk is full, so this file was not kept." in full["message"]
    assert "neither an image nor a clip" in other["message"]
    fails("database is locked")
    with pytest.raises(OperationalError, match="locked"):
        send(operator, ("yard.jpg", a_jpeg()))
    assert not Media.objects.exists()
    assert list(incoming.iterdir()) == []


@pytest.mark.django_db
def test_a_form_from_another_site_is_refused() -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(a_user())
    answer = strict.post("/upload/", {"files": [SimpleUploadedFile("a.jpg", a_jpeg())]})
    assert answer.status_code == 403
    assert "came from another site" in answer.text
    assert not Media.objects.exists()


# Before anything is sent

SPEED = Speed(image_s=0.5, frame_s=0.1, clip_s=2.0, byte_s=0.000_001)


@pytest.fixture
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Speed, "measured", classmethod(lambda cls: SPEED))


def room(monkeypatch: pytest.MonkeyPatch, free: int | None) -> None:
    monkeypatch.setattr("detection.disk.room_bytes", lambda: free)


def estimate(client: Client, **asked: object) -> dict[str, Any]:
    answer = client.get("/upload/estimate", asked)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    return dict(answer.json())


@pytest.mark.usefixtures("_measured")
def test_the_page_says_how_long_files_take_here_what_waits_and_whether_there_is_room(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    room(monkeypatch, 3 * 1024**3)
    for number in range(12):
        Analysis.request(a_media(b"%d" % number, IMAGE))
    page = operator.get("/upload/").text
    for said in (
        "Here a minute of clip takes about 2 minutes, 100 pictures about 50 s.",
        "12 analyses wait or run before: about 6 s.",
        "There is room for 3.0\xa0GB of new files.",
    ):
        assert said in page


def test_the_page_says_what_it_does_not_know(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    room(monkeypatch, None)
    page = operator.get("/upload/").text
    assert "was not measured yet" in page
    assert "Nothing waits: it begins at once." in page
    assert "room" not in page.partition('id="before"')[2].partition("</dl>")[0]


def test_it_says_so_after_an_upload_too(operator: Client, queue: Queue) -> None:
    assert "1 analysis waits or runs before" in send(operator, ("new.jpg", a_jpeg()), json=False).text


@pytest.mark.usefixtures("_measured")
def test_an_estimate_of_the_chosen_files(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    room(monkeypatch, 60_000_000)
    asked = {"bytes": 52_000_000, "clips": 2, "clip_bytes": 50_000_000, "images": 4}
    assert estimate(operator, **asked) == {
        "seconds": pytest.approx(52),
        "waiting": 0,
        "waiting_s": 0,
        "fits": True,
        "said": "Their analysis takes about 50 s here.",
        "warning": "",
    }
    Analysis.request(a_media())
    answer = estimate(operator, **asked)
    assert (answer["waiting"], answer["waiting_s"]) == (1, pytest.approx(25))
    assert answer["said"] == "Their analysis takes about 50 s here. 1 analysis waits or runs before: about 25 s."


@pytest.mark.usefixtures("_measured")
def test_pictures_are_estimated_by_their_number_and_clips_by_their_size(operator: Client) -> None:
    assert estimate(operator, bytes=9_000_000, images=10)["seconds"] == pytest.approx(5)
    assert estimate(operator, bytes=9_000_000, clips=1, clip_bytes=9_000_000)["seconds"] == pytest.approx(9)
    assert estimate(operator)["seconds"] == 0


def test_an_estimate_says_where_nothing_was_measured(operator: Client) -> None:
    answer = estimate(operator, bytes=10, clips=1, clip_bytes=10)
    assert answer["seconds"] is None
    assert answer["said"] == "How long their analysis takes here was not measured yet."


@pytest.mark.parametrize(
    ("free", "fits", "warning"),
    [
        (60_000_000, True, ""),
        (40_000_000, False, "the disk has room for 38.1\xa0MB: what does not fit will be refused."),
        (0, False, "There is no room on the disk for new files: they would be refused."),
        (None, None, ""),
    ],
)
def test_an_estimate_says_whether_the_disk_will_hold_them(
    operator: Client, monkeypatch: pytest.MonkeyPatch, free: int | None, fits: bool | None, warning: str
) -> None:
    room(monkeypatch, free)
    answer = estimate(operator, bytes=50_000_000, images=1)
    assert answer["fits"] is fits
    assert answer["warning"].endswith(warning)
    assert bool(answer["warning"]) is bool(warning)


@pytest.mark.parametrize("query", ["bytes=many", "images=-1", "clips=1.5", "bytes=" + "9" * 19, "bytes=1&clip_bytes=2"])
def test_an_estimate_of_no_numbers_is_400_with_a_sentence(operator: Client, query: str) -> None:
    answer = operator.get(f"/upload/estimate?{query}")
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "An estimate takes whole numbers: bytes, clips, clip_bytes (of bytes) and images."
    }
