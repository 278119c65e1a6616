"""From a stored file to what was found in it: frames, detection, tracks, thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from time import perf_counter

from PIL import Image as PillowImage

from detection.vision.detector import Detector
from detection.vision.frames import ReadCount, frames_at, read_frames, read_image
from detection.vision.gate import MotionGate
from detection.vision.pack import pack, rounded, unpack
from detection.vision.tracking import track_frames
from detection.vision.types import (
    Detection,
    DetectorError,
    DetectStats,
    FrameDetections,
    Frames,
    Image,
    MediaError,
    MediaKind,
    Params,
    Span,
    Track,
    TrackPoint,
)

__all__ = ["detect", "pack", "require_readable", "thumbnails", "track", "unpack", "unreadable"]

BATCHES_AHEAD = 2  # given to the detector and not yet answered: enough to decode meanwhile, few enough for the memory
REPORT_S = 0.2  # between two reports of progress, each of which may say that the work is cancelled
NEEDS_CLIP = (
    "One picture cannot be looked at by motion. Add a model that knows objects: “manage.py models add PATH|NAME”."
)

OnProgress = Callable[[int], None]


def detect(
    path: Path,
    kind: MediaKind,
    span: Span | None,
    detector: Detector,
    params: Params,
    on_progress: OnProgress | None = None,
) -> tuple[list[FrameDetections], DetectStats]:
    """What the detector sees in an image, a clip, or a span of a clip, and how the work went.

    ``on_progress(frames_read)`` is called every moment; what it raises stops the work and passes through. A
    span of which nothing decodes gives no frames: whether too much is missing shows over all spans (require_readable).
    Raises MediaError where the file cannot be opened, DetectorError where the detector could not look.
    """
    detector.reset()
    if kind == "image":
        return _detect_image(path, detector)
    looker = _Looker(detector)
    gate = MotionGate() if params.gate and not detector.needs_motion else None
    count = ReadCount(on_lead_in=(lambda: on_progress(0)) if on_progress else None)
    seen: list[tuple[float, bool, int]] = []  # time, whether it was looked at, number of the picture that was
    looked, decode_s, reported_s = 0, 0.0, perf_counter()
    with looker, closing(read_frames(path, span, params.fps, count)) as frames:
        while True:
            began_s = perf_counter()
            frame = next(frames, None)
            decode_s += perf_counter() - began_s
            if frame is None:
                break
            inferred = gate is None or gate.passes(frame.image, frame.time_s)
            if inferred:
                looker.look(frame.image)
                looked += 1
            seen.append((frame.time_s, inferred, looked - 1))
            if on_progress and perf_counter() - reported_s > REPORT_S:
                on_progress(count.frames)
                reported_s = perf_counter()
        answers = looker.finish()
    found = [rounded(FrameDetections(time_s, inferred, answers[n])) for time_s, inferred, n in seen]
    if on_progress:
        on_progress(count.frames)
    batches_s = tuple(looker.batches_s)
    return found, DetectStats(count.frames, len(seen), looked, round(decode_s, 3), round(sum(batches_s), 3), batches_s)


def _detect_image(path: Path, detector: Detector) -> tuple[list[FrameDetections], DetectStats]:
    if detector.needs_motion:
        raise DetectorError(NEEDS_CLIP, permanent=True)
    began_s = perf_counter()
    image = read_image(path)
    read_s = perf_counter()
    (answer,) = detector.detect([image])
    infer_s = perf_counter() - read_s
    stats = DetectStats(1, 1, 1, round(read_s - began_s, 3), round(infer_s, 3), (infer_s,))
    return [rounded(FrameDetections(0.0, True, tuple(answer)))], stats


@dataclass
class _Looker:
    """Hands pictures to the detector in batches, on a thread of its own: decoding goes on meanwhile.

    Use it as a context manager; leaving it waits for the batch that is being looked at and drops the others.
    """

    detector: Detector
    batches_s: list[float] = field(default_factory=list)
    _batch: list[Image] = field(default_factory=list)
    _asked: list[Future[list[list[Detection]]]] = field(default_factory=list)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "detector"))

    def __enter__(self) -> _Looker:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def look(self, image: Image) -> None:
        self._batch.append(image)
        if len(self._batch) >= self.detector.batch:
            self._hand_over()

    def finish(self) -> list[tuple[Detection, ...]]:
        """The answers to all pictures, in their order."""
        if self._batch:
            self._hand_over()
        return [tuple(answer) for batch in self._asked for answer in batch.result()]

    def _hand_over(self) -> None:
        if len(self._asked) >= BATCHES_AHEAD:
            self._asked[-BATCHES_AHEAD].result()  # raises what the detector raised, and holds the decoder back
        self._asked.append(self._thread.submit(self._work, self._batch))
        self._batch = []

    def _work(self, images: list[Image]) -> list[list[Detection]]:
        began_s = perf_counter()
        answers = self.detector.detect(images)
        self.batches_s.append(perf_counter() - began_s)
        if len(answers) != len(images):
            raise DetectorError("The detector left pictures without an answer.", permanent=True)
        return answers


def unreadable(planned: int, read: int) -> int:
    """How many frames of a media to say could not be read, of those that its plan counted.

    0 where the difference is small: frames that lean on others before the clip's start, or on packed ones, are counted
    by their packets but never shown.
    """
    missing = planned - read
    return missing if missing > max(2, planned // 100) else 0


def require_readable(planned: int, read: int) -> None:
    """Raise MediaError where less than half of a media's frames could be read: finding nothing would mean nothing.

    ``planned`` is the sum over the spans' ``frames`` (1 for an image), ``read`` that of ``DetectStats.frames_read``.
    """
    if read * 2 < planned:
        raise MediaError(
            "unreadable", f"Only {read:,} of the {planned:,} frames of this clip could be read: it is damaged."
        )


def track(
    kind: MediaKind,
    frames: Frames,
    params: Params,
    on_progress: Callable[[], None] | None = None,
) -> list[Track]:
    """The objects behind the detections: a clip's tracks in order of their start, or each box of a single picture.

    ``on_progress()`` is called every moment of work on a clip; what it raises stops the work and passes through.
    """
    if kind == "clip" and len(frames) > 1:
        return track_frames(frames, params, on_progress)
    return [
        Track(d.label, d.score, (TrackPoint(frame.time_s, d.x1, d.y1, d.x2, d.y2, d.score),))
        for frame in frames
        for d in frame.detections
        if d.score >= params.sighting_score
    ]


def thumbnails(
    path: Path,
    kind: MediaKind,
    tracks: Sequence[Track],
    max_side: int = 320,
    on_progress: Callable[[], None] | None = None,
) -> Iterator[tuple[int, bytes]]:
    """A JPEG of each track's best moment with some surroundings: the track's index, the bytes. In order of time.

    ``on_progress()`` is called for every frame that is passed; what it raises stops the work and passes through.
    """
    order = sorted(range(len(tracks)), key=lambda index: tracks[index].best.time_s)
    if kind == "image":
        image = read_image(path)
        for index in order:
            yield index, _crop(image, tracks[index].best, max_side)
        return
    with closing(frames_at(path, [tracks[index].best.time_s for index in order], on_progress)) as frames:
        for index, frame in zip(order, frames, strict=True):
            yield index, _crop(frame.image, tracks[index].best, max_side)


def _crop(image: Image, point: TrackPoint, max_side: int) -> bytes:
    height, width = image.shape[:2]
    margin = max(8.0, 0.2 * max(point.x2 - point.x1, point.y2 - point.y1))
    left, top = (int(max(0.0, v - margin)) for v in (point.x1, point.y1))
    right, bottom = int(min(width, point.x2 + margin)), int(min(height, point.y2 + margin))
    part = image[min(top, height - 1) : max(bottom, top + 1), min(left, width - 1) : max(right, left + 1)]
    picture = PillowImage.fromarray(part)
    picture.thumbnail((max_side, max_side))
    out = BytesIO()
    picture.save(out, format="JPEG", quality=85)
    return out.getvalue()
