import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import IntegrityError

from detection.models import Analysis, Media, Proxy, Sighting
from detection.storage import put
from tests.cast import CLIP, IMAGE, NOON, a_done_analysis, a_media, a_user

pytestmark = pytest.mark.django_db


def test_a_media_is_stored_under_its_hash():
    media = a_media(b"some bytes")
    assert media.sha256 == hashlib.sha256(b"some bytes").hexdigest()
    assert media.file.read() == b"some bytes"
    assert re.fullmatch(rf"{media.sha256[:2]}/{media.sha256}-[0-9a-f]{{8}}/media\.mp4", media.file.name)
    assert media.preview.read() == b"a preview"
    assert media.local_path().read_bytes() == b"some bytes"


def test_the_same_bytes_again_lead_to_what_is_there():
    digest = hashlib.sha256(b"same").hexdigest()
    first = Media.store(ContentFile(b"same"), digest, CLIP, name="a.mp4")
    second = Media.store(ContentFile(b"same"), digest, CLIP, name="b.mp4")
    assert (first.is_new, second.is_new) == (True, False)
    assert second.media == first.media
    assert Media.objects.get().name == "a.mp4"


def test_of_two_uploads_at_once_of_the_same_bytes_one_row_comes(monkeypatch):
    digest = hashlib.sha256(b"at once").hexdigest()
    first = Media.store(ContentFile(b"at once"), digest, CLIP, name="a.mp4").media
    answers = iter([None])
    monkeypatch.setattr(Media, "known", classmethod(lambda cls, sha256: next(answers)))
    second = Media.store(ContentFile(b"at once"), digest, CLIP, name="b.mp4")
    assert (second.media, second.is_new) == (first, False)
    # The one that came second leaves no files of its own.
    folders = [name for name in default_storage.listdir(digest[:2])[0] if name.startswith(digest)]
    assert [name for name in folders if default_storage.listdir(f"{digest[:2]}/{name}")[1]] == [
        first.folder.rpartition("/")[2]
    ]


def test_removing_never_takes_the_files_of_the_same_bytes_stored_again(django_capture_on_commit_callbacks):
    first = a_media(b"same")
    with django_capture_on_commit_callbacks(execute=True):
        first.remove()
        again = a_media(b"same")
    assert again.file.read() == b"same"


def test_a_name_with_folders_keeps_only_its_last_part():
    assert a_media(b"1", name="../../etc/passwd").name == "passwd"
    assert a_media(b"2", name="C:\\clips\\yard.mp4").name == "yard.mp4"


def test_the_time_in_the_file_is_taken_and_its_source_named():
    media = a_media(info=IMAGE)
    assert media.captured_at == datetime(2026, 3, 1, 7, 30, tzinfo=UTC)
    assert media.captured_at_source == "container"
    assert media.at == media.captured_at


@pytest.mark.parametrize("text", [None, "", "not a time", "1970-01-01T00:00:00Z", "1904-01-01T00:00:00", "2999-01-01"])
def test_a_time_that_cannot_be_is_not_taken(text):
    from dataclasses import replace

    media = a_media(info=replace(CLIP, captured_at=text))
    assert (media.captured_at, media.captured_at_source) == (None, "")
    assert media.at == media.created_at


def test_a_persons_time_moves_the_sightings():
    media = a_done_analysis().media
    media.set_captured_at(NOON)
    assert media.captured_at_source == "person"
    assert Sighting.objects.get().at == NOON + timedelta(seconds=1)
    media.set_captured_at(None)
    assert Sighting.objects.get().at == media.created_at + timedelta(seconds=1)


def test_removing_takes_the_rows_and_the_files(django_capture_on_commit_callbacks):
    analysis = a_done_analysis()
    media = analysis.media
    Sighting.objects.update(thumbnail=put("xx/thumb.jpg", b"a thumbnail"))
    Proxy.objects.create(media=media, file=put("xx/proxy.mp4", b"a proxy"))
    names = [media.file.name, media.preview.name, "xx/thumb.jpg", "xx/proxy.mp4"]
    with django_capture_on_commit_callbacks(execute=True):
        media.remove()
    assert not Analysis.objects.exists()
    assert not Sighting.objects.exists()
    assert [name for name in names if default_storage.exists(name)] == []


def test_who_may_see_it():
    media = a_media()
    for group in ("viewer", "reviewer", "operator"):
        assert Media.objects.visible_to(a_user(group)).get() == media
    assert not Media.objects.visible_to(a_user()).exists()
    assert not Media.objects.visible_to(AnonymousUser()).exists()


def test_the_hash_is_unique_in_the_database_too():
    media = a_media()
    media.pk = None
    with pytest.raises(IntegrityError):
        media.save(force_insert=True)
