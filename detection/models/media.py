from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, models, transaction
from django.urls import reverse
from django.utils import timezone

from detection.models.camera import Camera
from detection.models.clock import now
from detection.models.loose_file import EXPECTED_S, FilesGone, LooseFile
from detection.models.visible import VisibleQuerySet
from detection.storage import local_copy, put
from detection.vision.types import MediaInfo

SLOWEST_STORED_BYTES_S = 250_000

Jpeg: TypeAlias = bytes  # a name of its own, because the row below has a field called bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A media and whether this call brought it in; false where the same bytes were there before."""

    media: Media
    is_new: bool


class Media(models.Model):
    """One stored image or clip. Immutable, known by the SHA-256 of its bytes."""

    class Kind(models.TextChoices):
        IMAGE = "image"
        CLIP = "clip"

    class TimeSource(models.TextChoices):
        CAMERA = "camera", "the camera's clock"
        CAPTURE = "capture", "when it was grabbed"
        CONTAINER = "container", "the file's own record"
        PERSON = "person", "a person"
        UNKNOWN = "", "not known"

    sha256 = models.CharField("SHA-256", max_length=64, unique=True, editable=False)
    kind = models.CharField(max_length=5, choices=Kind, editable=False)
    name = models.CharField(max_length=255, help_text="The name it came with.")
    file = models.FileField(max_length=200, editable=False)
    preview = models.FileField(max_length=200, editable=False, blank=True)
    bytes = models.BigIntegerField(editable=False)
    format = models.CharField(max_length=20, editable=False)
    codec = models.CharField(max_length=40, editable=False)
    width = models.PositiveIntegerField(editable=False)
    height = models.PositiveIntegerField(editable=False)
    duration_s = models.FloatField(editable=False, default=0)
    frames = models.PositiveIntegerField(editable=False, default=1)
    browser_plays = models.BooleanField(editable=False, default=True)

    captured_at = models.DateTimeField(null=True, blank=True, help_text="When its first frame was taken, if known.")
    captured_at_source = models.CharField(max_length=10, choices=TimeSource, blank=True, default=TimeSource.UNKNOWN)
    at = models.DateTimeField(db_index=True, editable=False, help_text="captured_at, or when it came in.")
    camera = models.ForeignKey(Camera, models.SET_NULL, null=True, blank=True, related_name="media")
    uploaded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    is_example = models.BooleanField(default=False, editable=False)
    is_kept = models.BooleanField("kept", default=False, help_text="Retention never removes it.")
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)

    objects = VisibleQuerySet.as_manager()

    _batch: uuid.UUID  # of its files, while it has no row

    class Meta:
        ordering = ["-at", "-pk"]
        verbose_name_plural = "media"

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("media", args=[self.pk])

    @classmethod
    def known(cls, sha256: str) -> Media | None:
        """The media of these bytes, if it is there."""
        return cls.objects.filter(sha256=sha256).first()

    @classmethod
    def with_files(
        cls, content: File, sha256: str, info: MediaInfo, *, name: str, preview: Jpeg | None = None
    ) -> Media:
        """A media whose files are stored and whose row is not; it is to be followed by ``keep`` or ``drop_files``.

        Never in a transaction: should it fail, or the process die, what says that these files have no row must stay.
        """
        # A folder of its own for each time it is stored: removing a media can then never take the files of the same
        # bytes that were stored again in the same moment.
        folder = f"{sha256[:2]}/{sha256}-{secrets.token_hex(4)}"
        file_name, preview_name = f"{folder}/media.{info.format}", f"{folder}/preview.jpg" if preview else ""
        came_in_at = now()
        captured_at = _parse_time(info.captured_at)
        size = content.size
        names = [file_name, preview_name] if preview else [file_name]
        with LooseFile.expecting(names, EXPECTED_S + size / SLOWEST_STORED_BYTES_S) as batch:
            default_storage.save(file_name, content)
            if preview:
                put(preview_name, preview)
        media = cls(
            sha256=sha256,
            kind=info.kind,
            name=Path(name.replace("\\", "/")).name[:255] or sha256[:12],
            file=file_name,
            preview=preview_name,
            bytes=size,
            format=info.format,
            codec=info.codec,
            width=info.width,
            height=info.height,
            duration_s=info.duration_s,
            frames=info.frames,
            browser_plays=info.browser_plays,
            captured_at=captured_at,
            captured_at_source=cls.TimeSource.CONTAINER if captured_at else cls.TimeSource.UNKNOWN,
            at=captured_at or came_in_at,
            created_at=came_in_at,
        )
        media._batch = batch
        return media

    def keep(self) -> Stored:
        """Inserts the row; where the same bytes were stored in the same moment, theirs counts."""
        try:
            with transaction.atomic():
                self.save(force_insert=True)
                LooseFile.kept(self._batch)
        except IntegrityError:
            transaction.on_commit(self.drop_files, robust=True)  # where it is not, ``files_dropped_on_error`` does it
            known = Media.known(self.sha256)
            if known is None:
                raise FilesGone("the same bytes were stored, and removed, in the same moment") from None
            return Stored(known, is_new=False)
        return Stored(self, is_new=True)

    @contextmanager
    def files_dropped_on_error(self) -> Iterator[None]:
        """Where the row cannot be written after all, the files go too. Around the transaction, not in it."""
        with LooseFile.condemned_on_error(self._batch, [name for name in (self.file.name, self.preview.name) if name]):
            yield

    def drop_files(self) -> None:
        """Takes back the files of a media that has no row."""
        LooseFile.condemn(self._batch)

    @property
    def folder(self) -> str:
        """Where in the storage everything of this media lies."""
        return str(PurePosixPath(str(self.file.name)).parent)

    def local_path(self) -> Path:
        """Where the file can be read on this machine; fetched first where the storage is remote."""
        return local_copy(str(self.file.name), settings.CACHE_DIR)

    def came_in_again(self) -> bool:
        """Its age counts from now on: what a person has just brought in is not removed as old tonight.

        Answers whether it is still there.
        """
        return bool(Media.objects.filter(pk=self.pk).update(created_at=now()))

    def set_captured_at(self, captured_at: datetime | None) -> None:
        """A person says when the first frame was taken; every sighting's time follows."""
        from detection.models.sighting import Sighting

        with transaction.atomic():
            self.captured_at = captured_at
            self.captured_at_source = self.TimeSource.PERSON if captured_at else self.TimeSource.UNKNOWN
            self.at = captured_at or self.created_at
            self.save(update_fields=["captured_at", "captured_at_source", "at"])
            for sighting in Sighting.objects.filter(media=self).only("start_s").iterator():
                at = self.at + timedelta(seconds=sighting.start_s)
                Sighting.objects.filter(pk=sighting.pk).update(at=at)

    def set_kept(self, is_kept: bool) -> bool:
        """A person says that retention is never to remove it, or takes that back; answers whether it is still there."""
        self.is_kept = is_kept
        return bool(Media.objects.filter(pk=self.pk).update(is_kept=is_kept))

    def remove(self) -> None:
        """Deletes the media with all that was made from it: the rows, which leave word of the files, then the files."""
        from detection.models.proxy import Proxy
        from detection.models.sighting import Sighting

        with transaction.atomic():
            # Locked, as whoever stores what was made from it locks them: its file is named by then and goes with it, or
            # finds nothing to be named by.
            if Media.objects.select_for_update().filter(pk=self.pk).first() is None:
                return
            names: list[str | None] = [self.file.name, self.preview.name]
            names += Proxy.objects.select_for_update().filter(media=self).values_list("file", flat=True)
            names += Sighting.objects.filter(media=self).exclude(thumbnail="").values_list("thumbnail", flat=True)
            self.delete()
            LooseFile.drop(names)


def _parse_time(text: str | None) -> datetime | None:
    """A probe's ISO 8601 time as UTC, or None where it says none or one that cannot be."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # A camera that never had its clock set writes the start of its epoch; no clip was taken before 1990 or tomorrow.
    aware = moment if moment.tzinfo else timezone.make_aware(moment)
    return aware if datetime(1990, 1, 1, tzinfo=aware.tzinfo) < aware < timezone.now() + timedelta(days=1) else None
