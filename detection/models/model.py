from __future__ import annotations

import secrets
from pathlib import Path

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import models, transaction

from detection.models.loose_file import LooseFile
from detection.models.visible import VisibleQuerySet
from detection.storage import local_copy


class Model(models.Model):
    """A detector's weights with their labels, hash and licence; one is active."""

    class Runtime(models.TextChoices):
        OPENVINO = "openvino", "OpenVINO"
        ULTRALYTICS = "ultralytics", "Ultralytics"
        MOTION = "motion", "motion"

    name = models.CharField(max_length=100, unique=True)
    runtime = models.CharField(max_length=20, choices=Runtime)
    labels = models.JSONField(default=list)
    sha256 = models.CharField("SHA-256", max_length=64, blank=True)
    original_sha256 = models.CharField(
        "SHA-256 of the original", max_length=64, blank=True, help_text="Of the file it was exported from."
    )
    licence = models.CharField(max_length=200, blank=True)
    source = models.CharField(max_length=300, blank=True, help_text="Where it came from.")
    # The names of its files in storage, all in one folder; none for motion, which has no weights.
    files = models.JSONField(default=list, editable=False)
    ms_per_image = models.FloatField("milliseconds an image", null=True, blank=True, editable=False)
    is_active = models.BooleanField("active", default=False, editable=False)
    created_at = models.DateTimeField(auto_now_add=True, editable=False)

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["is_active"], condition=models.Q(is_active=True), name="one_active_model")
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def active(cls) -> Model:
        """The model that new analyses use."""
        return cls.objects.get(is_active=True)

    @classmethod
    def keep(cls, folder: Path, file_names: list[str], sha256: str, **facts: object) -> Model:
        """Stores checked weights under their hash, then the row that names them.

        ``facts`` are the row's name, runtime, labels, licence, source and speed. A model of the same name and hash is
        the one that is there; the same name with other weights is refused by the caller.
        """
        target = f"models/{sha256}-{secrets.token_hex(4)}"
        stored = [f"{target}/{file_name}" for file_name in file_names]
        with LooseFile.expecting(stored) as batch:
            for file_name, name in zip(file_names, stored, strict=True):
                with (folder / file_name).open("rb") as file:
                    default_storage.save(name, File(file))
            with transaction.atomic():
                LooseFile.kept(batch)
                return cls.objects.create(sha256=sha256, files=stored, **facts)

    def activate(self) -> None:
        """Makes this the model that new analyses use."""
        with transaction.atomic():
            Model.objects.filter(is_active=True).exclude(pk=self.pk).update(is_active=False)
            Model.objects.filter(pk=self.pk).update(is_active=True)
            self.is_active = True

    @property
    def is_motion(self) -> bool:
        return self.runtime == self.Runtime.MOTION

    @property
    def looks_at_pictures(self) -> bool:
        """Whether it can tell anything of one picture: motion needs a clip."""
        return not self.is_motion

    def local_weights(self) -> Path | None:
        """The weights on this machine as the vision code wants them: a folder for OpenVINO, a file otherwise."""
        if not self.files:
            return None
        paths = [local_copy(name, settings.CACHE_DIR) for name in self.files]
        return paths[0].parent if self.runtime == self.Runtime.OPENVINO else paths[0]
