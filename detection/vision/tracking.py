"""Detections of single frames joined into objects through time.

The joining is ByteTrack (Zhang et al., ECCV 2022, arXiv:2110.06864) as Roboflow's ``trackers`` has it, one tracker for
each label, so that a person is never joined to a bicycle. Around it: a track begins with the detection that started it,
and tracks of two labels that lie on each other all along are one object whose label the detector wavered about.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from time import perf_counter
from typing import Protocol

import numpy as np

from detection.vision.nms import Corners, overlap
from detection.vision.types import Detection, Frames, Params, Track, TrackPoint

FIRM_SCORE = 0.5  # detections from this score on start tracks and are joined first, the weaker ones to what is left
SINGLE_SCORE = 0.6  # an object seen in one frame only counts from this score on
LEAST_OVERLAP = 0.1  # of a detection and where its track is expected
END_OVERLAP = 0.3  # the same for detections put before a track's start or after its end
OTHER_LABEL_OVERLAP = 0.5  # the same where the detector calls them by another label
LOST_S = 1.0  # a track that is not seen for longer has ended
SAME_OVERLAP = 0.7  # mean overlap from which on tracks of two labels are one object
SAME_SHARE = 0.7  # of the shorter track's points that lie on the other one; above a half, see _Hosts
REPORT_S = 0.2  # between two reports of progress
DRAWER_S = 10.0  # of the index of lines by time


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


class _LooseByTime:
    """The detections that belong to no line yet, to be found by their time: a long clip has many, a moment few."""

    def __init__(self, loose: Sequence[_Loose]) -> None:
        self._all = loose
        self._numbers = sorted(range(len(loose)), key=lambda number: loose[number].point.time_s)
        self._times = [loose[number].point.time_s for number in self._numbers]
        self._taken: set[int] = set()

    def between(self, first_s: float, last_s: float) -> list[tuple[int, _Loose]]:
        """Those of that time, both ends included, with their numbers and in the order of these."""
        found = self._numbers[bisect_left(self._times, first_s) : bisect_right(self._times, last_s)]
        return [(number, self._all[number]) for number in sorted(found) if number not in self._taken]

    def take(self, number: int) -> None:
        self._taken.add(number)

    def left(self) -> list[_Loose]:
        return [one for number, one in enumerate(self._all) if number not in self._taken]


@dataclass
class _Line:
    """The detections of one object so far."""

    label: str
    points: list[TrackPoint] = field(default_factory=list)

    @property
    def weight(self) -> float:
        return sum(point.score for point in self.points)


def track_frames(frames: Frames, params: Params, on_progress: Callable[[], None] | None = None) -> list[Track]:
    """The tracks of a clip, in order of their start, from all its frames in order of time.

    The frames are gone through several times and not kept, so that a long clip's need not be in memory.

    A track's score is the mean of its points' scores; tracks below ``params.sighting_score`` or shorter than
    ``params.min_duration_s`` are left out. Follows from the frames and the parameters alone. ``on_progress()`` is
    called at the beginning and then every moment; what it raises stops the work and passes through.
    """
    tick = _paced(on_progress)
    lines: list[_Line] = []
    unjoined: list[_Loose] = []  # what the trackers joined to nothing
    rate = _rate(frames)
    for label in sorted({d.label for frame in frames for d in frame.detections}):
        joined, left = _join(label, frames, ByteTracker(rate), tick)
        lines += joined
        unjoined += left
    loose = _LooseByTime(unjoined)
    for line in sorted(lines, key=lambda line: (-line.weight, *_order(line.label, line.points[0]))):
        tick()
        _extend(line, loose)
    lines += [_Line(one.label, [one.point]) for one in loose.left() if one.point.score >= SINGLE_SCORE]
    tracks = [_finished(line) for line in _merge(lines, tick)]
    kept = [
        track
        for track in tracks
        if track.score >= params.sighting_score
        and track.points[-1].time_s - track.points[0].time_s >= params.min_duration_s
    ]
    return sorted(kept, key=lambda track: _order(track.label, track.points[0]))


def _paced(on_progress: Callable[[], None] | None) -> Callable[[], None]:
    """A call to make after every piece of work, which passes on the first one and then one every REPORT_S."""
    reported_s = float("-inf")

    def tick() -> None:
        nonlocal reported_s
        if on_progress and perf_counter() - reported_s > REPORT_S:
            on_progress()
            reported_s = perf_counter()

    return tick


def _order(label: str, start: TrackPoint) -> tuple[float, str, float, float]:
    return start.time_s, label, start.x1, start.y1


def _rate(frames: Frames) -> float:
    gaps = [b.time_s - a.time_s for a, b in pairwise(frames)]
    usual = float(np.median(gaps)) if gaps else 0.0
    return 1 / usual if usual > 0 else 1.0


def _join(label: str, frames: Frames, tracker: Tracker, tick: Callable[[], None]) -> tuple[list[_Line], list[_Loose]]:
    lines: dict[int, _Line] = defaultdict(lambda: _Line(label))
    loose: list[_Loose] = []
    for frame in frames:
        tick()
        found = [d for d in frame.detections if d.label == label]
        for d, number in zip(found, tracker.update(frame.time_s, found), strict=True):
            point = TrackPoint(frame.time_s, d.x1, d.y1, d.x2, d.y2, d.score)
            if number is None:
                loose.append(_Loose(label, point))
            else:
                lines[number].points.append(point)
    return list(lines.values()), loose


def _extend(line: _Line, loose: _LooseByTime) -> None:
    """Move to both ends of a line the detections of ``loose`` that lead up to it and away from it.

    A tracker that sees no future starts a track with its first firm detection, named with its second one; objects that
    leave through the picture's edge change their shape faster than its filter expects, and their label too.
    """
    for end in (0, -1):
        while near := _near(line, end, loose):
            shared = [_overlap_beyond(line, end, one.point) for _, one in near]
            least = [END_OVERLAP if one.label == line.label else OTHER_LABEL_OVERLAP for _, one in near]
            fitting = [n for n in range(len(near)) if shared[n] >= least[n]]
            if not fitting:
                break
            # The nearest in time first, so that none between is passed over; of one frame's the one that fits best.
            best = min(fitting, key=lambda n: (_beyond(line, end, near[n][1].point.time_s), -shared[n]))
            number, one = near[best]
            line.points.insert(0 if end == 0 else len(line.points), one.point)
            loose.take(number)


def _near(line: _Line, end: int, loose: _LooseByTime) -> list[tuple[int, _Loose]]:
    """The loose detections that lie outside a line's end by no more than a track may be lost."""
    at_s = line.points[end].time_s
    reach_s = LOST_S * 1.01  # narrows only: what counts is the comparison below, whatever the sums are rounded to
    window = loose.between(at_s - reach_s, at_s) if end == 0 else loose.between(at_s, at_s + reach_s)
    return [(number, one) for number, one in window if 0 < _beyond(line, end, one.point.time_s) <= LOST_S]


