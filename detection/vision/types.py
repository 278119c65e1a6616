"""The values that pass between the steps of the vision code.

Coordinates are pixels of the media as a person sees it (rotation applied), origin top left, boxes ``x1, y1, x2, y2``.
Times are seconds from the start of the media, taken from the container's timestamps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:  # the web process reads these types, and does without NumPy
    import numpy as np
    import numpy.typing as npt

Image: TypeAlias = "npt.NDArray[np.uint8]"
"""A picture: height x width x 3, RGB, 0..255."""

MediaKind: TypeAlias = Literal["image", "clip"]


class MediaError(Exception):
    """A file that cannot be taken in or read; ``kind`` is a short code, the message a sentence for the user."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class DetectorError(Exception):
    """A detector that could not look; ``permanent`` says whether trying again can help."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class Limits:
    """What a media may be at most."""

    pixels: int = 50_000_000
    duration_s: float = 4 * 3600
    frames: int = 2_000_000
    bytes: int = 8 * 1024**3


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a probe found in a file."""

    kind: MediaKind
    format: str  # jpeg, png, webp, mp4, matroska, avi, mpegts
    codec: str
    width: int
    height: int
    duration_s: float  # 0 for an image
    frames: int  # 1 for an image
    rotation_deg: int
    captured_at: str | None  # ISO 8601 as the container or EXIF says it, with its offset where it has one
    browser_plays: bool


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a clip from one key frame up to the next span's start: the unit a worker claims."""

    number: int
    start_s: float
    end_s: float
    frames: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture at a time."""

    index: int  # counted from the start of its span
    time_s: float
    image: Image


@dataclass(frozen=True, slots=True)
class Detection:
    """One box with its label and score in one frame."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float
    label: str


@dataclass(frozen=True, slots=True)
class FrameDetections:
    """What was found in one sampled frame; ``inferred`` is false where the motion gate repeated the last answer."""

    time_s: float
    inferred: bool
    detections: tuple[Detection, ...]


class Frames(Sized, Iterable[FrameDetections], Protocol):
    """The sampled frames of a media in order of time; to be gone through more than once."""


@dataclass(frozen=True, slots=True)
class TrackPoint:
    time_s: float
    x1: float
    y1: float
    x2: float
    y2: float
    score: float


@dataclass(frozen=True, slots=True)
class Track:
    """One object's detections through time, in order of time; at least one point."""

    label: str
    score: float
    points: tuple[TrackPoint, ...]

    @property
    def best(self) -> TrackPoint:
        """The point to show: the highest score, the earliest of equals."""
        return max(self.points, key=lambda point: point.score)


@dataclass(frozen=True, slots=True)
class Params:
    """What, besides the media and the model, decides an analysis' result. Stored with it."""

    fps: float = 5.0  # frames sampled a second
    min_score: float = 0.25  # detections below are dropped by the detector
    sighting_score: float = 0.4  # tracks whose mean score is below are dropped
    min_duration_s: float = 0.0  # tracks of a clip shorter than this are dropped
    iou: float = 0.7  # of the class-wise non-maximum suppression
    gate: bool = True  # repeat the last answer while the picture stands still
    chunk_s: float = 60.0  # aimed-at length of a chunk


@dataclass(frozen=True, slots=True)
class DetectStats:
    """How a chunk was worked through."""

    frames_read: int = 0
    frames_sampled: int = 0
    frames_inferred: int = 0
    decode_s: float = 0.0
    infer_s: float = 0.0
    batches_s: tuple[float, ...] = ()  # of ``infer_s``, what each call of the detector took
