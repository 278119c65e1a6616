"""The figures, cars and posts of the drawn yard, built from solid parts and projected as a camera would see them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from detection.vision.draw_space import (
    Canvas,
    Colour,
    Points,
    Route,
    View,
    capsule,
    fallen,
    foliage,
    shaded,
    turned,
)


@dataclass(frozen=True, slots=True)
class Limb:
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    width0: float
    width1: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Figure:
    """A person who walks: a skeleton of twelve limbs that swing with the way covered."""

    route: Route
    height_m: float
    coat: Colour
    trousers: Colour
    skin: Colour
    hair: Colour
    bag: Colour | None
    stout: float
    label: str | None = "person"

    def place(self, time_s: float) -> tuple[float, float, float]:
        return self.route.place(time_s)

    def on_stage(self, time_s: float) -> bool:
        return self.route.under_way(time_s)

    def limbs(self, time_s: float) -> list[Limb]:
        h = self.height_m
        stride_m = 0.83 * h
        standing = self.route.walked_m(time_s) == self.route.walked_m(time_s + 0.04)
        phase = 0.0 if standing else 2 * math.pi * self.route.walked_m(time_s) / stride_m
        reach = 0.05 if standing else 0.42
        bob = 0.012 * h * math.cos(2 * phase)
        hip, neck, head = 0.51 * h + bob, 0.82 * h + bob, 0.925 * h + bob
        w = self.stout * h
        limbs = []
        for side in (-1, 1):
            swing = reach * math.sin(phase + (math.pi if side > 0 else 0))
            lift = max(0.0, math.cos(phase + (math.pi if side > 0 else 0))) * (0.0 if standing else 0.5)
            knee = (0.25 * h * math.sin(swing), hip - 0.25 * h * math.cos(swing), side * 0.05 * h)
            lower = swing - lift
            foot = (knee[0] + 0.24 * h * math.sin(lower), max(0.02, knee[1] - 0.24 * h * math.cos(lower)), knee[2])
            limbs.append(Limb((0, hip, side * 0.045 * h), knee, 0.115 * w, 0.085 * w, self.trousers))
            limbs.append(Limb(knee, foot, 0.085 * w, 0.06 * w, shaded(self.trousers, 0.92)))
            toe = (foot[0] + 0.09 * h, max(0.01, foot[1] - 0.01), foot[2])
            limbs.append(Limb(foot, toe, 0.055 * h, 0.04 * h, (38, 34, 34)))
            elbow = (-0.17 * h * math.sin(swing), neck - 0.03 * h - 0.17 * h * math.cos(swing), side * 0.125 * w)
            hand = (
                elbow[0] + 0.15 * h * math.sin(0.35 - swing),
                elbow[1] - 0.15 * h * math.cos(0.35 - swing),
                elbow[2],
            )
            limbs.append(Limb((0, neck - 0.02 * h, side * 0.1 * w), elbow, 0.075 * w, 0.06 * w, shaded(self.coat, 0.9)))
            limbs.append(Limb(elbow, hand, 0.06 * w, 0.045 * w, shaded(self.coat, 0.86)))
            limbs.append(Limb(hand, (hand[0], hand[1] - 0.025 * h, hand[2]), 0.045 * h, 0.04 * h, self.skin))
        limbs.append(Limb((0, hip - 0.02 * h, 0), (0.01 * h, neck - 0.06 * h, 0), 0.185 * w, 0.215 * w, self.coat))
        if self.bag is not None:
            limbs.append(
                Limb((-0.1 * h, hip + 0.08 * h, 0), (-0.1 * h, neck - 0.08 * h, 0), 0.14 * h, 0.13 * h, self.bag)
            )
        limbs.append(
            Limb((0.01 * h, neck - 0.03 * h, 0), (0.015 * h, neck + 0.04 * h, 0), 0.07 * h, 0.06 * h, self.skin)
        )
        limbs.append(
            Limb((0.02 * h, head - 0.02 * h, 0), (0.02 * h, head + 0.015 * h, 0), 0.1 * h, 0.11 * h, self.skin)
        )
        limbs.append(Limb((0.0, head + 0.005 * h, 0), (0.005 * h, head + 0.03 * h, 0), 0.105 * h, 0.1 * h, self.hair))
        return limbs

    def _projected(
        self, view: View, time_s: float, slant: tuple[float, float] | None
    ) -> list[tuple[float, Points, Colour]]:
        place = self.place(time_s)
        out = []
        for limb in self.limbs(time_s):
            world = turned(np.array([limb.start, limb.end], np.float64), place)
            nearness = float(world[:, 2].mean())
            scale = view.focal / max(nearness, 0.5)
            ends = view.project(world if slant is None else fallen(world, slant))
            # On the ground a width lies down: it is seen as flat as the camera is high over its distance.
            flat = 1.0 if slant is None else min(1.0, view.mount_m / max(nearness, 0.5))
            points = capsule(ends[0], ends[1], limb.width0 * scale, limb.width1 * scale, flat)
            out.append((nearness, points, limb.colour))
        return out

    def paint(self, canvas: Canvas, view: View, time_s: float) -> None:
        parts = self._projected(view, time_s, None)
        for _, points, colour in sorted(parts, key=lambda part: -part[0]):
            canvas.fill(points, colour)

    def shade(self, view: View, time_s: float, slant: tuple[float, float]) -> list[Points]:
        return [points for _, points, _ in self._projected(view, time_s, slant)]


# Side views of the bodies: metres forward of the middle and up, from the rear bumper clockwise over the roof.
SALOON = [
    (-2.15, 0.3),
    (-2.2, 0.75),
    (-2.05, 0.95),
    (-1.4, 1.0),
    (-0.85, 1.42),
    (0.45, 1.42),
    (1.15, 0.98),
    (2.0, 0.82),
    (2.15, 0.6),
    (2.12, 0.3),
]
HATCH = [
    (-1.9, 0.3),
    (-1.95, 0.8),
    (-1.85, 1.05),
    (-1.5, 1.48),
    (0.35, 1.5),
    (1.05, 1.02),
    (1.8, 0.86),
    (1.92, 0.62),
    (1.9, 0.3),
]
VAN = [
    (-2.4, 0.32),
    (-2.42, 1.0),
    (-2.38, 1.95),
    (-2.2, 2.02),
    (1.2, 2.02),
    (1.85, 1.15),
    (2.35, 1.0),
    (2.45, 0.62),
    (2.42, 0.32),
]
# Which edges of the outline are glass, and the side windows, as corners in the same measure.
BODIES: dict[str, tuple[list[tuple[float, float]], set[int], list[list[tuple[float, float]]]]] = {
    "saloon": (
        SALOON,
        {3, 5},
        [
            [(-1.25, 1.0), (-0.8, 1.35), (-0.22, 1.36), (-0.22, 0.98)],
            [(-0.14, 0.98), (-0.14, 1.36), (0.4, 1.36), (0.98, 0.98)],
        ],
    ),
    "hatch": (
        HATCH,
        {2, 4},
        [
            [(-1.62, 1.05), (-1.4, 1.4), (-0.35, 1.43), (-0.35, 1.02)],
            [(-0.27, 1.02), (-0.27, 1.43), (0.3, 1.43), (0.9, 1.02)],
        ],
    ),
    "van": (VAN, {4}, [[(0.45, 1.2), (0.45, 1.8), (1.15, 1.8), (1.6, 1.2)]]),
}
WHEEL_M = 0.32


@dataclass(frozen=True, slots=True)
class Car:
    """A car: the outline of its side drawn out to its width, lit by which way each face looks."""

    route: Route
    body: str
    paint_colour: Colour
    half_width_m: float
    lights: bool
    label: str | None = "car"

    def place(self, time_s: float) -> tuple[float, float, float]:
        return self.route.place(time_s)

    def on_stage(self, time_s: float) -> bool:
        return self.route.under_way(time_s)

    def _outline(self, side: float) -> Points:
        outline = BODIES[self.body][0]
        return np.array([(forward, up, side * self.half_width_m) for forward, up in outline], np.float64)

    def _near_side(self, place: tuple[float, float, float]) -> float:
        x, z, heading = place
        left = np.array([-math.sin(heading), math.cos(heading)])
        return -1.0 if float(left @ np.array([x, z])) > 0 else 1.0

    def paint(self, canvas: Canvas, view: View, time_s: float) -> None:
        place = self.place(time_s)
        near = self._near_side(place)
        self._paint_wheels(canvas, view, place, -near, time_s)
        self._paint_hull(canvas, view, place, near)
        self._paint_wheels(canvas, view, place, near, time_s)

    def _paint_hull(self, canvas: Canvas, view: View, place: tuple[float, float, float], near: float) -> None:
        _, glass, windows = BODIES[self.body]
        near_world = turned(self._outline(near), place)
        far_world = turned(self._outline(-near), place)
        near_px, far_px = view.project(near_world), view.project(far_world)
        canvas.fill(far_px, shaded(self.paint_colour, 0.45))
        count = len(near_px)
        quads = []
        for i in range(count):
            j = (i + 1) % count
            quad = np.stack([near_px[i], near_px[j], far_px[j], far_px[i]])
            depth = float(near_world[[i, j], 2].mean() + far_world[[i, j], 2].mean())
            rise = float(np.hypot(*(near_world[j] - near_world[i])[[0, 2]]))
            lying = rise / (rise + abs(float(near_world[j, 1] - near_world[i, 1])) + 1e-6)
            colour = (52, 62, 72) if i in glass else shaded(self.paint_colour, 0.62 + 0.55 * lying)
            quads.append((depth, quad, (22, 22, 24) if i == count - 1 else colour))
        for _, quad, colour in sorted(quads, key=lambda part: -part[0]):
            canvas.fill(quad, colour)
        canvas.fill(near_px, shaded(self.paint_colour, 0.88))
        sill = [(-2.0, 0.3), (-2.0, 0.42), (2.0, 0.42), (2.0, 0.3)]
        for corners, colour in [(sill, shaded(self.paint_colour, 0.55))] + [
            (window, (44, 54, 64)) for window in windows
        ]:
            canvas.fill(self._on_side(view, place, near, corners), colour)
        for window in windows:
            low, high = window[0], window[1]
            gleam = [low, high, (high[0] + 0.14, high[1]), (low[0] + 0.14, low[1])]
            canvas.fill(self._on_side(view, place, near, gleam), (84, 98, 110))
        self._paint_lamps(canvas, view, place, near)

    def _on_side(
        self, view: View, place: tuple[float, float, float], side: float, corners: Sequence[tuple[float, float]]
    ) -> Points:
        local = np.array([(forward, up, side * self.half_width_m) for forward, up in corners], np.float64)
        return view.project(turned(local, place))

    def _paint_lamps(self, canvas: Canvas, view: View, place: tuple[float, float, float], near: float) -> None:
        outline = BODIES[self.body][0]
        front, back = max(forward for forward, _ in outline), min(forward for forward, _ in outline)
        lit = 1.0 if self.lights else 0.75
        head = [(front - 0.3, 0.62), (front - 0.28, 0.76), (front - 0.05, 0.7), (front - 0.03, 0.58)]
        tail = [(back + 0.05, 0.62), (back + 0.05, 0.84), (back + 0.25, 0.84), (back + 0.25, 0.66)]
        canvas.fill(self._on_side(view, place, near, head), shaded((255, 250, 225), lit))
        canvas.fill(self._on_side(view, place, near, tail), shaded((225, 40, 35), lit))

    def _paint_wheels(
        self, canvas: Canvas, view: View, place: tuple[float, float, float], side: float, time_s: float
    ) -> None:
        outline = BODIES[self.body][0]
        front, back = max(forward for forward, _ in outline), min(forward for forward, _ in outline)
        angles = np.linspace(0, 2 * math.pi, 20, endpoint=False)
        turn = self.route.walked_m(time_s) / WHEEL_M
        for centre in (back + 0.78, front - 0.78):
            for radius, colour in ((WHEEL_M + 0.04, (16, 16, 18)), (WHEEL_M, (34, 34, 36)), (0.19, (150, 152, 156))):
                ring = [(centre + radius * math.cos(a), WHEEL_M + radius * math.sin(a)) for a in angles]
                canvas.fill(self._on_side(view, place, side, ring), colour)
            for spoke in range(3):
                a = -turn + spoke * 2 * math.pi / 3
                tip = (centre + 0.17 * math.cos(a), WHEEL_M + 0.17 * math.sin(a))
                bar = [(centre - 0.03, WHEEL_M), tip, (centre + 0.03, WHEEL_M + 0.03)]
                canvas.fill(self._on_side(view, place, side, bar), (70, 72, 76))

    def shade(self, view: View, time_s: float, slant: tuple[float, float]) -> list[Points]:
        place = self.place(time_s)
        sides = [fallen(turned(self._outline(side), place), slant) for side in (-1, 1)]
        under = [(-1.95, 0.0, -0.8), (-1.95, 0.0, 0.8), (1.95, 0.0, 0.8), (1.95, 0.0, -0.8)]
        hull = cv2.convexHull(view.project(np.concatenate(sides)).astype(np.float32))[:, 0].astype(np.float64)
        return [hull, view.project(turned(np.array(under, np.float64), place))]

    def beam(self, view: View, time_s: float) -> Points:
        """Where the headlights fall on the ground, in pixels."""
        cone = [(2.1, 0.0, -0.7), (2.1, 0.0, 0.7), (7.5, 0.0, 1.9), (7.5, 0.0, -1.9)]
        return view.project(turned(np.array(cone, np.float64), self.place(time_s)))


@dataclass(frozen=True, slots=True)
class Post:
    """A lamp post, a bollard or a planter: stands still, has no label, hides what passes behind it."""

    x: float
    z: float
    height_m: float
    width_m: float
    colour: Colour
    kind: str  # "post", "planter"
    label: str | None = None

    def place(self, time_s: float) -> tuple[float, float, float]:
        return self.x, self.z, 0.0

    def on_stage(self, time_s: float) -> bool:
        return True

    def _paint_bush(self, canvas: Canvas, view: View) -> None:
        rng = np.random.default_rng(round(self.x * 100) & 0xFFFF)
        leaves, spread = 46, self.width_m * 0.55
        x, y = self.x + rng.uniform(-spread, spread, leaves), self.height_m + rng.uniform(0.0, 0.5, leaves)
        tones = 0.6 + np.linspace(0, 0.7, leaves) + rng.uniform(-0.1, 0.1, leaves)
        greens = [shaded((62, 98, 50), float(tone)) for tone in tones]
        at = np.stack([x, y, np.full(leaves, self.z)], axis=1)
        foliage(canvas, view, at, rng.uniform(0.1, 0.24, leaves), greens)

    def paint(self, canvas: Canvas, view: View, time_s: float) -> None:
        half = self.width_m / 2
        corners = [(self.x - half, 0, self.z), (self.x - half, self.height_m, self.z)]
        corners += [(self.x + half, self.height_m, self.z), (self.x + half, 0, self.z)]
        front = view.project(np.array(corners, np.float64))
        canvas.fill(front, self.colour)
        lit = front.copy()
        lit[2:, 0] = front[:2, 0] + 0.35 * (front[2:, 0] - front[:2, 0])
        canvas.fill(lit, shaded(self.colour, 1.18))
        if self.kind == "planter":
            self._paint_bush(canvas, view)
        elif self.height_m > 2:
            arm = view.project(
                np.array([(self.x, self.height_m, self.z), (self.x + 0.9, self.height_m + 0.15, self.z)])
            )
            canvas.fill(capsule(arm[0], arm[1], 0.1 * view.focal / self.z, 0.16 * view.focal / self.z), self.colour)

    def shade(self, view: View, time_s: float, slant: tuple[float, float]) -> list[Points]:
        half = self.width_m / 2
        corners = [(self.x - half, 0, self.z), (self.x - half, self.height_m, self.z)]
        corners += [(self.x + half, self.height_m, self.z), (self.x + half, 0, self.z)]
        return [view.project(fallen(np.array(corners, np.float64), slant))]