def _beyond(line: _Line, end: int, time_s: float) -> float:
    """Seconds that a time lies outside a line's first (0) or last (-1) point; negative on the other side of it."""
    return line.points[0].time_s - time_s if end == 0 else time_s - line.points[-1].time_s


def _overlap_beyond(line: _Line, end: int, point: TrackPoint) -> float:
    """How much a point overlaps where the line ends, or its movement drawn on to the point's time."""
    here = _corners(point)
    return max(overlap(here, _corners(line.points[end])), overlap(here, _drawn_on(line, point)))


def _drawn_on(line: _Line, point: TrackPoint) -> Corners:
    """The box of a line at a point's time: between its points by interpolation, outside by its movement there."""
    points = line.points
    at = bisect_left(points, point.time_s, key=lambda p: p.time_s)
    if len(points) == 1:
        return _corners(points[0])
    if 0 < at < len(points):
        before, after = points[at - 1], points[at]
    elif at == 0:
        before, after = points[0], points[min(2, len(points) - 1)]
    else:
        before, after = points[max(-3, -len(points))], points[-1]
    share = (point.time_s - before.time_s) / (after.time_s - before.time_s)
    x1, y1, x2, y2 = (
        first + share * (last - first) for first, last in zip(_corners(before), _corners(after), strict=True)
    )
    return x1, y1, max(x1, x2), max(y1, y2)


def _corners(point: TrackPoint) -> Corners:
    return point.x1, point.y1, point.x2, point.y2


def _merge(lines: Sequence[_Line], tick: Callable[[], None]) -> list[_Line]:
    """Join lines of different labels that are one object; the label with the larger sum of scores stays."""
    left = sorted(lines, key=lambda line: (-line.weight, line.label, line.points[0].time_s, line.points[0].x1))
    hosts = _Hosts()
    for line in left:
        tick()
        number = next((n for n, h in hosts.near(line) if h.label != line.label and _is_same(line, h)), None)
        if number is None:
            hosts.add(line)
        else:
            hosts.join(number, line)
    return hosts.lines


class _Hosts:
    """Lines that others may be joined to, in the order in which they came, to be found by their time."""

    def __init__(self) -> None:
        self.lines: list[_Line] = []
        self._drawers: defaultdict[int, set[int]] = defaultdict(set)

    def add(self, line: _Line) -> None:
        self.lines.append(line)
        self._file(len(self.lines) - 1)

    def join(self, number: int, line: _Line) -> None:
        """Give a host what a line has at times that the host has nothing."""
        host = self.lines[number]
        taken = {point.time_s for point in host.points}
        host.points += [point for point in line.points if point.time_s not in taken]
        host.points.sort(key=lambda point: point.time_s)
        self._file(number)

    def near(self, line: _Line) -> list[tuple[int, _Line]]:
        """The hosts that may be the same object as a line, with their numbers.

        One that is must be there for more than half of the line's points, which follow each other in time: so it is
        there for the middle one.
        """
        middle_s = line.points[len(line.points) // 2].time_s
        return [(number, self.lines[number]) for number in sorted(self._drawers[int(middle_s // DRAWER_S)])]

    def _file(self, number: int) -> None:
        points = self.lines[number].points
        first, last = points[0].time_s - LOST_S, points[-1].time_s + LOST_S
        for drawer in range(int(first // DRAWER_S), int(last // DRAWER_S) + 1):
            self._drawers[drawer].add(number)


def _is_same(line: _Line, host: _Line) -> bool:
    first, last = host.points[0].time_s - LOST_S, host.points[-1].time_s + LOST_S
    within = [point for point in line.points if first <= point.time_s <= last]
    if len(within) < SAME_SHARE * len(line.points):
        return False
    alike = sum(overlap(_corners(point), _drawn_on(host, point)) >= SAME_OVERLAP for point in within)
    return alike >= SAME_SHARE * len(line.points)


def _finished(line: _Line) -> Track:
    return Track(line.label, round(line.weight / len(line.points), 3), tuple(line.points))
