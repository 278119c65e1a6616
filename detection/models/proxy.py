from __future__ import annotations

from django.db import models

from detection.models.media import Media
from detection.models.work import UNTRIED, Work


class Proxy(Work):
    """An H.264 copy of a clip whose codec browsers cannot play, for the review page only."""

    media = models.OneToOneField(Media, models.CASCADE, related_name="proxy", editable=False)
    file = models.FileField(max_length=200, blank=True, editable=False)

    class Meta:
        verbose_name_plural = "proxies"

    def __str__(self) -> str:
        return f"Proxy of {self.media}"

    def retry(self) -> bool:
        """Opens a failed one again; answers whether it did."""
        rows = Proxy.objects.filter(pk=self.pk, state=self.State.FAILED)
        return bool(rows.update(state=self.State.QUEUED, **UNTRIED))

    def finish(self, name: str) -> None:
        """Names the stored copy. Raises LeaseLost."""
        self._end_as_done(file=name)
