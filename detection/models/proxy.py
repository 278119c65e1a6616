from __future__ import annotations

from uuid import UUID

from django.db import models, transaction

from detection.models.loose_file import LooseFile
from detection.models.media import Media
from detection.models.work import UNTRIED, Work


class Proxy(Work):
    """An H.264 copy of a clip whose codec browsers cannot play, for the review page only."""

    media = models.OneToOneField(Media, models.CASCADE, related_name="proxy", editable=False)
    file = models.FileField(max_length=200, blank=True, editable=False)
    bytes = models.BigIntegerField(default=0, editable=False)

    time_limit = "PROXY_TIME_LIMIT_S"

    class Meta:
        verbose_name_plural = "proxies"
        indexes = [models.Index(fields=["id"], condition=Work.UNFINISHED, name="proxy_unfinished")]

    def __str__(self) -> str:
        return f"Proxy of {self.media}"

    def retry(self) -> bool:
        """Opens a failed one again; answers whether it did."""
        rows = Proxy.objects.filter(pk=self.pk, state=self.State.FAILED)
        return bool(rows.update(state=self.State.QUEUED, **UNTRIED))

    def remake(self) -> bool:
        """Opens one again whose file was lost; answers whether it was done, and this is still its file."""
        with transaction.atomic():
            rows = Proxy.objects.filter(pk=self.pk, state=self.State.DONE, file=self.file.name)
            opened = rows.update(state=self.State.QUEUED, file="", bytes=0, **UNTRIED)
            if opened:
                LooseFile.drop([self.file.name])  # what may lie there of it
        return bool(opened)

    def finish(self, name: str, size: int, batch: UUID) -> None:
        """Names the stored copy, of ``size`` bytes and of this batch of LooseFile's. Raises LeaseLost."""
        with transaction.atomic():
            self._end_as_done(file=name, bytes=size)
            LooseFile.kept(batch)
