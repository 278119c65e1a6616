"""What a worker does with one row: claim, call the vision code, record.

Every function takes a primary key and ends quietly where there is nothing to claim, so that a message may come twice,
late, or for a row that is gone. How a step failed is recorded by ``working_on``.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from django.core.files.base import File
from django.core.files.storage import default_storage

from detection.models import Analysis, Chunk, LeaseLost, Media, Model, Proxy
from detection.storage import put
from detection.vision import pipeline
from detection.vision.detector import Detector, load_detector
from detection.vision.frames import plan_spans
from detection.vision.pack import pack, unpack
from detection.vision.proxy import make_proxy
from detection.vision.types import MediaKind, Params, Span
from workers.lease import worker_name
from workers.working import renew_connection, working_on

log = logging.getLogger(__name__)


def plan(pk: int) -> list[int]:
    """Cuts an analysis into chunks; answers the keys of the chunks to do."""
    analysis = Analysis.claim(pk, worker_name())
    if analysis is None:
        return []
    with working_on(analysis):
        media = analysis.media
        if kind_of(media) == "image":
            spans = [Span(0, 0.0, 0.0, 1)]
        else:
            spans = plan_spans(media.local_path(), analysis.parameters.chunk_s)
        return [chunk.pk for chunk in analysis.planned(spans)]
    return []


def detect(pk: int) -> int | None:
    """Looks at one chunk; answers the analysis' key where this was its last chunk."""
    chunk = Chunk.claim(pk, worker_name())
    if chunk is None:
        return None
    with working_on(chunk) as keeper:
        analysis = chunk.analysis
        media = analysis.media
        frames, stats = pipeline.detect(
            media.local_path(),
            kind_of(media),
            chunk.span,
            detector_of(analysis.model, analysis.parameters),
            analysis.parameters,
            on_progress=lambda frames_read: keeper.check(frames_read=frames_read),
        )
        renew_connection()
        return chunk.analysis_id if chunk.finish(pack(frames), stats) else None
    return None


def finish(pk: int) -> bool:
    """Tracks over all chunks in order and stores the sightings; answers whether this call did it."""
    analysis = Analysis.claim_finish(pk, worker_name())
    if analysis is None:
        return False
    with working_on(analysis) as keeper:
        began = time.perf_counter()
        media = analysis.media
        chunks = list(analysis.chunks.order_by("number"))
        frames = [frame for chunk in chunks for frame in unpack(bytes(chunk.detections))]
        pipeline.require_readable(analysis.frames_planned, sum(chunk.frames_read for chunk in chunks))
        tracks = pipeline.track(kind_of(media), frames, analysis.parameters, keeper.check)
        thumbnails: dict[int, str] = {}
        with nothing_left_of(media.pk, thumbnails.values()):
            for index, jpeg in pipeline.thumbnails(media.local_path(), kind_of(media), tracks):
                keeper.check()
                name = f"{media.folder}/sightings/{analysis.pk}-{index + 1}.jpg"
                thumbnails[index + 1] = put(name, jpeg)
            renew_connection()
            analysis.finish(tracks, thumbnails, time.perf_counter() - began)
        return True
    return False


def proxy(pk: int) -> bool:
    """Makes the H.264 copy of a clip that browsers cannot play; answers whether this call did it."""
    row = Proxy.claim(pk, worker_name())
    if row is None:
        return False
    with working_on(row) as keeper, tempfile.TemporaryDirectory(prefix="nightjar-proxy-") as folder:
        target = Path(folder) / "proxy.mp4"
        make_proxy(row.media.local_path(), target, on_progress=lambda _frames: keeper.check())
        names: list[str] = []
        with target.open("rb") as file, nothing_left_of(row.media_id, names):
            names.append(default_storage.save(f"{row.media.folder}/proxy.mp4", File(file)))
            renew_connection()
            row.finish(names[0])
        return True
    return False


def run_here(analysis: Analysis) -> None:
    """All steps of an analysis in this process, for a command that has no broker."""
    for pk in plan(analysis.pk):
        detect(pk)
    finish(analysis.pk)


@contextmanager
def nothing_left_of(media_pk: int, names: Collection[str]) -> Iterator[None]:
    """Where the media was removed while its files were made, they are deleted again: no row will ever name them."""
    try:
        yield
    except LeaseLost:
        if not Media.objects.filter(pk=media_pk).exists():
            for name in names:
                default_storage.delete(name)
        raise


def kind_of(media: Media) -> MediaKind:
    """The media's kind in the vision code's words."""
    return "image" if media.kind == Media.Kind.IMAGE else "clip"


def detector_of(model: Model, params: Params) -> Detector:
    """The model's detector, loaded once a process."""
    return _loaded(model.runtime, model.local_weights(), params)


@lru_cache(maxsize=2)
def _loaded(runtime: str, weights: Path | None, params: Params) -> Detector:
    return load_detector(runtime, weights, params)
