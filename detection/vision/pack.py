"""What was found in a stretch of a clip, as bytes for storage."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace

from detection.vision.types import Detection, FrameDetections

VERSION = 1


def rounded(frame: FrameDetections) -> FrameDetections:
    """Times to 1 ms, boxes to 0.1 pixel, scores to 0.001: what is stored, and what tracking sees in any case."""
    return replace(
        frame,
        time_s=round(frame.time_s, 3),
        detections=tuple(
            Detection(round(d.x1, 1), round(d.y1, 1), round(d.x2, 1), round(d.y2, 1), round(d.score, 3), d.label)
            for d in frame.detections
        ),
    )


def pack(frames: Sequence[FrameDetections]) -> bytes:
    """Compressed JSON; a frame that repeats the last answer costs its time only."""
    labels = sorted({d.label for frame in frames for d in frame.detections})
    number = {label: index for index, label in enumerate(labels)}
    rows: list[list[object]] = []
    last: tuple[Detection, ...] | None = None
    for frame in map(rounded, frames):
        row: list[object] = [frame.time_s, int(frame.inferred)]
        if frame.detections != last:
            row.append([[d.x1, d.y1, d.x2, d.y2, d.score, number[d.label]] for d in frame.detections])
        rows.append(row)
        last = frame.detections
    text = json.dumps({"version": VERSION, "labels": labels, "frames": rows}, separators=(",", ":"))
    return zlib.compress(text.encode())


def unpack(data: bytes) -> list[FrameDetections]:
    """What ``pack`` was given, rounded. Raises ValueError where the bytes are none of its own."""
    try:
        content = json.loads(zlib.decompress(data))
    except zlib.error as error:
        raise ValueError("These are no packed detections.") from error
    if content["version"] != VERSION:
        raise ValueError(f"Packed detections of version {content['version']} cannot be read.")
    labels = content["labels"]
    frames: list[FrameDetections] = []
    last: tuple[Detection, ...] = ()
    for time_s, inferred, *found in content["frames"]:
        if found:
            last = tuple(Detection(x1, y1, x2, y2, score, labels[number]) for x1, y1, x2, y2, score, number in found[0])
        frames.append(FrameDetections(time_s, bool(inferred), last))
    return frames
