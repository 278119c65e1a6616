"""Cutting a clip into spans, from its packets alone."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av.container
from av.video.stream import VideoStream

from detection.vision.container import GLITCH_S, ClipClock, open_clip, packets_of, video_stream
from detection.vision.types import MediaError, Span


@dataclass(frozen=True, slots=True)
class Survey:
    """What a clip's packets tell without decoding."""

    times: Sequence[float]  # of all frames, in order; empty where the clip is not orderly
    entries: Sequence[float]  # times of the key frames before which everything is earlier
    end_s: float
    frames: int  # as the header says where packets are lost to damage, else as many as there are packets
    orderly: bool  # every packet has a stamp, no two the same, and they do not run back


def survey(
    container: av.container.InputContainer,
    stream: VideoStream,
    on_packet: Callable[[int, float], None] | None = None,
) -> Survey:
    """Read all packets of a clip. ``on_packet(frames, end_s)`` is called as they come, and may raise to stop."""
    clock = ClipClock(container, stream)
    times = array("d")
    entries: list[float] = []
    damage: list[None] = []
    latest, end_s, count, orderly = -1.0, 0.0, 0, True
    for packet in packets_of(container, stream, lambda: damage.append(None)):
        if (packet.size == 0 and packet.pts is None and packet.dts is None) or packet.is_discard:
            continue
        count += 1
        time_s = clock.seconds(packet.pts)
        if time_s is None or time_s < latest - GLITCH_S or (times and time_s > latest + clock.jump_s):
            orderly = False
        if not orderly:
            end_s = max(
                end_s,
                clock.advance(packet.pts if packet.pts is not None else packet.dts) + clock.step_s,
            )
        elif time_s is not None:
            if packet.is_keyframe and time_s > latest:
                entries.append(time_s)
            times.append(time_s)
            latest = clock.last = max(latest, time_s)
            end_s = max(
                end_s,
                time_s + (float(packet.duration * clock.time_base) if packet.duration else clock.step_s),
            )
        if on_packet:
            on_packet(count, end_s)
    if damage:  # frames that the demuxer could not get at are planned all the same, so that they are seen to be missing
        count = max(count, stream.frames)
    ordered = sorted(times)
    if not orderly or any(a >= b for a, b in pairwise(ordered)):
        return Survey((), (), end_s, count, False)
    return Survey(ordered, entries, end_s, count, True)


def plan_spans(path: Path, chunk_s: float, on_packet: Callable[[int, float], None] | None = None) -> list[Span]:
    """The stretches that a clip is worked through in, each from a key frame and at least about ``chunk_s`` long.

    Reads packets without decoding them, and follows from the file and ``chunk_s`` alone. Spans join without gaps from 0
    to the clip's end. A clip that cannot be entered in the middle (one key frame, packets without stamps, times that
    run back) is one span. ``on_packet(frames, end_s)`` is called as packets come, and may raise to stop. Raises
    MediaError where the clip has no packets.
    """
    with open_clip(path) as container:
        found = survey(container, video_stream(container), on_packet)
    if not found.frames:
        raise MediaError("unreadable", "This clip has no pictures in it.")
    if not found.orderly:
        # Such times are mended while decoding, by a little more or less than in the survey.
        return [Span(0, 0.0, found.end_s + GLITCH_S, found.frames)]
    return _cut(found, chunk_s)


def _cut(found: Survey, chunk_s: float) -> list[Span]:
    starts = [0.0]
    for entry in found.entries:
        # A last span of less than half the length is not worth its own start.
        if entry - starts[-1] >= chunk_s and found.end_s - entry >= chunk_s / 2:
            starts.append(entry)
    ends = [*starts[1:], found.end_s]
    marks = [0, *(bisect_left(found.times, start) for start in starts[1:])]
    return [
        Span(number, start, end, after - before)
        for number, (start, end, before, after) in enumerate(
            zip(starts, ends, marks, [*marks[1:], found.frames], strict=True)
        )
    ]
