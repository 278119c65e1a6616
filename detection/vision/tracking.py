"""Detections of single frames joined into objects through time.

The joining is ByteTrack (Zhang et al., ECCV 2022, arXiv:2110.06864) as Roboflow's ``trackers`` has it, one tracker for
each label, so that a person is never joined to a bicycle. Around it: a track begins with the detection that started it,
and tracks of two labels that lie on each other all along are one object whose label the detector wavered about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from detection.vision.nms import overlaps
from detection.vision.types import Detection, FrameDetections, Params, Track, TrackPoint

FIRM_SCORE = 0.5  # detections from this score on start tracks and are joined first, the weaker ones to what is left
SINGLE_SCORE = 0.6  # an object seen in one frame only counts from this score on
LEAST_OVERLAP = 0.1  # of a detection and where its track is expected
END_OVERLAP = 0.3  # the same for detections put before a track's start or after its end
OTHER_LABEL_OVERLAP = 0.5  # the same where the detector calls them by another label
LOST_S = 1.0  # a track that is not seen for longer has ended
SAME_OVERLAP = 0.7  # mean overlap from which on tracks of two labels are one object
SAME_SHARE = 0.7  # of the shorter track's points that lie on the other one


Box = npt.NDArray[np.float64]


class Tracker(Protocol):
    """Joins detections of one label, frame by frame."""

    def update(self, time_s: float, detections: Sequence[Detection]) -> list[int | None]:
        """The number of the object that each detection belongs to, None where it belongs to none so far.

        Call it for every sampled frame in order of time, those without detections too.
        """
        ...

    def reset(self) -> None:
        """Forget all objects."""
        ...


class ByteTracker:
    """ByteTrack over true times, so that gaps and variable frame rates count as long as they are."""

    def __init__(self, rate: float) -> None:
        """``rate`` is the usual number of frames a second."""
        import supervision
        from trackers import ByteTrackTracker

        self._detections = supervision.Detections
        self._tracker = ByteTrackTracker(
            lost_track_buffer=round(LOST_S * 30),
            frame_rate=rate,
            track_activation_threshold=FIRM_SCORE,
            minimum_consecutive_frames=1,
            minimum_iou_threshold=LEAST_OVERLAP,
            high_conf_det_threshold=FIRM_SCORE,
        )

    def update(self, time_s: float, detections: Sequence[Detection]) -> list[int | None]:
        given = self._detections(
            xyxy=np.array([(d.x1, d.y1, d.x2, d.y2) for d in detections], dtype=np.float64).reshape(-1, 4),
            confidence=np.array([d.score for d in detections], dtype=np.float64),
            data={"place": np.arange(len(detections))},
        )
        joined = self._tracker.update(given, timestamp=time_s)
        numbers: list[int | None] = [None] * len(detections)
        if len(joined):
            for place, number in zip(joined.data["place"], joined.tracker_id, strict=True):
                numbers[int(place)] = int(number) if number >= 0 else None
        return numbers

    def reset(self) -> None:
        self._tracker.reset()


@dataclass(frozen=True, slots=True)
class _Loose:
    label: str
    point: TrackPoint


@dataclass
class _Line:
    """The detections of one object so far."""

    label: str
    points: list[TrackPoint] = field(default_factory=list)

    @property
    def weight(self) -> float:
        return sum(point.score for point in self.points)


def track_frames(frames: Sequence[FrameDetections], params: Params) -> list[Track]:
    """The tracks of a clip, in order of their start, from all its frames in order of time.

    A track's score is the mean of its points' scores; tracks below ``params.sighting_score`` or shorter than
    ``params.min_duration_s`` are left out. Follows from the frames and the parameters alone.
    """
    lines: list[_Line] = []
    loose: list[_Loose] = []  # what the trackers joined to nothing
    for label in sorted({d.label for frame in frames for d in frame.detections}):
        joined, left = _join(label, frames, ByteTracker(_rate(frames)))
        lines += joined
        loose += left
    for line in sorted(lines, key=lambda line: (-line.weight, *_order(line.label, line.points[0]))):
        _extend(line, loose)
    lines += [_Line(one.label, [one.point]) for one in loose if one.point.score >= SINGLE_SCORE]
    tracks = [_finished(line) for line in _merge(lines)]
    kept = [
        track
        for track in tracks
        if track.score >= params.sighting_score
        and track.points[-1].time_s - track.points[0].time_s >= params.min_duration_s
    ]
    return sorted(kept, key=lambda track: _order(track.label, track.points[0]))


def _order(label: str, start: TrackPoint) -> tuple[float, str, float, float]:
    return start.time_s, label, start.x1, start.y1


def _rate(frames: Sequence[FrameDetections]) -> float:
    gaps = [b.time_s - a.time_s for a, b in pairwise(frames)]
    usual = float(np.median(gaps)) if gaps else 0.0
    return 1 / usual if usual > 0 else 1.0


def _join(label: str, frames: Sequence[FrameDetections], tracker: Tracker) -> tuple[list[_Line], list[_Loose]]:
    lines: dict[int, _Line] = defaultdict(lambda: _Line(label))
    loose: list[_Loose] = []
    for frame in frames:
        found = [d for d in frame.detections if d.label == label]
        for d, number in zip(found, tracker.update(frame.time_s, found), strict=True):
            point = TrackPoint(frame.time_s, d.x1, d.y1, d.x2, d.y2, d.score)
            if number is None:
                loose.append(_Loose(label, point))
            else:
                lines[number].points.append(point)
    return list(lines.values()), loose


def _extend(line: _Line, loose: list[_Loose]) -> None:
    """Move to both ends of a line the detections of ``loose`` that lead up to it and away from it.

    A tracker that sees no future starts a track with its first firm detection, named with its second one; objects that
    leave through the picture's edge change their shape faster than its filter expects, and their label too.
    """
    for end in (0, -1):
        while near := [one for one in loose if 0 < _beyond(line, end, one.point.time_s) <= LOST_S]:
            shared = [_overlap_beyond(line, end, one.point) for one in near]
            least = [END_OVERLAP if one.label == line.label else OTHER_LABEL_OVERLAP for one in near]
            fitting = [n for n in range(len(near)) if shared[n] >= least[n]]
            if not fitting:
                break
            # The nearest in time first, so that none between is passed over; of one frame's the one that fits best.
            best = min(fitting, key=lambda n: (_beyond(line, end, near[n].point.time_s), -shared[n]))
            line.points.insert(0 if end == 0 else len(line.points), near[best].point)
            loose.remove(near[best])


def _beyond(line: _Line, end: int, time_s: float) -> float:
    """Seconds that a time lies outside a line's first (0) or last (-1) point; negative on the other side of it."""
    return line.points[0].time_s - time_s if end == 0 else time_s - line.points[-1].time_s


