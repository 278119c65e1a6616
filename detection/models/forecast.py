"""How far analyses are, how fast they go on, and what waits before them: from their rows, never from a guess.

Frames and their times are on the chunks, and each renewal of a lease writes them. The rate is what all workers together
read of an analysis in its last minute on the clock; what was read before a restart or a retry counts as done and not
towards the rate. A part that waits its turn among others is slower by it, as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Case, Count, Exists, OuterRef, Q, Sum, When

from detection.models.analysis import Analysis
from detection.models.chunk import Chunk
from detection.models.clock import now
from detection.models.media import Media
from detection.models.speed import Speed, begin_of
from detection.models.work import Work

RATE_OVER = timedelta(seconds=60)
SEEN_FOR_S = 2.0  # sooner there is no rate worth the name

CLIPS = Q(media__kind=Media.Kind.CLIP)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of an analysis that is not over. ``place`` is its place in the queue, 1 the next; None once it is worked on."""

    frames: int
    planned: int
    rate: float | None = None  # frames a second
    place: int | None = None
    begins_s: float | None = None

    @property
    def share(self) -> float:
        return min(1.0, self.frames / self.planned) if self.planned else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until all its frames are read, should it go on as in the last minute."""
        return (self.planned - self.frames) / self.rate if self.rate and self.frames < self.planned else None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not over yet, and how long that will take; None where no such work was measured yet."""

    count: int
    seconds: float | None


def forecasts(analyses: Iterable[Analysis]) -> dict[int, Forecast]:
    """By key, of those that are not over: in at most seven queries, however many there are."""
    unfinished = {analysis.pk: analysis for analysis in analyses if not analysis.is_over}
    if not unfinished:
        return {}
    moment = now()
    paces = _paces(list(unfinished), moment)
    idle = [one for one in unfinished.values() if _is_idle(one, paces[one.pk], moment)]
    places = _places(idle)
    found = {}
    for pk, analysis in unfinished.items():
        place, begins_s = places.get(pk, (None, None))
        pace = paces[pk]
        found[pk] = Forecast(pace.frames, analysis.frames_planned, pace.rate(moment), place, begins_s)
    return found


def waiting() -> Q:
    """Which analyses wait: nobody has begun to look at them."""
    begun = Chunk.objects.filter(analysis=OuterRef("pk")).exclude(state=Chunk.State.QUEUED, frames_read=0)
    planned = Q(state=Analysis.State.RUNNING, step=Analysis.Step.DETECT, lease_until=None) & Q(~Exists(begun))
    return Q(state=Analysis.State.QUEUED) | planned


def backlog(speed: Speed) -> Backlog:
    """All that waits or runs now."""
    counts = {
        "count": Count("pk"),
        "images": Count("pk", filter=~CLIPS),
        "frames": Sum("media__frames", filter=CLIPS, default=0),
    }
    ahead = Analysis.objects.filter(Work.UNFINISHED).aggregate(**counts)
    read = sum(_read_of_unfinished().values()) if ahead["count"] else 0
    return Backlog(ahead["count"], speed.of_waiting(ahead["images"], max(0, ahead["frames"] - read)))


@dataclass(slots=True)
class _Pace:
    """What the chunks of one analysis say."""

    frames: int = 0  # read, by all its chunks
    is_at_work: bool = False
    parts: list[tuple[datetime, datetime, int]] = field(default_factory=list)  # from, until, frames read

    def rate(self, moment: datetime) -> float | None:
        if not self.parts:
            return None
        since = max(moment - RATE_OVER, min(begin for begin, _, _ in self.parts))
        # A chunk's frames are as of its last renewal. With nobody at it, the time that it waits counts too.
        until = max(end for _, end, _ in self.parts) if self.is_at_work else moment
        frames = sum(_within(part, since) for part in self.parts)
        seconds = (until - since).total_seconds()
        return frames / seconds if frames and seconds >= SEEN_FOR_S else None


def _within(part: tuple[datetime, datetime, int], since: datetime) -> float:
    """How many of its frames were read after that, were they read evenly."""
    begin, end, frames = part
    if end <= begin or end <= since:
        return 0.0
    return frames * ((end - max(begin, since)) / (end - begin))


def _paces(pks: Sequence[int], moment: datetime) -> dict[int, _Pace]:
    paces: dict[int, _Pace] = defaultdict(_Pace)
    chunks = Chunk.objects.filter(analysis__in=pks).order_by()
    for pk, frames in chunks.values_list("analysis").annotate(Sum("frames_read")):
        paces[pk].frames = frames
    alive = Q(state=Chunk.State.RUNNING, lease_until__gt=moment)
    recent = chunks.filter(alive | Q(state=Chunk.State.DONE, finished_at__gt=moment - RATE_OVER))
    columns = ("analysis", "frames_read", "started_at", "sent_at", "finished_at", "lease_until")
    for pk, frames, started_at, sent_at, finished_at, lease_until in recent.values_list(*columns):
        end = finished_at or lease_until - timedelta(seconds=settings.LEASE_S)
        paces[pk].is_at_work |= finished_at is None
        paces[pk].parts.append((begin_of(started_at, sent_at, end), end, frames))
    return paces


def _is_idle(analysis: Analysis, pace: _Pace, moment: datetime) -> bool:
    """Whether nobody has begun to look at it."""
    is_held = analysis.lease_until is not None and analysis.lease_until > moment
    return not (pace.frames or pace.is_at_work or is_held)


# The queue: what somebody waits for before bulk, the oldest first. Bulk that has aged gets its turns nevertheless, so
# that this is the order on the whole, and the times are about right.
IN_TURN = (Case(When(lane=Analysis.Lane.INTERACTIVE, then=0), default=1), "pk")


def _places(idle: Sequence[Analysis]) -> dict[int, tuple[int, float | None]]:
    """Place in the queue, and seconds until it begins.

    Goes along the queue once, up to the last that is asked for: however many those are, that takes as long.
    """
    found: dict[int, tuple[int, float | None]] = {}
    if not idle:
        return found
    speed, read, asked = Speed.measured(), _read_of_unfinished(), {analysis.pk for analysis in idle}
    queue = Analysis.objects.filter(Work.UNFINISHED).order_by(*IN_TURN)
    images = frames = 0
    for place, (pk, kind, of_it) in enumerate(queue.values_list("pk", "media__kind", "media__frames").iterator(), 1):
        if pk in asked:
            found[pk] = (place, speed.of_waiting(images, frames) if place > 1 else None)
            if len(found) == len(asked):
                break
        if kind == Media.Kind.IMAGE:
            images += 1
        else:
            frames += max(0, of_it - read.get(pk, 0))
    return found


def _read_of_unfinished() -> dict[int, int]:
    """Frames read, by key, of the clips that are being worked on."""
    clips = Analysis.objects.filter(Work.UNFINISHED, CLIPS, state=Analysis.State.RUNNING)
    read = clips.filter(chunks__frames_read__gt=0).order_by()
    return dict(read.values_list("pk").annotate(Sum("chunks__frames_read")))
