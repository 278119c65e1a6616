from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, models, transaction
from django.urls import reverse
from django.utils import timezone

from detection.models.camera import Camera
from detection.models.visible import VisibleQuerySet
from detection.storage import local_copy, put
from detection.vision.types import MediaInfo

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
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = VisibleQuerySet.as_manager()

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
    def store(
        cls,
        content: File,
        sha256: str,
        info: MediaInfo,
        *,
        name: str,
        preview: Jpeg | None = None,
        user: User | None = None,
        is_example: bool = False,
    ) -> Stored:
        """Keeps a probed file: first the bytes, then the row that names them."""
        known = cls.known(sha256)
        if known is not None:
            return Stored(known, is_new=False)
        media = cls.with_files(content, sha256, info, name=name, preview=preview)
        media.uploaded_by, media.is_example = user, is_example
        return media.keep()

    @classmethod
    def with_files(
        cls, content: File, sha256: str, info: MediaInfo, *, name: str, preview: Jpeg | None = None
    ) -> Media:
        """A media whose files are stored and whose row is not: a transaction need not wait for the disk then."""
        # A folder of its own for each time it is stored: removing a media can then never take the files of the same
        # bytes that were stored again in the same moment.
        folder = f"{sha256[:2]}/{sha256}-{secrets.token_hex(4)}"
        now = timezone.now()
        captured_at = _parse_time(info.captured_at)
        size = content.size
        return cls(
            sha256=sha256,
            kind=info.kind,
            name=Path(name.replace("\\", "/")).name[:255] or sha256[:12],
            file=default_storage.save(f"{folder}/media.{info.format}", content),
            preview=put(f"{folder}/preview.jpg", preview) if preview else "",
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
            at=captured_at or now,
            created_at=now,
        )

    def keep(self) -> Stored:
        """Inserts the row; where the same bytes were stored in the same moment, theirs counts."""
        try:
            with transaction.atomic():
                self.save(force_insert=True)
        except IntegrityError:
            self.drop_files()
            return Stored(Media.objects.get(sha256=self.sha256), is_new=False)
        return Stored(self, is_new=True)

    def drop_files(self) -> None:
        """Takes back the files of a media that has no row."""
        _delete_files([str(self.file.name), str(self.preview.name or "")])

    @property
    def folder(self) -> str:
        """Where in the storage everything of this media lies."""
        return str(PurePosixPath(str(self.file.name)).parent)

    def local_path(self) -> Path:
        """Where the file can be read on this machine; fetched first where the storage is remote."""
        return local_copy(str(self.file.name), settings.CACHE_DIR)

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

    def remove(self) -> None:
        """Deletes the media with all that was made from it: the rows first, then, once that holds, the files."""
        from detection.models.sighting import Sighting

        names: list[str | None] = [self.file.name, self.preview.name]
        names += Sighting.objects.filter(media=self).exclude(thumbnail="").values_list("thumbnail", flat=True)
        proxy = getattr(self, "proxy", None)
        if proxy is not None:
            names.append(proxy.file.name)
        with transaction.atomic():
            self.delete()
            transaction.on_commit(lambda: _delete_files(names))


def _delete_files(names: Iterable[str | None]) -> None:
    for name in names:
        if name:
            default_storage.delete(name)


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