def _overlap_beyond(line: _Line, end: int, point: TrackPoint) -> float:
    """How much a point overlaps where the line ends, or its movement drawn on to the point's time."""
    here = _boxes([point])
    return float(
        max(overlaps(here, box[None])[0, 0] for box in (_boxes([line.points[end]])[0], _drawn_on(line, point)))
    )


def _drawn_on(line: _Line, point: TrackPoint) -> Box:
    """The box of a line at a point's time: between its points by interpolation, outside by its movement there."""
    times = np.array([p.time_s for p in line.points])
    at = int(np.searchsorted(times, point.time_s))
    if len(times) == 1:
        only: Box = _boxes(line.points)[0]
        return only
    if 0 < at < len(times):
        before, after = line.points[at - 1], line.points[at]
    elif at == 0:
        before, after = line.points[0], line.points[min(2, len(times) - 1)]
    else:
        before, after = line.points[max(-3, -len(times))], line.points[-1]
    share = (point.time_s - before.time_s) / (after.time_s - before.time_s)
    first, last = _boxes([before])[0], _boxes([after])[0]
    box: Box = first + share * (last - first)
    drawn: Box = np.concatenate([box[:2], np.maximum(box[:2], box[2:])])
    return drawn


def _boxes(points: Sequence[TrackPoint]) -> Box:
    return np.array([(p.x1, p.y1, p.x2, p.y2) for p in points], dtype=np.float64).reshape(-1, 4)


def _merge(lines: Sequence[_Line]) -> list[_Line]:
    """Join lines of different labels that are one object; the label with the larger sum of scores stays."""
    left = sorted(lines, key=lambda line: (-line.weight, line.label, line.points[0].time_s, line.points[0].x1))
    merged: list[_Line] = []
    for line in left:
        host = next((h for h in merged if h.label != line.label and _is_same(line, h)), None)
        if host is None:
            merged.append(line)
            continue
        taken = {point.time_s for point in host.points}
        host.points += [point for point in line.points if point.time_s not in taken]
        host.points.sort(key=lambda point: point.time_s)
    return merged


def _is_same(line: _Line, host: _Line) -> bool:
    first, last = host.points[0].time_s, host.points[-1].time_s
    within = [point for point in line.points if first - LOST_S <= point.time_s <= last + LOST_S]
    if len(within) < SAME_SHARE * len(line.points):
        return False
    shared = np.array([_overlap_on(host, point) for point in within])
    return bool((shared >= SAME_OVERLAP).sum() >= SAME_SHARE * len(line.points))


def _overlap_on(host: _Line, point: TrackPoint) -> float:
    return float(overlaps(_boxes([point]), _drawn_on(host, point)[None])[0, 0])


def _finished(line: _Line) -> Track:
    return Track(line.label, round(line.weight / len(line.points), 3), tuple(line.points))
