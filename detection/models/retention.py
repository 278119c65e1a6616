"""Retention: which media go by age and by bytes, for each camera and in all, and which never do.

Age counts from when a media came in, not from when it was taken: old footage that somebody uploads today is new here.
By bytes the oldest go first. A picture has to satisfy both its camera's rule and the one for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Literal

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from detection.models.analysis import Analysis
from detection.models.camera import Camera
from detection.models.capture import Capture
from detection.models.media import Media
from detection.models.proxy import Proxy
from detection.models.sighting import Sighting
from detection.models.verdict import Verdict
from detection.models.work import Work

PAGE = 500  # media read at once
MOST_DAYS = 36_500  # a hundred years: a time before that is none
SIZE = F("bytes") + Coalesce(F("proxy__bytes"), 0)


def size_words(size: int) -> str:
    """12.3 GB, in powers of ten, as disks are sold."""
    if size == 1:
        return "1 byte"
    number = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


# What may go


def kept() -> Q:
    """Media that somebody marked, or that a verdict was asked to keep."""
    return Q(is_kept=True) | Q(Exists(Verdict.keeping().filter(media=OuterRef("pk"))))


def at_work() -> Q:
    """Media that a worker looks at or is to look at: they were accepted, and are not done."""
    analyses = Analysis.objects.filter(Work.UNFINISHED, media=OuterRef("pk"))
    proxies = Proxy.objects.filter(Work.UNFINISHED, media=OuterRef("pk"))
    return Q(Exists(analyses)) | Q(Exists(proxies))


def removable() -> QuerySet[Media]:
    """The media that a rule may remove, for a few of them: see ``_those_that_may_go``."""
    return Media.objects.filter(~(kept() | at_work()))


# The rules


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason to go: older than so many days, or beyond so many bytes."""

    of: Literal["camera", "all"]
    kind: Literal["days", "bytes"]
    limit: int
    scope: Q = field(compare=False)  # which media it is about; asked again before each of them goes

    @property
    def words(self) -> str:
        what = f"older than {days_words(self.limit)}" if self.kind == "days" else f"beyond {size_words(self.limit)}"
        return f"{'its camera’s' if self.of == 'camera' else 'for all'}: {what}"


def days_words(days: int) -> str:
    return "1 day" if days == 1 else f"{days:,} days"


def cutoff(moment: datetime, days: int) -> datetime:
    """What came in before this is older than so many days."""
    return moment - timedelta(days=min(days, MOST_DAYS))


def days_for(camera: Camera | None) -> int:
    """After how many days its pictures go, by its rule or the one for all; 0 is never."""
    of_camera = camera.retain_days if camera else None
    return min(filter(None, (of_camera, settings.RETAIN_DAYS)), default=0)


def limited_cameras() -> QuerySet[Camera]:
    """The cameras with a rule of their own; 0 is none."""
    return Camera.objects.filter(Q(retain_days__gt=0) | Q(retain_bytes__gt=0))


def has_rules() -> bool:
    """Whether any media may ever go by itself."""
    return bool(settings.RETAIN_DAYS or settings.RETAIN_BYTES) or limited_cameras().exists()


