import hashlib
import re
import threading
from datetime import UTC, datetime, timedelta
from unittest.mock import patch
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from detection.models import Analysis, FilesGone, LooseFile, Media, Proxy, Sighting
from detection.models.clock import now
from detection.models.intake import take_in
from detection.storage import DurableFileSystemStorage, put
from tests.cast import (
    CLIP,
    IMAGE,
    NOON,
    a_done_analysis,
    a_media,
    a_running_analysis,
    a_track,
    a_user,
    do_chunks,
)
from tests.databases import on_postgresql

pytestmark = pytest.mark.django_db


def test_a_media_is_stored_under_its_hash():
    media = a_media(b"some bytes")
    assert media.sha256 == hashlib.sha256(b"some bytes").hexdigest()
    assert media.file.read() == b"some bytes"
    assert re.fullmatch(rf"{media.sha256[:2]}/{media.sha256}-[0-9a-f]{{8}}/media\.mp4", media.file.name)
    assert media.preview.read() == b"a preview"
    assert media.local_path().read_bytes() == b"some bytes"


def new_media(content: bytes, name: str = "yard.mp4") -> Media:
    """One whose files are stored, and whose row is still to come."""
    digest = hashlib.sha256(content).hexdigest()
    return Media.with_files(ContentFile(content), digest, CLIP, name=name, preview=b"a preview")


def files_of(content: bytes) -> list[str]:
    """The folders in the storage that hold files of these bytes."""
    digest = hashlib.sha256(content).hexdigest()
    try:
        return [f"{digest[:2]}/{name}" for name in default_storage.listdir(digest[:2])[0] if name.startswith(digest)]
    except FileNotFoundError:
        return []


def test_of_two_uploads_at_once_of_the_same_bytes_one_row_comes(django_capture_on_commit_callbacks):
    ours, theirs = new_media(b"at once", "a.mp4"), new_media(b"at once", "b.mp4")
    with django_capture_on_commit_callbacks(execute=True):
        first, second = theirs.keep(), ours.keep()
    assert (first.is_new, second.is_new) == (True, False)
    assert second.media == first.media
    assert Media.objects.get().name == "b.mp4"
    assert files_of(b"at once") == [theirs.folder]  # the one that came second leaves no files of its own
    assert not LooseFile.objects.exists()


def test_the_second_of_two_at_once_keeps_its_files_while_its_transaction_may_be_undone(
    django_capture_on_commit_callbacks,
):
    """They are deleted outside of it, where no lock is held; were it undone, the rows that name them would be back."""
    first, second = new_media(b"undone"), new_media(b"undone")
    first.keep()

    def and_back() -> None:
        with second.files_dropped_on_error(), transaction.atomic():
            second.keep()
            assert default_storage.exists(second.file.name)
            raise ValueError("and back")

    with pytest.raises(ValueError, match="and back"):
        and_back()
    assert files_of(b"undone") == [first.folder]
    assert not LooseFile.objects.exists()


def test_one_whose_double_was_removed_in_the_same_moment_is_refused(monkeypatch, django_capture_on_commit_callbacks):
    first, second = new_media(b"gone again"), new_media(b"gone again")
    first.keep()
    monkeypatch.setattr(Media, "known", lambda sha256: None)
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(FilesGone):
        second.keep()
    assert files_of(b"gone again") == [first.folder]


def test_a_media_that_cannot_be_stored_leaves_nothing(monkeypatch):
    """The second of its files meets a full disk."""
    save = DurableFileSystemStorage._save

    def full(storage, name, content):
        if name.endswith("preview.jpg"):
            raise OSError(28, "No space left on device")
        return save(storage, name, content)

    monkeypatch.setattr(DurableFileSystemStorage, "_save", full)
    with pytest.raises(OSError, match="No space"):
        new_media(b"half stored")
    assert files_of(b"half stored") == []
    assert not LooseFile.objects.exists()


def test_a_media_whose_process_dies_before_its_row_leaves_word_of_its_files():
    media = new_media(b"dies here")
    names = {media.file.name, media.preview.name}
    assert set(LooseFile.objects.values_list("name", flat=True)) == names
    LooseFile.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert LooseFile.clear() == 2
    assert files_of(b"dies here") == []


def test_one_without_a_preview_leaves_word_of_its_one_file():
    media = Media.with_files(ContentFile(b"plain"), hashlib.sha256(b"plain").hexdigest(), CLIP, name="a.mp4")
    assert list(LooseFile.objects.values_list("name", flat=True)) == [media.file.name]
    assert media.keep().is_new
    assert not LooseFile.objects.exists()


def test_a_row_that_comes_too_late_is_not_written():
    media = new_media(b"too late")
    LooseFile.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    LooseFile.clear()

    def too_late() -> None:
        with media.files_dropped_on_error(), transaction.atomic():
            media.keep()

    with pytest.raises(FilesGone):
        too_late()
    assert not Media.objects.exists()


