"""Clips as packets and pictures: opening safely, telling the time, turning upright.

What a file is, is decided by its first bytes, and FFmpeg is then told which demuxer to use: its own guessing would also
try play lists and other formats that open further files or addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.container
import av.error
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from detection.vision.sniff import sniff
from detection.vision.types import Image, MediaError

DEMUXERS = {"mp4": "mov", "matroska": "matroska", "avi": "avi", "mpegts": "mpegts"}

BAD_DATA_LIMIT = 200  # demuxer errors after which the rest of a file is given up
GLITCH_S = 1.0  # a time that runs back by less is a wrong stamp, by more a clock that was set anew
JUMP_S = 10.0  # and one that runs ahead by more was set anew too, where clocks are (as FFmpeg's dts_delta_threshold)
GROWTH = 4  # a clip may get larger in the middle by this factor, in pixels, where it does not stay below the next
LEAST_BOUND = 3840 * 2160  # pixels; small clips may grow to this, which takes some hundred MB with a picture a thread
ROUNDING_S = 0.001  # stored times are rounded to milliseconds
NOTHING_DECODES = "Not one picture of this clip can be decoded: it is damaged."


def open_clip(path: Path) -> av.container.InputContainer:
    """The clip, opened for reading; use it as a context manager.

    Only MP4/MOV, Matroska/WebM, AVI and MPEG-TS by content are opened, and only the file itself is read: other
    protocols are refused, and a MOV's references to other files stay unread (``enable_drefs`` is off by default).
    Raises MediaError where the content is something else or FFmpeg cannot make sense of it.
    """
    name = sniff(path)
    if name not in DEMUXERS:
        raise MediaError(
            "unknown_format",
            "This file is not a clip that can be read (MP4, MOV, MKV, WebM, AVI, MPEG-TS).",
        )
    try:
        return av.open(
            f"file:{path.absolute()}",
            mode="r",
            format=DEMUXERS[name],
            options={"protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except av.error.FFmpegError as error:
        raise_unless_bad_data(error)
        raise MediaError("unreadable", "This clip is damaged: its header cannot be read.") from error


def raise_unless_bad_data(error: av.error.FFmpegError) -> None:
    """Let a failing disk or a full memory be what it is: only bad bytes are the clip's own fault."""
    if isinstance(error, OSError | MemoryError):
        raise error


def video_stream(container: av.container.InputContainer) -> VideoStream:
    """The clip's first real video stream; cover pictures do not count. Raises MediaError where there is none.

    Its decoder refuses, as if they were damaged, pictures that are much larger than the header says: limits are checked
    by the header, and any later picture can be of another size.
    """
    for stream in container.streams.video:
        context = stream.codec_context
        if not stream.disposition & stream.disposition.attached_pic and context is not None:
            context.options = {"max_pixels": str(max(LEAST_BOUND, GROWTH * context.width * context.height))}
            return stream
    raise MediaError("no_video", "This file has no video in it.")


class ClipClock:
    """Seconds from the clip's start for the time stamps of one stream.

    The start is the earliest stamp of audio and video streams, as players have it. Frames without a stamp follow the
    one before by the stream's frame duration, and times always rise.
    """

    def __init__(self, container: av.container.InputContainer, stream: VideoStream) -> None:
        starts = [
            other.start_time * other.time_base
            for other in (*container.streams.video, *container.streams.audio)
            if other.start_time is not None and other.time_base is not None
        ]
        self.time_base = stream.time_base or Fraction(1, 1000)
        self.origin = min(starts, default=Fraction(0))
        rate = stream.average_rate or stream.guessed_rate or stream.base_rate
        self.step_s = float(1 / rate) if rate and 0.01 < rate < 1000 else 0.04
        # AVI stamps packets in the order of decoding, which is not that of showing where there are B-frames.
        self.counts = container.format.name == "avi" and bool(stream.codec_context.has_b_frames)
        # A stream's clock may start anew at any packet, which FFmpeg takes for one that ran over: a jump ahead.
        self.jump_s = JUMP_S if container.format.name == "mpegts" else float("inf")
        self.last: float | None = None
        self.shift = 0.0

    def seconds(self, stamp: int | None) -> float | None:
        return None if stamp is None or self.counts else float(stamp * self.time_base - self.origin)

    def next(self, frame: VideoFrame) -> float:
        """The time of the next frame in order of presentation."""
        return self.advance(frame.pts if frame.pts is not None else frame.dts)

    def advance(self, stamp: int | None) -> float:
        stamped, last = self.seconds(stamp), self.last
        if stamped is None:
            time_s = 0.0 if last is None else last + self.step_s
        elif last is None or 0 < stamped + self.shift - last <= self.jump_s:
            time_s = stamped + self.shift
        elif 0 <= last - (stamped + self.shift) < GLITCH_S:
            time_s = last + ROUNDING_S
        else:
            time_s = last + self.step_s
            self.shift = time_s - stamped
        self.last = time_s
        return time_s


