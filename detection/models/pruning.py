"""Doing what retention says: media go one by one, each in a transaction of its own, the oldest first.

What dies in between loses nothing: a media is there whole or gone whole, and its files are cleared away by what says so
in the database (``LooseFile``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from django.db import IntegrityError, OperationalError, transaction
from django.db.models import QuerySet, Sum

from detection.models.analysis import Analysis
from detection.models.camera import Camera
from detection.models.capture import Capture
from detection.models.clock import now
from detection.models.media import Media
from detection.models.proxy import Proxy
from detection.models.retention import (
    PAGE,
    SIZE,
    Going,
    Plan,
    Shortfall,
    at_work,
    cameras_with_old_captures,
    kept,
    old_captures,
    removable,
    size_words,
)

log = logging.getLogger(__name__)

CAPTURES_AT_ONCE = 2000
LONGEST_REST_S = 1.0


@dataclass(slots=True)
class Tally:
    """How much of one camera goes by one rule, and how much of that nobody has looked at."""

    media: int = 0
    bytes: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    to_review: int = 0  # something was found in it, and not all of it was judged
    failed: int = 0  # it could not be analysed
    not_looked_at: int = 0  # it was never analysed, nor has that failed

    def add(self, going: Going) -> None:
        self.media += 1
        self.bytes += going.size
        self.oldest = min(self.oldest or going.created_at, going.created_at)
        self.newest = max(self.newest or going.created_at, going.created_at)
        self.to_review += going.to_review
        self.failed += not going.is_looked_at and going.has_failed
        self.not_looked_at += not going.is_looked_at and not going.has_failed


@dataclass(slots=True)
class Summary:
    """What goes, or went, by camera and rule, and in all."""

    total: Tally = field(default_factory=Tally)
    parts: dict[tuple[int | None, str], Tally] = field(default_factory=dict)

    @classmethod
    def of(cls, all_going: Iterable[Going]) -> Summary:
        summary = cls()
        for going in all_going:
            summary.add(going)
        return summary

    def add(self, going: Going) -> None:
        self.parts.setdefault((going.camera_id, going.rule.words), Tally()).add(going)
        self.total.add(going)


@dataclass(slots=True)
class Outcome:
    """What a run has removed, and whether it came to the end of it."""

    summary: Summary = field(default_factory=Summary)
    captures: int = 0
    shortfalls: list[Shortfall] = field(default_factory=list)
    is_done: bool = False

    @property
    def words(self) -> str:
        total = self.summary.total
        unseen = (
            f"{total.to_review} of them not reviewed, {total.failed} whose analysis had failed, "
            f"{total.not_looked_at} never analysed"
        )
        media = f"{total.media} media of {size_words(total.bytes)} ({unseen})"
        return f"{media} and {self.captures} records of captures"


def prune(keep_going: Callable[[], bool] = lambda: True) -> Outcome:
    """Removes what is to go, until nothing is left to or it is told to stop; the next run goes on from there."""
    outcome = Outcome()
    spared: set[int] = set()
    for going in _all_going(outcome, spared):
        began = time.monotonic()
        try:
            is_removed = remove(going)
        except (IntegrityError, OperationalError):
            # Somebody asks for a new analysis of it in this moment, or is at the same rows: theirs counts.
            log.warning("media %s is not removed now: it is in use", going.pk, exc_info=True)
            is_removed = False
        if is_removed:
            outcome.summary.add(going)
        else:
            spared.add(going.pk)
        # As long as it took, others have their turn: SQLite has one lock for all who write.
        time.sleep(min(LONGEST_REST_S, time.monotonic() - began))
        if not keep_going():  # asked last, so that each run gets on, however long it took to find the first
            return outcome
    outcome.is_done = _prune_captures(outcome, keep_going)
    return outcome


def _all_going(outcome: Outcome, spared: set[int]) -> Iterator[Going]:
    """The plan, made anew for every few media: meanwhile some came in, and others went by other hands."""
    while True:
        plan = Plan(now(), spared)
        some = list(islice(plan.going(), PAGE))
        if not some:
            outcome.shortfalls = plan.shortfalls
            return
        yield from some


def remove(going: Going) -> bool:
    """Removes a media, unless somebody has kept it, judged it or asked for its analysis since it was chosen."""
    with transaction.atomic():
        media = Media.objects.select_for_update().filter(pk=going.pk).first()
        if media is None:
            return False
        # Whoever tries again what had failed changes these, and not the media.
        for rows in (Analysis.objects.filter(media=media), Proxy.objects.filter(media=media)):
            list(rows.select_for_update().values_list("pk", flat=True))
        # In a statement after those that lock: PostgreSQL does not look again at what it had read before it waited.
        if not removable().filter(going.rule.scope, pk=media.pk, created_at=going.created_at).exists():
            return False
        media.remove()
    return True


def _prune_captures(outcome: Outcome, keep_going: Callable[[], bool]) -> bool:
    """Deletes old records of captures bit by bit; answers whether all of them are gone."""
    moment = now()
    for camera_id in cameras_with_old_captures(moment):
        rows = old_captures(camera_id, moment)
        while some := list(rows.values_list("pk", flat=True)[:CAPTURES_AT_ONCE]):
            deleted, _ = Capture.objects.filter(pk__in=some).delete()
            outcome.captures += deleted
            if not keep_going():
                return False
    return True


def captures_to_go() -> int:
    """How many records of captures would go."""
    moment = now()
    return sum(old_captures(camera_id, moment).count() for camera_id in cameras_with_old_captures(moment))


def kept_in_all() -> tuple[int, int]:
    """How many media are kept whatever the rules say, and their bytes."""
    media = Media.objects.filter(kept())
    return media.count(), _size_of(media)


def sentence(shortfall: Shortfall) -> str:
    """What is the matter where a limit is exceeded and nothing else may go."""
    camera = Camera.objects.get(pk=shortfall.camera_id) if shortfall.camera_id else None
    media = Media.objects.filter(camera=camera) if camera else Media.objects.all()
    whose = f"The pictures of camera {camera}" if camera else "All media together"
    limit = f"{size_words(shortfall.limit)} that {'the camera’s limit' if camera else 'RETAIN_BYTES'} allows"
    kept_size, waiting_size = _size_of(media.filter(kept())), _size_of(media.filter(~kept(), at_work()))
    return (
        f"{whose} take {size_words(shortfall.excess)} more than the {limit}, and nothing more may go: "
        f"{size_words(kept_size)} are kept, {size_words(waiting_size)} wait for their analysis or their copy. "
        "Keep less, or raise the limit."
    )


def _size_of(media: QuerySet[Media]) -> int:
    return media.aggregate(size=Sum(SIZE))["size"] or 0
