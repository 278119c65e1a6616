"""What a worker does with one row: claim, call the vision code, record.

Every function takes a primary key and ends quietly where there is nothing to claim, so that a message may come twice,
late, or for a row that is gone. How a step failed is recorded by ``working_on``.
"""

from __future__ import annotations

import gc
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage
from django.db.models import Sum

from detection.models import Analysis, Chunk, LeaseLost, LooseFile, Media, Model, Proxy
from detection.storage import MovableFile, part_in, put
from detection.vision import pipeline
from detection.vision.detector import Detector, load_detector
from detection.vision.frames import plan_spans
from detection.vision.pack import pack, unpack
from detection.vision.proxy import make_proxy
from detection.vision.types import FrameDetections, Frames, MediaKind, Params, Span
from workers import measuring
from workers.lease import Keeper, worker_name
from workers.stages import stage
from workers.working import renew_connection, working_on

log = logging.getLogger(__name__)


def plan(pk: int) -> list[Chunk] | None:
    """Cuts an analysis into chunks, which are to be done.

    A picture is no more than one chunk: what there is to do with it is done at once, under the claim on its analysis,
    which spares most of the rows' changes. Nothing is left to do then.
    """
    with stage("claim"):
        analysis = Analysis.claim(pk, worker_name())
    if analysis is None:
        return None
    with working_on(analysis) as keeper:
        media = analysis.media
        if kind_of(media) == "image":
            _do_picture(analysis, keeper)
            return []
        with stage("open"):
            path, chunk_s = media.local_path(), analysis.parameters.chunk_s
        with stage("plan"):
            spans = plan_spans(path, chunk_s, on_packet=lambda _frames, _end_s: keeper.check())
            return analysis.planned(spans)
    return None


@dataclass(frozen=True, slots=True)
class Looked:
    """A chunk is done; ``ready`` is its analysis where it was the last one, claimed for its finish."""

    ready: Analysis | None


def _opened(analysis: Analysis) -> tuple[Path, Detector]:
    with stage("open"):
        path = analysis.media.local_path()
    with stage("load"):
        return path, detector_of(analysis)


def _do_picture(analysis: Analysis, keeper: Keeper) -> None:
    path, detector = _opened(analysis)
    keeper.check()
    span = Span(0, 0.0, 0.0, 1)
    frames, stats = pipeline.detect(path, "image", span, detector, analysis.parameters)
    measuring.looked(stats, analysis.model)
    (only,) = Chunk.plan(analysis, [span])
    only.done_at_once(pack(frames), stats)
    _conclude(analysis, keeper, frames, only)


def detect(pk: int) -> Looked | None:
    """Looks at one chunk."""
    with stage("claim"):
        chunk = Chunk.claim(pk, worker_name())
    if chunk is None:
        return None
    with working_on(chunk) as keeper:
        analysis = chunk.analysis
        path, detector = _opened(analysis)
        keeper.check()  # from here on it is to come back every moment
        frames, stats = pipeline.detect(
            path,
            kind_of(analysis.media),
            chunk.span,
            detector,
            analysis.parameters,
            on_progress=lambda frames_read: keeper.check(frames_read=frames_read),
        )
        renew_connection(keeper)
        measuring.looked(stats, analysis.model)
        with stage("store"):
            is_last = chunk.finish(pack(frames), stats)
        return Looked(analysis if is_last and analysis.go_on_to_finish(worker_name()) else None)
    return None


def finish(pk: int) -> bool:
    """Tracks over all chunks in order and stores the sightings; answers whether this call did it."""
    with stage("claim"):
        analysis = Analysis.claim_finish(pk, worker_name())
    return track(analysis) if analysis else False


def track(analysis: Analysis) -> bool:
    """As ``finish``, for an analysis that is claimed."""
    with working_on(analysis) as keeper:
        frames = StoredFrames(analysis)
        pipeline.require_readable(analysis.frames_planned, frames.read)
        _conclude(analysis, keeper, frames)
        return True
    return False