def packets_of(
    container: av.container.InputContainer, stream: VideoStream, on_damage: Callable[[], None] | None = None
) -> Iterator[av.Packet[VideoStream]]:
    """The stream's packets. Damaged stretches of the file are passed over, each with a call of ``on_damage()``; what
    follows the 200th is given up, for reading on may never end."""
    for _ in range(BAD_DATA_LIMIT):
        try:
            yield from container.demux(stream)
            return
        except av.error.FFmpegError as error:
            raise_unless_bad_data(error)
            if on_damage:
                on_damage()


def decode(packets: Iterator[av.Packet[VideoStream]], stream: VideoStream) -> Iterator[VideoFrame]:
    """The pictures in order of presentation; a broken packet costs its own picture only."""
    for packet in packets:
        try:
            frames = stream.codec_context.decode(packet if packet.size else None)
        except EOFError:
            return
        except av.error.FFmpegError as error:
            raise_unless_bad_data(error)
            continue
        yield from frames


def seek(container: av.container.InputContainer, stream: VideoStream, clock: ClipClock, time_s: float | None) -> None:
    """Go to the last key frame before a time, or to the start, and begin to tell the time anew."""
    stamp = int((Fraction(max(0.0, time_s or 0.0)) + clock.origin) / clock.time_base)
    container.seek(stamp, stream=stream)
    clock.last, clock.shift = None, 0.0


def display_matrix(picture: VideoFrame) -> tuple[int, int, int, int]:
    """The signs (a, b, c, d) of the picture's display matrix: a point (x, y) is shown at (ax + cy, bx + dy)."""
    side_data = cast(Any, picture.side_data).get("DISPLAYMATRIX")
    if side_data is None:
        return 1, 0, 0, 1
    values = np.frombuffer(bytes(side_data), dtype=np.int32, count=9)
    a, b, c, d = (int(values[i]) for i in (0, 1, 3, 4))
    if abs(a) + abs(d) >= abs(b) + abs(c):  # nearest quarter turn
        return (-1 if a < 0 else 1), 0, 0, (-1 if d < 0 else 1)
    return 0, (-1 if b < 0 else 1), (-1 if c < 0 else 1), 0


def rotation_of(matrix: tuple[int, int, int, int]) -> int:
    """Degrees clockwise that a display matrix turns a picture by; a mirrored picture counts as its unmirrored turn."""
    a, b, _, d = matrix
    if b:
        return 90 if b > 0 else 270
    return 180 if a < 0 and d < 0 else 0


def turn(image: Image, matrix: tuple[int, int, int, int]) -> Image:
    """The picture as the display matrix shows it."""
    a, b, c, d = matrix
    if b:
        image = cast(Image, cv2.transpose(image))
    across, down = (c, b) if b else (a, d)
    if across < 0 and down < 0:
        return cast(Image, cv2.flip(image, -1))
    if across < 0:
        return cast(Image, cv2.flip(image, 1))
    if down < 0:
        return cast(Image, cv2.flip(image, 0))
    return image


def upright_rgb(picture: VideoFrame, size: tuple[int, int]) -> Image:
    """RGB, turned as the display matrix says. A clip that changes its size in the middle keeps its first one."""
    width, height = size
    image = cast(
        Image,
        picture.to_ndarray(format="rgb24", width=width or None, height=height or None),
    )
    return turn(image, display_matrix(picture))