@dataclass(frozen=True, slots=True)
class Going:
    """A media that is to go, and why. Its size is that of its file and of its copy for browsers."""

    pk: int
    camera_id: int | None
    created_at: datetime
    size: int
    is_looked_at: bool
    has_failed: bool
    to_review: bool
    rule: Rule


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A limit that is exceeded though everything that may go goes."""

    camera_id: int | None
    limit: int
    excess: int


class Plan:
    """What is to go, as things are at this moment. Nothing is read before it is asked for.

    First by age, then by the cameras' bytes, then by bytes in all: each finds what the ones before have left.
    ``spared`` are media that could not be removed just now.
    """

    def __init__(self, moment: datetime, spared: Collection[int] = ()) -> None:
        self.moment = moment
        self.shortfalls: list[Shortfall] = []
        self._spared = spared
        self._freed: Counter[int | None] = Counter()  # by camera
        self._aged = cutoff(moment, settings.RETAIN_DAYS) if settings.RETAIN_DAYS else None
        limits = limited_cameras().values_list("pk", "retain_days", "retain_bytes")
        self._days = {pk: days for pk, days, _ in limits if days}
        self._bytes = {pk: size for pk, _, size in limits if size}
        self._last: dict[int | None, tuple[datetime, int]] = {}  # of each camera, the last that goes by its bytes

    def going(self) -> Iterator[Going]:
        """All of them, by rule, and of each rule the oldest first. For one round only."""
        yield from self._by_age()
        for camera_id, limit in self._exceeded():
            rule = Rule("camera", "bytes", limit, Q(camera=camera_id, camera__retain_bytes=limit))
            yield from self._by_bytes(rule, camera_id)
        if settings.RETAIN_BYTES:
            yield from self._by_bytes(Rule("all", "bytes", settings.RETAIN_BYTES, Q()), None)

    def _exceeded(self) -> list[tuple[int, int]]:
        """The cameras with more bytes than their limits, looked up at once: most of many are within theirs."""
        media = Media.objects.filter(camera__retain_bytes__gt=0).order_by()
        totals = media.values("camera").annotate(total=Sum(SIZE)).values_list("camera", "total")
        return sorted((pk, self._bytes[pk]) for pk, total in totals if total > self._bytes.get(pk, total))

    def _by_age(self) -> Iterator[Going]:
        if self._aged is not None:
            rule = Rule("all", "days", settings.RETAIN_DAYS, Q(created_at__lt=self._aged))
            yield from self._count(chain.from_iterable(_pages(rule)))
        for days in sorted(set(self._days.values())):
            before = cutoff(self.moment, days)
            if self._aged is not None and before <= self._aged:
                continue
            rule = Rule("camera", "days", days, Q(camera__retain_days=days, created_at__lt=before))
            rest = chain.from_iterable(_pages(rule))
            yield from self._count(going for going in rest if self._aged is None or going.created_at >= self._aged)

    def _by_bytes(self, rule: Rule, camera_id: int | None) -> Iterator[Going]:
        pages = _pages(rule)
        # The first of them are read before the sum: what somebody removes in between then counts as gone twice, and
        # one too few goes, not one too many.
        first = next(pages, [])
        excess = self._total(camera_id) - rule.limit
        excess -= self._freed[camera_id] if camera_id is not None else self._freed.total()
        for going in chain(first, chain.from_iterable(pages)):
            if excess <= 0:
                return
            if self._goes_already(going) or going.pk in self._spared:
                continue
            excess -= going.size
            self._freed[going.camera_id] += going.size
            if camera_id is not None:
                self._last[camera_id] = (going.created_at, going.pk)
            yield going
        if excess > 0:
            self.shortfalls.append(Shortfall(camera_id, rule.limit, excess))

    def _count(self, found: Iterator[Going]) -> Iterator[Going]:
        for going in found:
            if going.pk not in self._spared:
                self._freed[going.camera_id] += going.size
                yield going

    @staticmethod
    def _total(camera_id: int | None) -> int:
        rows = Media.objects.all() if camera_id is None else Media.objects.filter(camera=camera_id)
        return rows.aggregate(total=Sum(SIZE))["total"] or 0

    def _goes_already(self, going: Going) -> bool:
        """Whether a rule before this one has it."""
        days = self._days.get(going.camera_id or 0)
        if self._aged is not None and going.created_at < self._aged:
            return True
        if days and going.created_at < cutoff(self.moment, days):
            return True
        last = self._last.get(going.camera_id)
        return last is not None and (going.created_at, going.pk) <= last


def _pages(rule: Rule) -> Iterator[list[Going]]:
    """What a rule is about and may go, the oldest first, a page at a time. Reads on from the last one that was seen."""
    rows = Media.objects.filter(rule.scope, is_kept=False).annotate(size=SIZE).order_by("created_at", "pk")
    beyond = Q()
    while page := list(rows.filter(beyond).values_list("pk", "camera_id", "created_at", "size")[:PAGE]):
        yield _those_that_may_go(rule, page)
        at, pk = page[-1][2], page[-1][0]
        # The first condition says nothing new, but lets the index begin there.
        beyond = Q(created_at__gte=at) & (Q(created_at__gt=at) | Q(pk__gt=pk))


def _those_that_may_go(rule: Rule, page: Sequence[tuple[int, int | None, datetime, int]]) -> list[Going]:
    """As ``removable``, with what is to be told of each: asked for a page at a time.

    In one query with the media PostgreSQL would look through all analyses for each page.
    """
    pks = [row[0] for row in page]
    analyses = Analysis.objects.filter(media__in=pks)
    stay = _media_of(analyses.filter(Work.UNFINISHED))
    stay |= _media_of(Proxy.objects.filter(Work.UNFINISHED, media__in=pks))
    stay |= _media_of(Verdict.keeping().filter(media__in=pks))
    looked_at = _media_of(analyses.filter(is_current=True))
    failed = _media_of(analyses.filter(state=Analysis.State.FAILED))
    to_review = _media_of(Sighting.objects.filter(Sighting.current(), media__in=pks, verdict=None))
    return [
        Going(pk, camera_id, created_at, size, pk in looked_at, pk in failed, pk in to_review, rule)
        for pk, camera_id, created_at, size in page
        if pk not in stay
    ]


def _media_of(rows: QuerySet[Any]) -> set[int]:
    return set(rows.order_by().values_list("media_id", flat=True))


# The records of captures, which have a rule of their own


def old_captures(camera_id: int, moment: datetime) -> QuerySet[Capture]:
    """The records of this camera's captures that are to go.

    One that stands for several planned times goes when the last of them is old enough, so that what is shown of a
    camera's last month never loses a time.
    """
    before = cutoff(moment, settings.RETAIN_CAPTURES_DAYS)
    is_old = Q(planned_at__lt=before) & (Q(last_at=None) | Q(last_at__lt=before))
    return Capture.objects.filter(is_old, camera=camera_id).exclude(state=Capture.State.PLANNED).order_by()


def cameras_with_old_captures(moment: datetime) -> list[int]:
    """Looked up camera by camera in the index that there is: captures are many millions."""
    if not settings.RETAIN_CAPTURES_DAYS:
        return []
    before = cutoff(moment, settings.RETAIN_CAPTURES_DAYS)
    captures = Capture.objects.filter(camera=OuterRef("pk"), planned_at__lt=before)
    return list(Camera.objects.filter(Exists(captures)).order_by("pk").values_list("pk", flat=True))


# What becomes of one media


@dataclass(frozen=True, slots=True)
class Fate:
    """When a media goes, and by which rule; or what keeps it."""

    is_marked: bool
    keeping: Verdict | None
    days: int  # of the stricter rule; 0: never by age
    is_cameras: bool  # whether that is its camera's
    until: datetime | None
    bytes_of_camera: int
    bytes_of_all: int


def fate_of(media: Media) -> Fate:
    camera, days = media.camera, days_for(media.camera)
    return Fate(
        is_marked=media.is_kept,
        keeping=Verdict.keeping().filter(media=media).select_related("user").order_by("-pk").first(),
        days=days,
        is_cameras=days not in (0, settings.RETAIN_DAYS),
        until=media.created_at + timedelta(days=min(days, MOST_DAYS)) if days else None,
        bytes_of_camera=(camera.retain_bytes or 0) if camera else 0,
        bytes_of_all=settings.RETAIN_BYTES,
    )
