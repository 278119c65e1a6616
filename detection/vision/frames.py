"""Pictures with their times: from clips through PyAV (FFmpeg), from images through Pillow."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import floor
from pathlib import Path
from typing import cast

import av
import av.container
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from detection.vision.container import (
    NOTHING_DECODES,
    ROUNDING_S,
    ClipClock,
    decode,
    display_matrix,
    open_clip,
    packets_of,
    seek,
    upright_rgb,
    video_stream,
)
from detection.vision.sniff import IMAGE_FORMATS, sniff
from detection.vision.spans import plan_spans, survey
from detection.vision.types import Frame, Image, MediaError, Span

__all__ = [
    "ReadCount",
    "first_frame",
    "frames_at",
    "open_clip",
    "open_picture",
    "plan_spans",
    "read_frames",
    "read_image",
]

# Bound here, before anything imports Ultralytics: that replaces it by one that goes looking for plugins to install.
open_picture = PillowImage.open

SEEK_AHEAD_S = 3.0  # decoding on is cheaper than seeking for a picture that is nearer than this
LEAD_IN_S = 15.0  # how far back to begin where a key frame cannot be decoded by itself
TICK_SLACK = 1e-6  # of a tick: 0.2 s as a float must count as the tick of 0.2 s
SAME_S = 1e-6  # times nearer than this are the same


@dataclass(slots=True)
class ReadCount:
    """How many frames of the file a reader has passed, sampled or not; it is told of those before its span, too."""

    frames: int = 0
    on_lead_in: Callable[[], None] | None = None


def read_frames(
    path: Path, span: Span | None, fps: float | None, count: ReadCount | None = None
) -> Generator[Frame, None, None]:
    """The frames of a clip, or of one of its spans, with their true times.

    With ``fps``, the first frame at or after each tick ``k / fps`` of the clip's own time line; None, or more than the
    clip has, gives every frame. Consecutive spans give together what one whole read gives. Only frames that are given
    are converted to RGB and turned upright. ``count`` is kept up to date with the frames passed. A broken packet is
    skipped, and where nothing decodes nothing comes: what was planned and not counted could not be read. Raises
    MediaError where the file cannot be opened. Closes it when the generator ends or is closed.
    """
    count = count if count is not None else ReadCount()
    with open_clip(path) as container:
        stream = video_stream(container)
        stream.codec_context.thread_type = "AUTO"
        size = stream.codec_context.width, stream.codec_context.height
        for timed in _timed(container, stream, span, count.on_lead_in):
            if span and timed.time_s >= span.end_s - SAME_S:
                break
            if fps is None or _is_sampled(timed.time_s, timed.before_s, fps):
                yield Frame(count.frames, timed.time_s, upright_rgb(timed.picture, size))
            count.frames += 1


def first_frame(
    path: Path, check_size: Callable[[int, int], None] | None = None
) -> tuple[Frame, tuple[int, int, int, int]]:
    """The first picture that decodes, on one thread, and its display matrix. Raises MediaError where there is none.

    ``check_size(width, height)`` is told the size that was decoded, which need not be the header's, and may raise.
    """
    with open_clip(path) as container:
        stream = video_stream(container)
        clock = ClipClock(container, stream)
        size = stream.codec_context.width, stream.codec_context.height
        for picture in decode(packets_of(container, stream), stream):
            if check_size:
                check_size(picture.width, picture.height)
            return Frame(0, clock.next(picture), upright_rgb(picture, size)), display_matrix(picture)
    raise MediaError("unreadable", NOTHING_DECODES)


@dataclass(frozen=True, slots=True)
class _Timed:
    time_s: float
    before_s: float  # the time of the frame before
    picture: VideoFrame


class _Before:
    """The time of the last frame passed; at first that of the latest packet which belongs to the span before."""

    def __init__(self, time_s: float) -> None:
        self.time_s = time_s

    def watch(
        self, packets: Iterator[av.Packet[VideoStream]], clock: ClipClock, start_s: float
    ) -> Iterator[av.Packet[VideoStream]]:
        """Pass packets on. Pictures that are shown before the key frame they follow in the file (open GOP) may not
        decode from here, yet a whole read has them, so that they count as the frame before."""
        for packet in packets:
            time_s = clock.seconds(packet.pts)
            if time_s is not None and self.time_s < time_s < start_s:
                self.time_s = time_s
            yield packet


def _timed(
    container: av.container.InputContainer,
    stream: VideoStream,
    span: Span | None,
    on_lead_in: Callable[[], None] | None = None,
) -> Iterator[_Timed]:
    """Each picture from the span's start on, with its time and that of the one before."""
    clock = ClipClock(container, stream)
    if not span or not span.number:
        yield from _upwards(decode(packets_of(container, stream), stream), clock, _Before(float("-inf")), float("-inf"))
        return
    start_s = span.start_s
    entered_s, packets = _enter(container, stream, clock, start_s)
    for lead_s in (0.0, LEAD_IN_S, None):
        if lead_s != 0.0:  # H.264 with intra refresh marks key frames that take some frames before to decode
            seek(container, stream, clock, None if lead_s is None else start_s - lead_s)
            packets = packets_of(container, stream)
        before = _Before(entered_s)
        watched = before.watch(packets, clock, start_s)
        pictures = _upwards(decode(watched, stream), clock, before, start_s, on_lead_in)
        first = next(pictures, None)
        if first and (first.time_s - start_s < SAME_S or lead_s is None):
            yield first
            yield from pictures
            return


def _upwards(
    pictures: Iterator[VideoFrame],
    clock: ClipClock,
    before: _Before,
    start_s: float,
    on_lead_in: Callable[[], None] | None = None,
) -> Iterator[_Timed]:
    for picture in pictures:
        time_s = clock.next(picture)
        if time_s >= start_s - SAME_S:
            yield _Timed(time_s, before.time_s, picture)
            before.time_s = time_s
        elif on_lead_in:
            on_lead_in()