def _conclude(analysis: Analysis, keeper: Keeper, frames: Frames, only: Chunk | None = None) -> None:
    """Tracks, cuts the thumbnails, and stores the result."""
    began = time.perf_counter()
    media = analysis.media
    with stage("track"):
        tracks = pipeline.track(kind_of(media), frames, analysis.parameters, keeper.check)
    # A name of its own for each time it is made: what a lost worker still writes harms nobody.
    stem = f"{media.folder}/sightings/{analysis.pk}-{secrets.token_hex(4)}"
    thumbnails = {number: f"{stem}-{number}.jpg" for number in range(1, len(tracks) + 1)}
    with LooseFile.expecting(thumbnails.values()) if tracks else nullcontext() as batch:
        if tracks:
            with stage("thumbnails"):
                with keeper.waiting():
                    path = media.local_path()
                for index, jpeg in pipeline.thumbnails(path, kind_of(media), tracks, on_progress=keeper.check):
                    put(thumbnails[index + 1], jpeg)
        renew_connection(keeper)
        took_s = time.perf_counter() - began
        with stage("store"):
            analysis.finish(tracks, thumbnails, took_s, batch, only)
    measuring.concluded(analysis, tracks)


def proxy(pk: int) -> bool:
    """Makes the H.264 copy of a clip that browsers cannot play; answers whether this call did it."""
    row = Proxy.claim(pk, worker_name())
    if row is None:
        return False
    # Made on the disk where it will lie, which a rename then is enough for.
    with working_on(row) as keeper, part_in(settings.INCOMING_DIR) as part:
        with stage("copy"):
            make_proxy(row.media.local_path(), Path(part.name), on_progress=lambda _frames: keeper.check())
        name = f"{row.media.folder}/proxy-{secrets.token_hex(4)}.mp4"
        with MovableFile(Path(part.name)) as file, LooseFile.expecting([name]) as batch:
            size = file.size
            with keeper.waiting():
                default_storage.save(name, file)
            renew_connection(keeper)
            row.finish(name, size, batch)
        return True
    return False


def run_here(analysis: Analysis) -> None:
    """All steps of an analysis in this process, for a command that has no broker."""
    for chunk in plan(analysis.pk) or []:
        looked = detect(chunk.pk)
        if looked and looked.ready:
            track(looked.ready)


class StoredFrames:
    """The frames of all chunks of an analysis in order; unpacked chunk by chunk, each time they are gone through."""

    def __init__(self, analysis: Analysis) -> None:
        self._chunks = analysis.chunks.order_by("number")
        totals = self._chunks.aggregate(read=Sum("frames_read"), sampled=Sum("frames_sampled"))
        self.read: int = totals["read"] or 0
        self._sampled: int = totals["sampled"] or 0

    def __len__(self) -> int:
        return self._sampled

    def __iter__(self) -> Iterator[FrameDetections]:
        for pk in list(self._chunks.values_list("pk", flat=True)):
            packed = Chunk.objects.filter(pk=pk).values_list("detections", flat=True).first()
            if packed is None:
                raise LeaseLost(f"chunk {pk} is gone")
            yield from unpack(bytes(packed))


def kind_of(media: Media) -> MediaKind:
    """The media's kind in the vision code's words."""
    return "image" if media.kind == Media.Kind.IMAGE else "clip"


def detector_of(analysis: Analysis) -> Detector:
    """Its model's detector, loaded once a process."""
    return _loaded(analysis.model_id, analysis.parameters)


@lru_cache(maxsize=2)
def _loaded(model_pk: int, params: Params) -> Detector:
    model = Model.objects.get(pk=model_pk)
    detector = load_detector(model.runtime, model.local_weights(), params)
    # What is there now stays: the collector of garbage need not go through it again with every few pictures.
    gc.collect()
    gc.freeze()
    return detector
