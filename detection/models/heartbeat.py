from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models.functions import Now

from detection.models.clock import now
from detection.models.visible import VisibleQuerySet

FORGOTTEN_AFTER_S = (
    900.0  # what is silent for so long is not coming back under this name: a machine that was taken away
)


@dataclass(frozen=True, slots=True)
class Sign:
    """What a process says of itself."""

    name: str  # such as analyse@host, or beat@host
    kind: str
    host: str
    pid: int
    version: str
    queues: list[str]
    slots: int
    memory_bytes: int
    largest_bytes: int
    has_broker: bool
    up_s: int


class Heartbeat(models.Model):
    """The last sign of life of a process that works: the main process of a worker, or beat.

    It is written because the loop that does the work went round, so one that is stuck has none; see
    workers/heartbeat.py.
    """

    class Kind(models.TextChoices):
        WORKER = "worker", "worker"
        BEAT = "beat", "beat"

    name = models.CharField(max_length=200, unique=True, editable=False)
    kind = models.CharField(max_length=6, choices=Kind, editable=False)
    host = models.CharField(max_length=150, editable=False)
    pid = models.PositiveBigIntegerField("process id", editable=False)
    version = models.CharField(max_length=40, editable=False)
    queues = models.JSONField(default=list, editable=False, help_text="What a worker takes its messages from.")
    slots = models.PositiveIntegerField(default=0, editable=False, help_text="How much it can work on at once.")
    memory_bytes = models.PositiveBigIntegerField(
        "memory", default=0, editable=False, help_text="Of it and the processes below it, in bytes."
    )
    largest_bytes = models.PositiveBigIntegerField(
        "largest process", default=0, editable=False, help_text="The memory of the largest of them, in bytes."
    )
    has_broker = models.BooleanField("reaches the broker", default=True, editable=False)
    up_s = models.PositiveBigIntegerField("seconds since it started", default=0, editable=False)
    at = models.DateTimeField(editable=False)

    objects = VisibleQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def beat(cls, sign: Sign) -> None:
        """Notes a sign of life at the database's time, over the one before; one statement."""
        facts: dict[str, Any] = asdict(sign)
        Heartbeat.objects.bulk_create(
            [Heartbeat(**facts, at=Now())],
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=[*(facts.keys() - {"name"}), "at"],
        )

    @classmethod
    def goodbye(cls, name: str, pid: int) -> None:
        """A process stops because it was told to: nobody is to miss it. Not the one that took its name since."""
        cls.objects.filter(name=name, pid=pid).delete()

    @classmethod
    def forget_old(cls) -> int:
        """Forgets those that are gone for good; answers how many."""
        return cls.objects.filter(at__lt=Now() - timedelta(seconds=FORGOTTEN_AFTER_S)).delete()[0]

    @classmethod
    def ages_s(cls) -> dict[str, float]:
        """How long ago each process gave its last sign, by its name."""
        moment = now()
        return {row.name: max(0.0, (moment - row.at).total_seconds()) for row in cls.objects.only("name", "at")}
