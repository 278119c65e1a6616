"""Sightings as the player and the time line draw them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detection.models import Media, Sighting

COLOURS = 8  # in site.css: .c0 to .c7
THIN_TO = 0.002  # of the larger side: what straight lines between fewer points reproduce this well is not sent
WINDOW = 60  # points looked ahead at most, so that thinning stays linear
LEAST_WIDTH = 0.4  # per cent of the time line, so that a moment can still be seen and hit


@dataclass(frozen=True, slots=True)
class Bar:
    """A sighting on the time line. Places are per cent of the clip's length; ``lane`` counts from the top."""

    sighting: Sighting
    left: float
    width: float
    lane: int
    colour: int


def colour_of(label: str) -> int:
    """A label's colour number: the same on every page, whatever else is there."""
    return zlib.crc32(label.casefold().encode()) % COLOURS


def bars(sightings: Sequence[Sighting], duration_s: float) -> list[Bar]:
    """The sightings packed into as few lanes as hold them without overlap, in order of time."""
    placed: list[Bar] = []
    free_from: list[float] = []
    for sighting in sorted(sightings, key=lambda s: (s.start_s, s.end_s)):
        left = 100 * sighting.start_s / duration_s if duration_s else 0.0
        width = max(LEAST_WIDTH, 100 * (sighting.end_s - sighting.start_s) / duration_s if duration_s else 100.0)
        left = min(left, 100 - LEAST_WIDTH)
        width = min(width, 100 - left)
        lane = next((n for n, free in enumerate(free_from) if free <= left), len(free_from))
        free_from[lane : lane + 1] = [left + width + 0.2]
        placed.append(Bar(sighting, round(left, 3), round(width, 3), lane, colour_of(sighting.shown_label)))
    return placed


def player_data(media: Media, sightings: Sequence[Sighting], slack_s: float) -> dict[str, Any]:
    """What the player draws: boxes in pixels of the media, times in seconds of the clip."""
    return {
        "kind": media.kind,
        "width": media.width,
        "height": media.height,
        "duration": media.duration_s,
        "frame": media.duration_s / media.frames if media.frames and media.duration_s else 0.04,
        "slack": slack_s,
        "sightings": [
            {
                "id": sighting.pk,
                "label": sighting.shown_label,
                "colour": colour_of(sighting.shown_label),
                "review": sighting.review,
                "start": round(sighting.start_s, 3),
                "end": round(sighting.end_s, 3),
                "best": round(sighting.best_s, 3),
                "path": thinned(sighting.path, THIN_TO * max(media.width, media.height)),
            }
            for sighting in sightings
        ],
    }


def thinned(path: Sequence[Sequence[float]], tolerance_px: float) -> list[list[float]]:
    """The points ``[t, x1, y1, x2, y2]`` without those that lie within ``tolerance_px`` of the line between the others.

    An opening window (Reumann and Witkam's family of line simplification): from a kept point on as far as one line
    serves all points between.
    """
    points = [[round(point[0], 3), *(round(value, 1) for value in point[1:5])] for point in path]
    kept = points[:1]
    at = 0
    while at < len(points) - 1:
        reach = at + 1
        while reach + 1 < len(points) and reach - at < WINDOW and _fits(points, at, reach + 1, tolerance_px):
            reach += 1
        kept.append(points[reach])
        at = reach
    return kept


def _fits(points: list[list[float]], first: int, last: int, tolerance_px: float) -> bool:
    start, end = points[first], points[last]
    length = end[0] - start[0]
    if length <= 0:
        return False
    for point in points[first + 1 : last]:
        share = (point[0] - start[0]) / length
        for axis in range(1, 5):
            if abs(start[axis] + share * (end[axis] - start[axis]) - point[axis]) > tolerance_px:
                return False
    return True
