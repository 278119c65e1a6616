"""A bucket on a real S3 server: odd names, large files, pieces of them; and what happens while it is away."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import storages
from django.core.management import call_command
from django.test import RequestFactory

from detection.models import Analysis, Chunk, Media
from detection.storage import is_away, is_of_bucket, local_copy
from detection.stored import blocks_of, files_in, top_folders
from detection.views.serving import Served, serve
from project import storage
from project.storage import from_url
from tests.cast import a_media, a_model, a_running_analysis
from tests.s3 import s3_server
from tests.services import find_free_port
from workers import steps, working
from workers.again import TryAgain

MIB = 1024**2


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(url: str) -> Any:
    return storages.create_storage(from_url(url))


class Counted(io.RawIOBase):
    """So many bytes that are made as they are read, and how many were read at once at most."""

    def __init__(self, size: int) -> None:
        self.size, self.at, self.most = size, 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = max(0, offset + (0, self.at, self.size)[whence])
        return self.at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self.at)
        taken = left if size < 0 else min(size, left)
        self.at += taken
        self.most = max(self.most, taken)
        return b"x" * taken


@pytest.mark.parametrize(
    "name",
    ["ab/x y.mp4", "ab/ümlaut €.bin", "ab/100 %+#&?=.bin", "ab/quote'\"<x>.bin", "ab/..dots..bin", "ab/~$[1].bin"],
)
def test_odd_names_are_stored_listed_read_and_deleted(bucket: Any, name: str) -> None:
    assert bucket.save(name, ContentFile(b"odd")) == name
    assert name in {file.name for file in files_in(bucket, "ab")}
    assert "ab" in top_folders(bucket)
    assert b"".join(blocks_of(bucket, name)) == b"odd"
    bucket.delete(name)
    assert not bucket.exists(name)


def test_a_large_file_goes_up_in_parts_and_is_never_whole_in_memory(bucket: Any) -> None:
    content = Counted(40 * MIB)
    bucket.save("large/one.bin", File(content, "one.bin"))
    assert bucket.size("large/one.bin") == 40 * MIB
    assert content.most <= 8 * MIB
    parts = bucket.connection.meta.client.head_object(Bucket="footage", Key="large/one.bin")["ETag"]
    assert parts.strip('"').endswith("-5")  # that is how S3 says: five parts
    digest = hashlib.sha256()
    for block in blocks_of(bucket, "large/one.bin"):
        assert len(block) <= MIB
        digest.update(block)
    assert digest.hexdigest() == hashlib.sha256(b"x" * 40 * MIB).hexdigest()


def test_a_piece_of_a_large_clip_is_fetched_as_a_piece(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.save("large/two.mp4", File(Counted(20 * MIB), "two.mp4"))
    asked = []
    client = bucket.connection.meta.client
    client.meta.events.register(
        "before-call.s3.GetObject", lambda params, **_: asked.append(params["headers"]["Range"])
    )
    request = RequestFactory().get("/", headers={"Range": "bytes=10485760-10485859"})
    answer = serve(request, Served("large/two.mp4", "video/mp4", "e", "two.mp4"), bucket)
    assert answer.status_code == 206
    assert b"".join(answer) == b"x" * 100  # type: ignore[arg-type]
    assert asked == ["bytes=10485760-10485859"]


@pytest.mark.django_db
def test_a_player_that_goes_away_in_the_middle_gives_its_connection_back(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.response import StreamingBody

    closed = []
    close = StreamingBody.close
    monkeypatch.setattr(StreamingBody, "close", lambda self: (closed.append(self), close(self)))
    bucket.save("large/three.mp4", File(Counted(4 * MIB), "three.mp4"))
    answer = serve(RequestFactory().get("/"), Served("large/three.mp4", "video/mp4", "e", "three.mp4"), bucket)
    assert next(iter(answer))  # type: ignore[call-overload]
    assert closed == []
    answer.close()
    assert len(closed) == 1


@pytest.mark.django_db
def test_the_storage_is_checked_there_too(url: str, settings, tmp_path) -> None:
    settings.STORAGES = {**settings.STORAGES, "default": from_url(f"{url.replace('/footage', '/footage/check')}")}
    settings.CACHE_DIR = tmp_path
    whole, lost = a_media(b"whole"), a_media(b"lost")
    storages["default"].delete(lost.file.name)
    storages["default"].save(str(whole.file.name), ContentFile(b"other"))
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("check_storage", "--hash", "--json", stdout=out)
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    kinds = {(row.get("kind"), row.get("media_pk")) for row in found}
    assert {("missing", lost.pk), ("content", whole.pk)} <= kinds


# While it is away


@contextmanager
def silent_server() -> Iterator[str]:
    """The STORAGE_URL of a server that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"s3://key:secret@127.0.0.1:{server.getsockname()[1]}/footage?tls=false&region=us-east-1"


