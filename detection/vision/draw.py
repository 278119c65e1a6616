"""Scenes drawn by our own code, whose truth is known to the pixel: a yard, figures and cars that pass.

They are the demo of a fresh installation, what the small model is trained on, and what tests measure detectors by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
import cv2
import numpy as np

from detection.vision.draw_actors import Car, Figure
from detection.vision.draw_space import Actor, Canvas, Colour, Points, Route, View
from detection.vision.draw_yard import Light, build_yard, choose_light, light_map
from detection.vision.types import Detection, Image

T = TypeVar("T")

LABELS = ("person", "car")
MIN_VISIBLE = 0.25  # of an actor's pixels; hidden further it is not part of the truth
MIN_SIDE_PX = 4

COATS: list[Colour] = [
    (176, 52, 46), (38, 72, 128), (212, 168, 60), (52, 104, 74), (44, 44, 50),
    (198, 194, 186), (122, 70, 118), (222, 116, 52), (96, 132, 158), (118, 92, 70),
]  # fmt: skip
TROUSERS: list[Colour] = [(44, 48, 62), (62, 58, 54), (34, 34, 38), (92, 86, 74), (56, 70, 98)]
SKINS: list[Colour] = [(232, 194, 168), (206, 158, 124), (156, 108, 78), (98, 66, 50)]
HAIRS: list[Colour] = [(48, 36, 28), (92, 64, 40), (28, 26, 26), (178, 146, 92), (150, 148, 146)]
PAINTS: list[Colour] = [
    (176, 36, 38), (34, 70, 132), (208, 210, 212), (60, 62, 66), (222, 222, 216),
    (58, 112, 96), (214, 150, 40), (116, 122, 130), (110, 42, 60),
]  # fmt: skip


def draw_scene(
    seed: int, width: int = 960, height: int = 540, seconds: float = 20.0, fps: float = 10.0, *, parked: bool = True
) -> Iterator[tuple[Image, list[Detection]]]:
    """The frames of one scene with the truth of each: what the same arguments always draw.

    Each item is a picture of height x width x 3, RGB, uint8, and its objects, labels ``person`` and ``car``, score 1. A
    box is what is seen of the object, in pixels; what is hidden by more than three quarters is left out. ``parked``
    false leaves out cars that stand, so that everything in the truth moves (people may pause).
    """
    rng = np.random.default_rng(seed)
    wall_z = float(rng.uniform(20, 24))
    view = View(
        width,
        height,
        focal=float(rng.uniform(0.78, 0.92)) * width,
        mount_m=float(rng.uniform(3.4, 4.4)) * (height / width) / 0.5625,
        horizon=float(rng.uniform(0.2, 0.28)) * height,
    )
    light = choose_light(rng)
    still, posts = build_yard(view, light, wall_z, rng)
    actors = _cast(view, light, wall_z, seconds, parked, rng)
    field = light_map(view, light, posts)
    grain = (rng.standard_normal((height + 64, width + 64, 3)) * light.noise).astype(np.float32)
    still = _darken(still, [polygon for post in posts for polygon in post.shade(view, 0.0, light.slant)], light)
    stage: list[Actor] = [*posts, *actors]
    for number in range(max(1, round(seconds * fps))):
        time_s = number / fps
        on = [actor for actor in stage if _near(actor, view, time_s)]
        canvas, truth = _paint(still, on, view, light, time_s)
        picture = cv2.multiply(canvas.image, field, dtype=cv2.CV_32F)
        _headlights(picture, on, view, light, time_s)
        dy, dx = rng.integers(0, 64, 2)
        picture = picture + grain[dy : dy + height, dx : dx + width]
        yield np.clip(picture, 0, 255).astype(np.uint8), truth


def write_clip(path: Path, scene: Iterable[tuple[Image, list[Detection]]], fps: float) -> list[list[Detection]]:
    """Write a scene as an H.264 MP4 that browsers play, and return the truth of each frame.

    Width and height must be even. Raises ValueError where the scene has no frame.
    """
    truth: list[list[Detection]] = []
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            "libx264", rate=rate, options={"crf": "23", "preset": "medium", "g": str(round(2 * fps))}
        )
        stream.pix_fmt = "yuv420p"
        for image, objects in scene:
            if not truth:
                stream.width, stream.height = image.shape[1], image.shape[0]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            truth.append(objects)
        if not truth:
            raise ValueError("a clip needs at least one frame")
        container.mux(stream.encode(None))
    return truth


def _near(actor: Actor, view: View, time_s: float) -> bool:
    x, z, _ = actor.place(time_s)
    return z > 3.0 and abs(x) < view.half_width_m(z) + 4.0 and actor.on_stage(time_s)


def _paint(still: Image, on: list[Actor], view: View, light: Light, time_s: float) -> tuple[Canvas, list[Detection]]:
    """All actors from the farthest to the nearest over their shadows, and what is seen of each in the end."""
    shadows = [p for actor in on if actor.label for p in actor.shade(view, time_s, light.slant)]
    canvas = Canvas(_darken(still, shadows, light))
    painted: list[tuple[int, Actor, int]] = []
    for number, actor in enumerate(sorted(on, key=lambda actor: -actor.place(time_s)[1]), 1):
        canvas.number = number if actor.label else 0
        actor.paint(canvas, view, time_s)
        if actor.label:
            painted.append((number, actor, int(np.count_nonzero(canvas.owner == number))))
    truth = [_seen(canvas, number, actor, whole) for number, actor, whole in painted]
    return canvas, [detection for detection in truth if detection is not None]


def _seen(canvas: Canvas, number: int, actor: Actor, whole: int) -> Detection | None:
    rows, columns = np.nonzero(canvas.owner == number)
    if len(rows) < max(1.0, MIN_VISIBLE * whole):
        return None
    x1, x2, y1, y2 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    width = canvas.owner.shape[1]
    # At the edge of the picture a sliver is no object yet; a figure is taller than wide, a car the other way round.
    sliver = (x1 == 0 or x2 == width) and (x2 - x1) < (0.2 if actor.label == "person" else 0.35) * (y2 - y1)
    if x2 - x1 < MIN_SIDE_PX or y2 - y1 < MIN_SIDE_PX or sliver:
        return None
    return Detection(float(x1), float(y1), float(x2), float(y2), 1.0, actor.label or "")


def _darken(image: Image, polygons: list[Points], light: Light) -> Image:
    """A copy with shadows of soft edges laid on it."""
    if not polygons:
        return image.copy()
    mask = np.zeros(image.shape[:2], np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.round(np.clip(polygon, -8000, 8000)).astype(np.int32)], 255)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.8, image.shape[1] / 700))
    share = 1 - light.shadow * soft.astype(np.float32) / 255
    return np.asarray(cv2.multiply(image, cv2.merge([share, share, share]), dtype=cv2.CV_8U), np.uint8)


def _headlights(picture: cv2.typing.MatLike, on: list[Actor], view: View, light: Light, time_s: float) -> None:
    """The beams of cars at dusk, added to the picture in place."""
    beams = [actor.beam(view, time_s) for actor in on if isinstance(actor, Car) and actor.lights]
    if not light.lamps or not beams:
        return
    glow = np.zeros(picture.shape[:2], np.uint8)
    for beam in beams:
        cv2.fillPoly(glow, [np.round(np.clip(beam, -8000, 8000)).astype(np.int32)], 90)
    soft = cv2.GaussianBlur(glow, (0, 0), picture.shape[1] / 60)
    picture += soft[..., None] * np.array([0.95, 0.85, 0.6], np.float32)


def _cast(
    view: View, light: Light, wall_z: float, seconds: float, parked: bool, rng: np.random.Generator
) -> list[Actor]:
    """Who comes, and when; nobody walks through a car or through somebody else."""
    actors: list[Actor] = []

    def add(make: Callable[[], Actor], count: int) -> None:
        for _ in range(count):
            for _ in range(30):
                candidate = make()
                if not any(_meet(candidate, other, seconds) for other in actors):
                    actors.append(candidate)
                    break

    if parked:
        add(lambda: _parked_car(view, wall_z, rng), int(rng.integers(0, 3)))
    add(lambda: _passing_car(view, light, seconds, rng), 1 + int(rng.poisson(seconds / 7)))
    add(lambda: _walker(view, wall_z, seconds, rng), 2 + int(rng.poisson(seconds / 3)))
    return actors


def _meet(one: Actor, other: Actor, seconds: float) -> bool:
    for time_s in np.arange(0, seconds + 0.3, 0.3):
        (x0, z0, _), (x1, z1, _) = one.place(float(time_s)), other.place(float(time_s))
        cars = (one.label == "car") + (other.label == "car")
        if (
            math.hypot((x0 - x1) * (0.8 if cars else 1.0), z0 - z1) < (0.8, 2.6, 4.6)[cars]
            and max(abs(z0), abs(z1)) < 40
        ):
            return True
    return False


def _one(rng: np.random.Generator, of: list[T]) -> T:
    return of[int(rng.integers(len(of)))]


def _walker(view: View, wall_z: float, seconds: float, rng: np.random.Generator) -> Figure:
    if rng.random() < 0.65:
        near = float(rng.uniform(7.8, 11.5)) if rng.random() < 0.6 else float(rng.uniform(wall_z - 3.0, wall_z - 0.8))
        far = near + float(rng.uniform(-0.8, 0.8))
        start, end = (-view.half_width_m(near) - 0.6, near), (view.half_width_m(far) + 0.6, min(far, wall_z - 0.5))
    else:
        # From below the picture's edge to the side across: nobody ends at a wall.
        side, far = float(rng.choice([-1.0, 1.0])), wall_z - float(rng.uniform(0.8, 2.8))
        start = (-side * float(rng.uniform(0.0, 0.8)) * view.half_width_m(7.6), 4.5)
        end = (side * (view.half_width_m(far) + 0.6), far)
    if rng.random() < 0.5:
        start, end = end, start
    speed = float(rng.uniform(1.0, 1.9))
    pause_s = float(rng.uniform(1.5, 5.0)) if rng.random() < 0.25 else 0.0
    leaves = float(rng.uniform(-0.7 * math.dist(start, end) / speed, seconds))
    return Figure(
        Route(start, end, leaves, speed, float(rng.uniform(0.3, 0.7)), pause_s),
        height_m=float(rng.uniform(1.55, 1.92)),
        coat=_one(rng, COATS),
        trousers=_one(rng, TROUSERS),
        skin=_one(rng, SKINS),
        hair=_one(rng, HAIRS),
        bag=_one(rng, COATS) if rng.random() < 0.3 else None,
        stout=float(rng.uniform(0.92, 1.22)),
    )


def _passing_car(view: View, light: Light, seconds: float, rng: np.random.Generator) -> Car:
    depth = float(rng.uniform(12.8, 16.5))
    slope = float(rng.uniform(-1.5, 1.5)) if rng.random() < 0.6 else 0.0
    start, end = (-view.half_width_m(depth) - 3.4, depth), (view.half_width_m(depth) + 3.4, depth + slope)
    if rng.random() < 0.5:
        start, end = end, start
    speed = float(rng.uniform(3.5, 7.0))
    leaves = float(rng.uniform(-0.7 * math.dist(start, end) / speed, seconds))
    pause_s = float(rng.uniform(1.5, 4.0)) if rng.random() < 0.15 else 0.0
    return _car(Route(start, end, leaves, speed, 0.5, pause_s), light.lamps, rng)


def _parked_car(view: View, wall_z: float, rng: np.random.Generator) -> Car:
    depth = wall_z - 4.6
    x = float(rng.uniform(-0.8, 0.8)) * view.half_width_m(depth)
    turn = _one(rng, [0.0, math.pi, float(rng.uniform(-0.5, 0.5)), math.pi / 2 + float(rng.uniform(-0.3, 0.3))])
    end = (x + math.cos(turn) * 1e-3, depth + math.sin(turn) * 1e-3)
    # A way of a millimetre that is walked when the scene is long over.
    return _car(Route((x, depth), end, 0.0, 1e-12), False, rng)


def _car(route: Route, lights: bool, rng: np.random.Generator) -> Car:
    body = _one(rng, ["saloon", "saloon", "hatch", "hatch", "van"])
    return Car(route, body, _one(rng, PAINTS), 0.95 if body == "van" else float(rng.uniform(0.8, 0.9)), lights)