def _enter(
    container: av.container.InputContainer, stream: VideoStream, clock: ClipClock, start_s: float
) -> tuple[float, Iterator[av.Packet[VideoStream]]]:
    """The time of the last frame before ``start_s``, and the packets from the key frame at ``start_s`` on.

    Seeks some way before the key frame and demuxes up to it: some formats seek roughly, and the frame before decides
    which tick the first one of the span answers.
    """
    for lead_s in (1.0, LEAD_IN_S, None):
        seek(container, stream, clock, None if lead_s is None else start_s - lead_s)
        packets = packets_of(container, stream)
        before_s = float("-inf")
        for packet in packets:
            time_s = clock.seconds(packet.pts)
            if time_s is None or packet.is_discard:
                continue
            if packet.is_keyframe and abs(time_s - start_s) < SAME_S and before_s > float("-inf"):
                return before_s, chain([packet], packets)
            if packet.is_keyframe and time_s > start_s:
                break
            if time_s < start_s:
                before_s = max(before_s, time_s)
    raise MediaError("unreadable", f"The clip cannot be entered at {start_s:.1f} s: it is not the file that was cut.")


def _is_sampled(time_s: float, before_s: float, fps: float) -> bool:
    if before_s == float("-inf"):
        return True
    return floor(time_s * fps + TICK_SLACK) > floor(before_s * fps + TICK_SLACK)


def read_image(path: Path) -> Image:
    """A JPEG, PNG or WebP, turned as its EXIF orientation says; of a moving picture the first one.

    Raises MediaError where it cannot be decoded.
    """
    if sniff(path) not in IMAGE_FORMATS:
        raise MediaError(
            "unknown_format",
            "This file is not an image that can be read (JPEG, PNG, WebP).",
        )
    try:
        with open_picture(path, formats=("JPEG", "PNG", "WEBP")) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I"):  # 16 bits a pixel: Pillow would clip them, not scale them
                wide = np.asarray(upright).astype(np.float64) / 257
                return cast(
                    Image,
                    np.repeat(wide.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2),
                )
            return np.asarray(upright.convert("RGB"))
    except UnidentifiedImageError as error:
        raise MediaError("unreadable", "This image is damaged: it cannot be decoded.") from error
    except PillowImage.DecompressionBombError as error:
        raise MediaError("too_large", "This image has too many pixels.") from error
    except (
        OSError,
        ValueError,
        SyntaxError,
    ) as error:  # what Pillow's decoders raise for bad bytes
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if "truncated" in str(error).lower():
            raise MediaError("truncated", "This image is cut off: a part of the file is missing.") from error
        raise MediaError("unreadable", "This image is damaged: it cannot be decoded.") from error


def frames_at(
    path: Path, times_s: Sequence[float], on_progress: Callable[[], None] | None = None
) -> Generator[Frame, None, None]:
    """The frame that is shown at each of the times, which must rise; past the end it is the last one.

    ``index`` counts the times. Seeks to a key frame where that is far ahead, decodes on where it is near, and all the
    way where the clip's times are not orderly. ``on_progress()`` is called for every frame that is passed. Raises
    MediaError where nothing decodes.
    """
    with open_clip(path) as container:
        stream = video_stream(container)
        stream.codec_context.thread_type = "AUTO"
        size = stream.codec_context.width, stream.codec_context.height
        reel = _Reel(path, container, stream, on_progress)
        for index, time_s in enumerate(times_s):
            picture = reel.at(time_s + ROUNDING_S)
            yield Frame(index, time_s, upright_rgb(picture, size))


class _Reel:
    """A clip that is wound forward to one time after the other."""

    def __init__(
        self,
        path: Path,
        container: av.container.InputContainer,
        stream: VideoStream,
        on_progress: Callable[[], None] | None,
    ) -> None:
        self.path, self.container, self.stream = path, container, stream
        self.on_progress = on_progress
        self.clock = ClipClock(container, stream)
        self.pictures = decode(packets_of(container, stream), stream)
        self.shown: tuple[float, VideoFrame] | None = None
        self.coming: tuple[float, VideoFrame] | None = None
        self._pull()

    def at(self, time_s: float) -> VideoFrame:
        if self.coming and time_s - self.coming[0] > SEEK_AHEAD_S and self._seekable:
            self._seek(time_s)
        while self.coming and (self.shown is None or self.coming[0] <= time_s):
            self._pull()
        if self.shown is None:
            raise MediaError("unreadable", NOTHING_DECODES)
        return self.shown[1]

    @cached_property
    def _seekable(self) -> bool:
        """Whether a time leads to one place of the file: not where the clock starts anew or times are made up.

        Takes a pass over the packets, so it is found out by the first time that is far ahead.
        """
        if self.clock.counts:
            return False
        with open_clip(self.path) as container:
            return survey(container, video_stream(container), self._on_packet).orderly

    def _on_packet(self, _frames: int, _end_s: float) -> None:
        if self.on_progress:
            self.on_progress()

    def _pull(self) -> None:
        if self.on_progress:
            self.on_progress()
        if self.coming:
            self.shown = self.coming
        picture = next(self.pictures, None)
        self.coming = None if picture is None else (self.clock.next(picture), picture)

    def _seek(self, time_s: float) -> None:
        for goal_s in (time_s, time_s - 15.0, 0.0):
            seek(self.container, self.stream, self.clock, goal_s)
            self.pictures = decode(packets_of(self.container, self.stream), self.stream)
            self.shown = self.coming = None
            self._pull()
            if self.coming and self.coming[0] <= time_s:
                return
