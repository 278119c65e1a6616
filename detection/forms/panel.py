"""What the form says of a trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from detection.fields import WrongKey
from detection.models import Trial
from detection.sources import shown

PATIENCE = timedelta(seconds=15)  # then somebody should look whether a worker is there at all


@dataclass(frozen=True, slots=True)
class Panel:
    """A trial, and what was wrong with asking for one."""

    trial: Trial | None = None
    problems: Sequence[str] = ()

    @property
    def stage(self) -> str:
        """Changes when there is something new to say."""
        if self.trial is None:
            return ""
        if self.trial.state != Trial.State.QUEUED:
            return str(self.trial.state)
        if timezone.now() - self.trial.requested_at > PATIENCE:
            return "waits"
        return "sent" if self.trial.sent_at else "unsent"

    @property
    def place(self) -> str:
        """The part of its address that may be shown."""
        try:
            return shown(self.trial.source, self.trial.address.reveal()) if self.trial else ""
        except WrongKey:
            return ""

    @property
    def picture_words(self) -> str:
        """Such as “1920 × 1080 pixels, after 0.8 seconds”."""
        if self.trial is None:
            return ""
        return f"{self.trial.width} × {self.trial.height} pixels, after {max(0.1, self.trial.took_s):.1f} seconds"
