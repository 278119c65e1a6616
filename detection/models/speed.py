"""How fast this installation works, measured on what it did last. Nothing is guessed: what was not measured is None."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from detection.models.analysis import Analysis
from detection.models.chunk import Chunk
from detection.models.media import Media
from detection.models.model import Model

ANALYSES = 100  # looked at, the latest that are done
CHUNKS = 400
LOOKED_AT = (
    "frames", "start_s", "end_s", "sent_at", "started_at", "finished_at",
    "analysis__frames_planned", "analysis__finish_s", "analysis__started_at", "analysis__finished_at",
    "analysis__media__kind", "analysis__media__bytes",
)  # fmt: skip
SLACK = timedelta(seconds=2)  # what planning, rows and messages may take of an analysis; beyond, it has waited


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which a worker was at a chunk, and what it got done."""

    begin: datetime
    end: datetime
    kind: str
    frames: int
    clip_s: float
    bytes: float
    more_s: float  # its share of the work that one worker did for the whole clip afterwards

    @property
    def lasted_s(self) -> float:
        return (self.end - self.begin).total_seconds()

    @property
    def cost_s(self) -> float:
        return self.lasted_s + self.more_s


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds on the clock for each of something, while all workers have something to do.

    How many workers there are is in the measure, on however many machines, without being asked anywhere: what took its
    worker 10 s while on average 2.5 chunks were worked on at a time counts as 4 s. So it is too pessimistic where the
    latest work came in one by one, and puts itself right with the next batch.
    """

    image_s: float | None = None
    is_image_nominal: bool = False  # it is what was measured when the model was added
    frame_s: float | None = None  # of a clip
    clip_s: float | None = None  # for a second of clip
    byte_s: float | None = None  # of a clip

    @classmethod
    def measured(cls) -> Self:
        """Of the active model, over its latest analyses."""
        model = Model.objects.filter(is_active=True).first()
        if model is None:
            return cls()
        stretches = _latest(model)
        at_once = parallel(stretches)
        images = [one for one in stretches if one.kind == Media.Kind.IMAGE]
        clips = [one for one in stretches if one.kind == Media.Kind.CLIP]
        worked_s = sum(one.cost_s for one in clips) / at_once
        image_s = _each(sum(one.cost_s for one in images) / at_once, len(images))
        nominal_s = model.ms_per_image / 1000 if model.ms_per_image and model.looks_at_pictures else None
        return cls(
            image_s=nominal_s if image_s is None else image_s,
            is_image_nominal=image_s is None and nominal_s is not None,
            frame_s=_each(worked_s, sum(one.frames for one in clips)),
            clip_s=_each(worked_s, sum(one.clip_s for one in clips)),
            byte_s=_each(worked_s, sum(one.bytes for one in clips)),
        )

    def of_waiting(self, images: int, frames: int) -> float | None:
        """Seconds for pictures and clips that are here; None where one of the two was never measured."""
        return _sum((images, self.image_s), (frames, self.frame_s))

    def of_files(self, images: int, clip_bytes: int) -> float | None:
        """Seconds for files that nobody has looked into; None where one of the two was never measured."""
        return _sum((images, self.image_s), (clip_bytes, self.byte_s))


def parallel(stretches: Iterable[Stretch]) -> float:
    """How many chunks were worked on at a time, on average over the time in which any was; at least 1."""
    worked_s = busy_s = 0.0
    until: datetime | None = None
    for one in sorted(stretches, key=lambda stretch: stretch.begin):
        worked_s += one.lasted_s
        if until is None or one.end > until:
            busy_s += (one.end - (one.begin if until is None else max(one.begin, until))).total_seconds()
            until = one.end
    return max(1.0, worked_s / busy_s) if busy_s else 1.0


def begin_of(started_at: datetime, sent_at: datetime | None, until: datetime) -> datetime:
    """When the attempt that lasted until then began. ``started_at`` is of the first; each later one was sent anew."""
    return sent_at if sent_at is not None and started_at < sent_at < until else started_at


def _latest(model: Model) -> list[Stretch]:
    # Two steps, so that either database goes along an index: the model's analyses, then their chunks.
    done = Analysis.objects.filter(model=model, state=Analysis.State.DONE).order_by("-pk")
    pks = list(done.values_list("pk", flat=True)[:ANALYSES])
    chunks = Chunk.objects.filter(analysis__in=pks, state=Chunk.State.DONE, started_at__isnull=False)
    rows = chunks.select_related("analysis__media").only(*LOOKED_AT)
    return [_stretch(chunk) for chunk in rows.order_by("-pk")[:CHUNKS]]


def _stretch(chunk: Chunk) -> Stretch:
    analysis, media = chunk.analysis, chunk.analysis.media
    share = chunk.frames / analysis.frames_planned if analysis.frames_planned else 1.0
    times = _in_one_go(chunk, analysis) if share == 1 else None
    begin, end = times or _attempt(chunk)
    return Stretch(
        begin=begin,
        end=end,
        kind=media.kind,
        frames=chunk.frames,
        clip_s=chunk.end_s - chunk.start_s,
        bytes=media.bytes * share,
        more_s=0 if times else analysis.finish_s * share,
    )


def _attempt(chunk: Chunk) -> tuple[datetime, datetime]:
    if chunk.started_at is None or chunk.finished_at is None:
        raise ValueError(f"{chunk} was not worked on")
    return begin_of(chunk.started_at, chunk.sent_at, chunk.finished_at), chunk.finished_at


def _in_one_go(chunk: Chunk, analysis: Analysis) -> tuple[datetime, datetime] | None:
    """Of a picture or a short clip one worker does all the steps, and all of that is what it takes.

    None where it has stood still in between, stopped or waiting.
    """
    begin, end = _attempt(chunk)
    if analysis.started_at is None or analysis.finished_at is None:
        return None
    lasted = analysis.finished_at - analysis.started_at
    is_plausible = lasted <= end - begin + timedelta(seconds=analysis.finish_s) + SLACK
    return (analysis.started_at, analysis.finished_at) if is_plausible else None


def _each(seconds: float, number: float) -> float | None:
    return seconds / number if number else None


def _sum(*parts: tuple[int, float | None]) -> float | None:
    asked: Sequence[tuple[int, float | None]] = [part for part in parts if part[0]]
    known = [number * each for number, each in asked if each is not None]
    return sum(known) if len(known) == len(asked) else None