def test_a_server_that_is_not_there_is_away_within_seconds() -> None:
    away = storages.create_storage(
        from_url(f"s3://key:secret@127.0.0.1:{find_free_port()}/footage?tls=false&region=us-east-1")
    )
    began = time.monotonic()
    with pytest.raises(Exception, match="Could not connect") as error:
        away.open("ab/one.bin")
    assert time.monotonic() - began < storage.TRIES * storage.CONNECT_S + 15
    assert is_away(error.value)


def test_a_server_that_says_nothing_is_away_after_so_many_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "READ_S", 0.3)
    monkeypatch.setattr(storage, "TRIES", 2)
    with silent_server() as url, pytest.raises(Exception, match="timeout") as error:
        storages.create_storage(from_url(url)).save("ab/one.bin", ContentFile(b"x"))
    assert is_away(error.value)


def test_waiting_is_bounded() -> None:
    config = from_url("s3:///footage")["OPTIONS"]["client_config"]
    assert (config.connect_timeout, config.read_timeout) == (5, 30)
    assert config.retries == {"mode": "standard", "total_max_attempts": 3}


def test_what_the_server_refuses_is_not_away(url: str) -> None:
    other = storages.create_storage(from_url(url.replace("/footage", "/not-there")))
    with pytest.raises(Exception, match="bucket does not exist") as error:
        other.save("ab/one.bin", ContentFile(b"x"))
    assert is_of_bucket(error.value)
    assert not is_away(error.value)
    assert not is_of_bucket(OSError("x"))


def test_trouble_that_the_server_tells_of_is_away() -> None:
    from botocore.exceptions import ClientError

    def answered(status: int) -> Exception:
        return ClientError({"Error": {}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")

    assert [status for status in (403, 404, 429, 500, 503) if is_away(answered(status))] == [429, 500, 503]


@pytest.mark.django_db
def test_work_waits_for_the_storage_and_is_charged_no_attempt(settings, tmp_path, monkeypatch) -> None:
    """Counted, three attempts a few seconds apart would fail everything that a short outage meets."""
    settings.CACHE_DIR = tmp_path / "cache"
    a_model("m").activate()
    with s3_server() as url:
        settings.STORAGES = {**settings.STORAGES, "default": from_url(url)}
        analysis = Analysis.request(a_media(b"waits"))
        looked_at = a_running_analysis(a_media(b"looked at"))
        chunk = looked_at.chunks.first()
    for _ in range(4):
        with pytest.raises(TryAgain) as again:
            steps.plan(analysis.pk)
        assert again.value.delay_s == working.AWAY_AGAIN_S
        with pytest.raises(TryAgain):
            steps.detect(chunk.pk)
    for row in (Analysis.objects.get(pk=analysis.pk), Chunk.objects.get(pk=chunk.pk)):
        assert (row.state, row.attempts, row.lapses, row.error) == ("queued", 0, 0, working.STORAGE_AWAY)


def test_what_the_storage_refuses_is_told_as_the_storages() -> None:
    from botocore.exceptions import ClientError

    refused = ClientError({"Error": {}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "GetObject")
    failure = working.explain(refused)
    assert (failure.kind, failure.permanent) == ("storage", False)


def test_a_copy_for_a_worker_that_breaks_off_leaves_nothing(bucket: Any, tmp_path, monkeypatch) -> None:
    bucket.save("large/four.bin", File(Counted(12 * MIB), "four.bin"))
    from botocore.exceptions import EndpointConnectionError

    opened = bucket.open("large/four.bin")

    def breaks_off(part: Any) -> None:
        part.write(b"half")
        raise EndpointConnectionError(endpoint_url="http://away")

    monkeypatch.setattr(opened, "obj", SimpleNamespace(download_fileobj=breaks_off, content_length=12 * MIB))
    monkeypatch.setattr(bucket, "open", lambda name: opened)
    with pytest.raises(EndpointConnectionError):
        local_copy("large/four.bin", tmp_path, bucket)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.django_db
def test_a_media_is_not_taken_in_half_while_it_is_away(settings) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "default": from_url(f"s3://key:secret@127.0.0.1:{find_free_port()}/footage?tls=false&region=us-east-1"),
    }
    with pytest.raises(Exception, match="Could not connect"):
        a_media(b"never")
    assert not Media.objects.exists()
