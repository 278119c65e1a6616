"""The space that the drawn yard lies in: its camera, its canvas, and the ways of what moves through it.

World axes are metres: x to the right, y up from the ground, z away from the camera.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Colour: TypeAlias = tuple[int, int, int]
Points: TypeAlias = npt.NDArray[np.float64]

SUBPIXEL_BITS = 4
_TURN = np.linspace(0, math.pi, 7)
HALF_CIRCLES = np.concatenate([math.pi / 2 + _TURN, -math.pi / 2 + _TURN])
CIRCLE = np.stack([np.cos(HALF_CIRCLES), np.sin(HALF_CIRCLES)], axis=1)


@dataclass(frozen=True, slots=True)
class View:
    """A pinhole camera that looks level over the yard, as in any text book: x' = f x / z."""

    width: int
    height: int
    focal: float
    mount_m: float
    horizon: float

    def project(self, world: Points) -> Points:
        """N x 3 metres to N x 2 pixels; what is behind the camera is pulled to just before it."""
        depth = np.maximum(world[:, 2], 0.5)
        x = self.width / 2 + self.focal * world[:, 0] / depth
        y = self.horizon + self.focal * (self.mount_m - world[:, 1]) / depth
        return np.stack([x, y], axis=1)

    def half_width_m(self, depth_m: float) -> float:
        """How far the picture reaches to either side at this depth."""
        return self.width / 2 * depth_m / self.focal


class Canvas:
    """A picture and, beside it, which actor each pixel shows (0 for none), so that occlusion is known exactly."""

    def __init__(self, image: npt.NDArray[np.uint8]) -> None:
        self.image = image
        self.owner: npt.NDArray[np.uint8] = np.zeros(image.shape[:2], np.uint8)
        self.number = 0

    def fill(self, points: Points, colour: Colour) -> None:
        fixed = [np.round(np.clip(points, -8000, 8000) * (1 << SUBPIXEL_BITS)).astype(np.int32)]
        cv2.fillPoly(self.image, fixed, colour, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.fillPoly(self.owner, fixed, self.number, cv2.LINE_8, SUBPIXEL_BITS)


class Actor(Protocol):
    """Anything that stands in the yard and hides what is behind it."""

    @property
    def label(self) -> str | None:
        """What it is in the truth; None for what only hides other things."""
        ...

    def place(self, time_s: float) -> tuple[float, float, float]:
        """Where it is: x, z and heading in radians (0 looks to the right)."""
        ...

    def on_stage(self, time_s: float) -> bool:
        """Whether it is there at all at this time."""
        ...

    def paint(self, canvas: Canvas, view: View, time_s: float) -> None:
        """Fill its parts, the farthest first."""
        ...

    def shade(self, view: View, time_s: float, slant: tuple[float, float]) -> list[Points]:
        """The polygons of its shadow, in pixels; ``slant`` is how far x and z move for each metre of height."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """A straight way at an even speed, with a stop in the middle where ``pause_s`` says so."""

    start: tuple[float, float]
    end: tuple[float, float]
    leaves_s: float
    speed: float
    pause_at: float = 0.5
    pause_s: float = 0.0

    def walked_m(self, time_s: float) -> float:
        elapsed = time_s - self.leaves_s
        before = self.pause_at * math.dist(self.start, self.end) / self.speed
        moving_s = elapsed if elapsed < before else max(before, elapsed - self.pause_s)
        return moving_s * self.speed

    def under_way(self, time_s: float) -> bool:
        return 0 <= self.walked_m(time_s) <= math.dist(self.start, self.end)

    def place(self, time_s: float) -> tuple[float, float, float]:
        (x0, z0), (x1, z1) = self.start, self.end
        share = self.walked_m(time_s) / max(math.dist(self.start, self.end), 1e-6)
        return x0 + share * (x1 - x0), z0 + share * (z1 - z0), math.atan2(z1 - z0, x1 - x0)


def shaded(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, max(0, round(part * factor))) for part in colour)
    return red, green, blue


def capsule(start: Points, end: Points, width0: float, width1: float, flat: float = 1.0) -> Points:
    """A limb: two half circles and what is between them, as a polygon of pixels; ``flat`` squeezes it in height."""
    along = math.atan2(end[1] - start[1], end[0] - start[0])
    angles = along + HALF_CIRCLES
    out = np.empty((len(angles), 2))
    out[:, 0], out[:, 1] = np.cos(angles), flat * np.sin(angles)
    half = len(angles) // 2
    out[:half] = start + width0 / 2 * out[:half]
    out[half:] = end + width1 / 2 * out[half:]
    return out


def foliage(canvas: Canvas, view: View, at: Points, sizes_m: Points, colours: Sequence[Colour]) -> None:
    """Round leaves at N x 3 metres, each of its size and colour, painted in the order given."""
    centres = view.project(at)
    radii = sizes_m * view.focal / at[:, 2] / 2
    for centre, radius, colour in zip(centres, radii, colours, strict=True):
        canvas.fill(centre + radius * CIRCLE, colour)


def turned(local: Points, place: tuple[float, float, float]) -> Points:
    """Body coordinates (forward, up, left) to world coordinates."""
    x, z, heading = place
    cos, sin = math.cos(heading), math.sin(heading)
    forward, up, left = local[:, 0], local[:, 1], local[:, 2]
    return np.stack([x + forward * cos - left * sin, up, z + forward * sin + left * cos], axis=1)


def fallen(world: Points, slant: tuple[float, float]) -> Points:
    """Where the shadow of each point meets the ground."""
    height = world[:, 1]
    flat = np.zeros_like(height)
    return np.stack([world[:, 0] + slant[0] * height, flat, world[:, 2] + slant[1] * height], axis=1)
