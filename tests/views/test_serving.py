"""Files go out in ranges, to those who may see them, with headers that hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage, storages
from django.test import Client, RequestFactory

from detection.models import Media
from detection.views import serving
from detection.views.serving import Served, serve
from project.storage import from_url
from tests.cast import CLIP, IMAGE, a_media
from tests.s3 import s3_server

CONTENT = bytes(range(256)) * 40  # 10240 bytes, each place can be told


@pytest.fixture
def clip(db: None) -> Media:
    return a_media(CONTENT)


def get(client: Client, media: Media, **headers: str):
    return client.get(f"/media/{media.pk}/file", headers={name.replace("_", "-"): v for name, v in headers.items()})


def test_the_whole_file_has_its_type_length_and_hash(viewer: Client, clip: Media) -> None:
    answer = get(viewer, clip)
    assert answer.status_code == 200
    assert answer.getvalue() == CONTENT
    assert answer["Content-Type"] == "video/mp4"
    assert answer["Content-Length"] == "10240"
    assert answer["ETag"] == f'"{clip.sha256}"'
    assert answer["Accept-Ranges"] == "bytes"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Disposition"] == 'inline; filename="yard.mp4"'
    assert "private" in answer["Cache-Control"]


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-199", 100, 199),
        ("bytes=10000-", 10000, 10239),
        ("bytes=10000-99999", 10000, 10239),
        ("bytes=-40", 10200, 10239),
        ("bytes=-99999", 0, 10239),
    ],
)
def test_a_range_is_given_as_asked(viewer: Client, clip: Media, asked: str, first: int, last: int) -> None:
    answer = get(viewer, clip, range=asked)
    assert answer.status_code == 206
    assert answer.getvalue() == CONTENT[first : last + 1]
    assert answer["Content-Range"] == f"bytes {first}-{last}/10240"
    assert answer["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=99999-100000", "bytes=-0"])
def test_a_range_outside_the_file_is_416(viewer: Client, clip: Media, asked: str) -> None:
    answer = get(viewer, clip, range=asked)
    assert answer.status_code == 416
    assert answer["Content-Range"] == "bytes */10240"


@pytest.mark.parametrize("asked", ["bytes=5-2", "items=0-5", "bytes=a-b", "bytes=-", "bytes=0-1,5-6", "nonsense"])
def test_what_is_no_single_range_gets_the_whole_file(viewer: Client, clip: Media, asked: str) -> None:
    answer = get(viewer, clip, range=asked)
    assert (answer.status_code, answer.getvalue()) == (200, CONTENT)


def test_if_range_holds_only_for_the_same_bytes(viewer: Client, clip: Media) -> None:
    same = get(viewer, clip, range="bytes=0-9", if_range=f'"{clip.sha256}"')
    other = get(viewer, clip, range="bytes=0-9", if_range='"another"')
    assert (same.status_code, other.status_code) == (206, 200)


def test_what_the_browser_has_is_not_sent_again(viewer: Client, clip: Media) -> None:
    answer = get(viewer, clip, if_none_match=f'"another", "{clip.sha256}"')
    assert (answer.status_code, answer.content) == (304, b"")


def test_a_head_has_the_headers_without_the_bytes(viewer: Client, clip: Media) -> None:
    answer = viewer.head(f"/media/{clip.pk}/file", headers={"range": "bytes=0-99"})
    assert (answer.status_code, answer.content, answer["Content-Length"]) == (206, b"", "100")


def test_a_player_that_asks_for_everything_gets_a_piece_and_a_download_all(
    viewer: Client, clip: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "PLAYER_PIECE", 1000)
    player = get(viewer, clip, range="bytes=0-", sec_fetch_dest="video")
    assert player["Content-Range"] == "bytes 0-999/10240"
    download = get(viewer, clip, range="bytes=100-", sec_fetch_dest="document")
    assert download["Content-Range"] == "bytes 100-10239/10240"
    resumed = get(viewer, clip, range="bytes=100-", if_range=f'"{clip.sha256}"')
    assert resumed["Content-Range"] == "bytes 100-10239/10240"


@pytest.mark.parametrize(
    ("info", "content_type"),
    [
        (IMAGE, "image/jpeg"),
        (replace(CLIP, format="matroska", browser_plays=True), "video/webm"),
        (replace(CLIP, format="matroska", browser_plays=False), "video/x-matroska"),
        (replace(CLIP, format="avi", browser_plays=False), "video/x-msvideo"),
    ],
)
def test_the_type_is_the_probed_one_and_not_the_names(viewer: Client, info, content_type: str) -> None:
    answer = get(viewer, a_media(info=info, name="page.html"))
    assert answer["Content-Type"] == content_type
    assert answer["Content-Disposition"].startswith("inline")


def test_what_is_not_of_a_known_type_is_only_downloaded(viewer: Client, clip: Media) -> None:
    Media.objects.update(format="html")
    answer = get(viewer, clip)
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"].startswith("attachment")


def test_a_name_with_a_line_break_cannot_add_a_header(viewer: Client, clip: Media) -> None:
    Media.objects.update(name='a"\r\nSet-Cookie: x=1')
    answer = get(viewer, clip)
    assert "Set-Cookie" not in answer.headers
    assert "\n" not in answer["Content-Disposition"]


def test_a_file_that_is_gone_from_the_storage_is_404_and_logged(
    viewer: Client, clip: Media, caplog: pytest.LogCaptureFixture
) -> None:
    default_storage.delete(clip.file.name)
    assert get(viewer, clip).status_code == 404
    assert "is not in the storage" in caplog.text


def test_a_file_is_read_in_blocks(clip: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "BLOCK", 1000)
    answer = serve(RequestFactory().get("/"), Served(clip.file.name, "video/mp4", "e", "a.mp4"))
    sizes = [len(block) for block in answer]  # type: ignore[attr-defined]
    assert sizes == [1000] * 10 + [240]
    answer.close()


@pytest.fixture
def bucket() -> Iterator[object]:
    with s3_server() as url:
        entry = from_url(url)
        yield storages.create_storage(entry)


def test_ranges_come_from_s3_without_fetching_the_object(bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    name = bucket.save("aa/clip.mp4", ContentFile(CONTENT))
    from storages.backends.s3 import S3File

    monkeypatch.setattr(S3File, "_get_file", lambda self: pytest.fail("the whole object was fetched"))
    request = RequestFactory().get("/", headers={"range": "bytes=100-199"})
    answer = serve(request, Served(name, "video/mp4", "e", "a.mp4"), bucket)
    assert (answer.status_code, b"".join(answer)) == (206, CONTENT[100:200])
    whole = serve(RequestFactory().get("/"), Served(name, "video/mp4", "e", "a.mp4"), bucket)
    assert b"".join(whole) == CONTENT
