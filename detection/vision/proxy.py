"""A copy of a clip that every browser plays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from itertools import chain
from pathlib import Path
from time import perf_counter

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame

from detection.vision.container import NOTHING_DECODES
from detection.vision.frames import ReadCount, read_frames
from detection.vision.types import Frame, Image, MediaError

MOST_WIDE = 1280
TIME_BASE = Fraction(1, 90000)
KEY_EVERY = 50  # frames; a player that jumps decodes from the key frame before
REPORT_S = 0.2


def make_proxy(source: Path, target: Path, on_progress: Callable[[int], None] | None = None) -> None:
    """Write ``source`` as H.264 in MP4 (yuv420p, index first, no sound) to ``target``.

    Turned upright, at most 1280 pixels wide, sizes even. Times stay those of ``read_frames``, so that boxes lie on the
    pictures they were found in. ``on_progress(frames)`` is called every moment; what it raises stops the work
    and leaves no ``target``. Raises MediaError where nothing decodes.
    """
    count = ReadCount()
    reported_s = perf_counter()
    try:
        with (
            closing(read_frames(source, None, None, count)) as frames,
            av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as out,
        ):
            first = next(frames, None)
            if first is None:
                raise MediaError("unreadable", NOTHING_DECODES)
            width, height = _fitting(first.image)
            stream = out.add_stream("libx264", options={"preset": "veryfast", "crf": "24"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = TIME_BASE
            stream.codec_context.gop_size = KEY_EVERY
            last = -1
            # Players disagree on a first picture that comes late: shown from 0 on, it leaves them nothing to decide.
            lead = [Frame(0, 0.0, first.image)] if first.time_s > 0 else []
            for frame in chain(lead, [first], frames):
                picture = _picture(frame.image, width, height)
                picture.pts = last = max(last + 1, round(frame.time_s / TIME_BASE))
                picture.time_base = TIME_BASE
                out.mux(stream.encode(picture))
                if on_progress and perf_counter() - reported_s > REPORT_S:
                    on_progress(count.frames)
                    reported_s = perf_counter()
            out.mux(stream.encode(None))
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    if on_progress:
        on_progress(count.frames)


def _fitting(image: Image) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = min(1.0, MOST_WIDE / width)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _picture(image: Image, width: int, height: int) -> VideoFrame:
    if image.shape[:2] != (height, width):
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