def test_a_commit_whose_answer_was_lost_keeps_row_and_files():
    media = new_media(b"committed")

    def hears_nothing() -> None:
        with media.files_dropped_on_error():
            with transaction.atomic():
                media.keep()
            raise OperationalError("server closed the connection unexpectedly")

    with pytest.raises(OperationalError):
        hears_nothing()
    assert Media.objects.get().file.read() == b"committed"
    assert Media.objects.get().preview.read() == b"a preview"


@pytest.mark.parametrize("dies", [False, True])
def test_a_removal_takes_the_files_or_leaves_word_of_them(django_capture_on_commit_callbacks, dies):
    media = a_media(b"to be removed")
    with django_capture_on_commit_callbacks(execute=not dies):
        media.remove()
    assert bool(files_of(b"to be removed")) is dies
    assert LooseFile.objects.count() == (2 if dies else 0)
    LooseFile.clear()
    assert files_of(b"to be removed") == []


def test_a_removal_that_is_undone_keeps_everything(django_capture_on_commit_callbacks):
    media = a_media(b"stays")
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        media.remove()
        transaction.set_rollback(True)
    assert Media.objects.get().file.read() == b"stays"
    assert LooseFile.clear() == 0


def test_removed_twice_at_once_it_is_removed_once(django_capture_on_commit_callbacks):
    media = a_media(b"twice")
    same = Media.objects.get()
    with django_capture_on_commit_callbacks(execute=False):
        media.remove()
        same.remove()
    assert LooseFile.objects.count() == 2


def test_what_was_made_from_it_since_it_was_read_goes_with_it(django_capture_on_commit_callbacks):
    """A removal once took the names of pictures and copy before it locked the row; those that came then stayed."""
    media = a_media(b"read early")
    with pytest.raises(Proxy.DoesNotExist):
        media.proxy  # noqa: B018
    Proxy.objects.create(media_id=media.pk, file=put("xx/late-proxy.mp4", b"a proxy"))
    with django_capture_on_commit_callbacks(execute=True):
        media.remove()
    assert not default_storage.exists("xx/late-proxy.mp4")


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("what", ["pictures", "copy"])
@on_postgresql
def test_what_is_being_made_from_it_while_it_is_removed_goes_with_it(what):
    media = a_media(b"at work")
    name = put(f"{media.folder}/made", b"made from it")
    if what == "pictures":
        analysis = a_running_analysis(media)
        do_chunks(analysis)
        work = Analysis.claim_finish(analysis.pk, "worker")
    else:
        work = Proxy.claim(Proxy.objects.create(media=media).pk, "worker")
    batch = LooseFile.expect([name])
    removing: list[threading.Thread] = []

    def remove() -> None:
        Media.objects.get().remove()
        connection.close()

    kept = LooseFile.kept

    def meanwhile(batch: UUID) -> None:
        kept(batch)
        removing.append(threading.Thread(target=remove))
        removing[0].start()
        removing[0].join(0.5)  # it waits for us

    with patch.object(LooseFile, "kept", meanwhile):
        if what == "pictures":
            work.finish([a_track()], {1: name}, 0.1, batch)
        else:
            work.finish(name, 12, batch)
    removing[0].join(20)
    assert not Media.objects.exists()
    assert files_of(b"at work") == []
    assert not LooseFile.objects.exists()


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


def test_what_is_brought_in_again_is_as_young_as_what_is_new(tmp_path):
    """A person was told that it is here; retention must not remove it as old in the same night."""
    media = a_media(b"old footage")
    Media.objects.update(created_at=timezone.now() - timedelta(days=400))
    path = tmp_path / "again.mp4"
    path.write_bytes(b"old footage")
    before = timezone.now()
    with path.open("rb") as file:
        intake = take_in(File(file), path, media.sha256, "again.mp4")
    assert (intake.media, intake.is_new) == (media, False)
    media.refresh_from_db()
    assert media.created_at >= before


def test_the_same_file_again_in_the_moment_the_first_is_removed_is_stored(tmp_path, monkeypatch):
    """It was once answered with “already here”, and was not."""
    path = tmp_path / "again.mp4"
    path.write_bytes(b"again")
    first, known = a_media(b"again"), Media.known
    monkeypatch.setattr("detection.models.intake.probe_with_preview", lambda path: (CLIP, b"a preview"))

    def removed_right_after(sha256):
        media = known(sha256)
        Media.objects.get(pk=first.pk).remove()
        return media

    monkeypatch.setattr(Media, "known", removed_right_after)
    with path.open("rb") as file:
        second = take_in(File(file), path, first.sha256, "again.mp4")
    assert second.is_new
    assert list(Media.objects.all()) == [second.media]


def test_a_large_file_has_longer_to_be_stored(monkeypatch):
    monkeypatch.setattr("detection.models.media.SLOWEST_STORED_BYTES_S", 0.001)
    new_media(b"ten bytes.")
    assert not LooseFile.objects.filter(due_at__lt=now() + timedelta(seconds=10_000)).exists()
