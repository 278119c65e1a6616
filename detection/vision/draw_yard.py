"""The yard itself: ground, building, hedge and sky as they stand still, and the light that falls on them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detection.vision.draw_actors import Post
from detection.vision.draw_space import Canvas, Colour, Points, View, foliage, shaded
from detection.vision.types import Image

GROUND_PX_PER_M = 32
GROUND_HALF_WIDTH_M = 24.0
GROUND_DEPTH_M = (3.0, 30.0)


@dataclass(frozen=True, slots=True)
class Light:
    """How a scene is lit. ``tint`` multiplies the picture, ``slant`` is how far shadows reach for a metre of height."""

    name: str
    tint: tuple[float, float, float]
    sky_high: Colour
    sky_low: Colour
    slant: tuple[float, float]
    shadow: float  # 0 no shadow, 1 black
    lamps: bool
    noise: float


def choose_light(rng: np.random.Generator) -> Light:
    """Sun, cloud or dusk, with the sun where the seed puts it."""
    across = float(rng.uniform(-1.1, 1.1))
    along = float(rng.uniform(-0.15, 0.5))
    kind = rng.choice(["sun", "sun", "cloud", "dusk"])
    if kind == "sun":
        return Light("sun", (1.04, 1.0, 0.93), (96, 148, 206), (196, 216, 232), (across, along), 0.5, False, 2.0)
    if kind == "cloud":
        return Light(
            "cloud", (0.86, 0.89, 0.92), (150, 160, 170), (206, 210, 214), (across * 0.2, 0.1), 0.22, False, 2.5
        )
    return Light("dusk", (0.42, 0.45, 0.6), (58, 66, 108), (196, 138, 112), (across * 0.3, 0.1), 0.25, True, 4.0)


def build_yard(view: View, light: Light, wall_z: float, rng: np.random.Generator) -> tuple[Image, list[Post]]:
    """The still picture without actors, and the things in it that hide what passes behind them."""
    image = _sky(view, light)
    canvas = Canvas(image)
    mirror = float(rng.choice([-1.0, 1.0]))
    edge = float(rng.uniform(1.0, 6.0)) * mirror
    _trees(canvas, view, wall_z, rng)
    _hedge(canvas, view, wall_z, rng)
    _ground(canvas.image, view, wall_z, rng)
    _building(canvas, view, light, wall_z, edge, mirror, rng)
    return canvas.image, _furniture(view, wall_z, rng)


def light_map(view: View, light: Light, posts: list[Post]) -> npt.NDArray[np.float32]:
    """What each pixel is multiplied with: tint, the lens' darker corners, and the pools of the lamps at dusk."""
    y, x = np.mgrid[0 : view.height, 0 : view.width].astype(np.float32)
    away = ((x / view.width - 0.5) ** 2 + (y / view.height - 0.5) ** 2) / 0.5
    field = np.ones((view.height, view.width, 3), np.float32) * np.array(light.tint, np.float32)
    if light.lamps:
        for post in (post for post in posts if post.height_m > 2):
            foot = view.project(np.array([(post.x + 0.9, 0.0, post.z), (post.x + 0.9, post.height_m, post.z)]))
            reach = 4.0 * view.focal / post.z
            pool = np.exp(-(((x - foot[0, 0]) / reach) ** 2) - ((y - foot[0, 1]) / (0.45 * reach)) ** 2)
            glow = np.exp(-(((x - foot[1, 0]) / (0.12 * reach)) ** 2) - ((y - foot[1, 1]) / (0.12 * reach)) ** 2)
            field += (0.75 * pool + 1.5 * glow)[..., None] * np.array([1.0, 0.86, 0.58], np.float32)
    return np.asarray(field * (1 - 0.28 * away)[..., None], np.float32)


def _sky(view: View, light: Light) -> Image:
    share = np.clip(np.arange(view.height) / max(view.horizon, 1), 0, 1)[:, None, None]
    high, low = np.array(light.sky_high, np.float64), np.array(light.sky_low, np.float64)
    # Dusk dims everything through the tint; the sky itself still shines.
    bright = np.array(light.tint) if light.lamps else np.ones(3)
    column = np.clip((high * (1 - share) + low * share) / np.maximum(bright, 0.55), 0, 255)
    return np.ascontiguousarray(np.broadcast_to(column, (view.height, view.width, 3)).astype(np.uint8))


def _rough(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float32]:
    """Noise with coarse and fine grain, about -1..1: the sum of octaves."""
    total = np.zeros((height, width), np.float32)
    for cells, weight in ((8, 0.5), (40, 0.3), (160, 0.2), (400, 0.25)):
        grain = rng.standard_normal((max(2, height * cells // width), cells)).astype(np.float32)
        total += weight * cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    return total


def _ground(image: Image, view: View, wall_z: float, rng: np.random.Generator) -> None:
    """Asphalt, a paved strip by the wall and painted bays, drawn from above and laid into the picture."""
    near, far = GROUND_DEPTH_M
    width, height = int(2 * GROUND_HALF_WIDTH_M * GROUND_PX_PER_M), int((far - near) * GROUND_PX_PER_M)
    base = np.array(rng.choice([[112, 112, 114], [124, 119, 112], [98, 102, 104]]), np.float32)
    top = base + 7 * _rough(rng, height, width)[..., None]

    def row(z: float) -> int:
        return int((far - z) * GROUND_PX_PER_M)

    def column(x: float) -> int:
        return int((x + GROUND_HALF_WIDTH_M) * GROUND_PX_PER_M)

    paved = row(wall_z - 3.2)
    top[:paved] = np.array([164, 156, 146]) + 5 * _rough(rng, paved, width)[..., None]
    for x in np.arange(-GROUND_HALF_WIDTH_M, GROUND_HALF_WIDTH_M, 0.8):
        cv2.line(top, (column(x), 0), (column(x), paved), (142, 135, 127), 2)
    for z in np.arange(wall_z - 3.2, wall_z + 1, 0.8):
        cv2.line(top, (0, row(z)), (width, row(z)), (142, 135, 127), 2)
    cv2.rectangle(top, (0, paved - 5), (width, paved + 3), (186, 182, 174), -1)
    for x in np.arange(-9.0, 9.1, 3.0):
        cv2.line(top, (column(x), row(7.2)), (column(x), row(3.2)), (202, 202, 196), 4)
    for _ in range(7):
        patch = (int(rng.uniform(0, width)), int(rng.uniform(paved, height)))
        cv2.ellipse(
            top, patch, (int(rng.uniform(15, 60)), int(rng.uniform(8, 30))), 0, 0, 360, (base * 0.9).tolist(), -1
        )
    corners_m = np.array([(-24, 0, far), (24, 0, far), (24, 0, near), (-24, 0, near)], np.float64)
    corners_px = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    matrix = cv2.getPerspectiveTransform(corners_px, view.project(corners_m).astype(np.float32))
    laid = cv2.warpPerspective(
        np.clip(top, 0, 255).astype(np.uint8), matrix, (view.width, view.height), flags=cv2.INTER_AREA
    )
    start = int(view.project(np.array([(0.0, 0.0, wall_z)]))[0, 1])
    image[start:] = laid[start:]


def _quad(view: View, x0: float, x1: float, y0: float, y1: float, z: float) -> Points:
    return view.project(np.array([(x0, y0, z), (x0, y1, z), (x1, y1, z), (x1, y0, z)], np.float64))


def _building(
    canvas: Canvas, view: View, light: Light, wall_z: float, edge: float, mirror: float, rng: np.random.Generator
) -> None:
    wall = (int(rng.uniform(170, 215)), int(rng.uniform(158, 198)), int(rng.uniform(140, 180)))
    tall = float(rng.uniform(4.8, 6.2))
    far = -22.0 * mirror
    face = _quad(view, far, edge, 0, tall, wall_z)
    canvas.fill(face, wall)
    low, high = face.min(axis=0).astype(int), face.max(axis=0).astype(int)
    area = canvas.image[max(low[1], 0) : high[1], max(low[0], 0) : high[0]]
    if area.size:
        rough = 4 * _rough(rng, area.shape[0], area.shape[1])[..., None]
        area[:] = np.clip(area.astype(np.float32) + rough, 0, 255).astype(np.uint8)
    canvas.fill(_quad(view, far, edge, 0, 0.5, wall_z), shaded(wall, 0.72))
    canvas.fill(_quad(view, far, edge + 0.3 * mirror, tall, tall + 0.28, wall_z), (84, 78, 76))
    at = edge - 2.6 * mirror
    for slot in range(8):
        if slot % 4 == 0:
            _garage(canvas, view, at, wall_z)
        elif slot % 4 == 2:
            _door(canvas, view, at, wall_z, rng)
        else:
            _window(canvas, view, at, 1.1, light.lamps and bool(rng.random() < 0.5), wall_z)
        if tall > 5.2:
            _window(canvas, view, at, 3.5, light.lamps and bool(rng.random() < 0.4), wall_z)
        at -= 3.1 * mirror


def _window(canvas: Canvas, view: View, x: float, sill: float, lit: bool, z: float) -> None:
    glass: Colour = (255, 226, 150) if lit else (70, 84, 98)
    canvas.fill(_quad(view, x - 0.72, x + 0.72, sill - 0.1, sill + 1.35, z), (226, 222, 214))
    for left in (-0.62, 0.05):
        canvas.fill(_quad(view, x + left, x + left + 0.57, sill, sill + 1.25, z), glass)
        if not lit:
            canvas.fill(_quad(view, x + left, x + left + 0.25, sill + 0.5, sill + 1.25, z), (98, 114, 130))
    canvas.fill(_quad(view, x - 0.8, x + 0.8, sill - 0.18, sill - 0.08, z), (148, 142, 134))


def _door(canvas: Canvas, view: View, x: float, z: float, rng: np.random.Generator) -> None:
    colour: Colour = (int(rng.uniform(40, 110)), int(rng.uniform(50, 90)), int(rng.uniform(50, 90)))
    canvas.fill(_quad(view, x - 0.62, x + 0.62, 0, 2.25, z), (220, 214, 206))
    canvas.fill(_quad(view, x - 0.5, x + 0.5, 0, 2.12, z), colour)
    canvas.fill(_quad(view, x - 0.3, x + 0.3, 1.25, 1.9, z), shaded(colour, 1.5))
    canvas.fill(_quad(view, x - 1.1, x + 1.1, 2.5, 2.62, z), (84, 78, 76))


def _garage(canvas: Canvas, view: View, x: float, z: float) -> None:
    canvas.fill(_quad(view, x - 1.45, x + 1.45, 0, 2.45, z), (196, 190, 182))
    for slat in range(8):
        tone = 150 + 10 * (slat % 2)
        canvas.fill(_quad(view, x - 1.3, x + 1.3, slat * 0.29, (slat + 1) * 0.29 - 0.03, z), (tone, tone + 4, tone + 8))


def _trees(canvas: Canvas, view: View, wall_z: float, rng: np.random.Generator) -> None:
    leaves = 80
    share = np.arange(leaves) / leaves
    for x in np.arange(-24.0, 24.0, 2.6):
        tall = float(rng.uniform(4.5, 8.5))
        leaf = (int(rng.uniform(48, 84)), int(rng.uniform(82, 112)), int(rng.uniform(44, 64)))
        up = tall * rng.uniform(0.15, 1.0, leaves) + 0.8 * share
        at = np.stack([x + rng.normal(0, 0.9, leaves), up, np.full(leaves, wall_z + 9)], axis=1)
        sizes = rng.uniform(0.5, 1.3, leaves) * (1.2 - 0.6 * share)
        foliage(canvas, view, at, sizes, [shaded(leaf, 0.6 + 0.6 * float(part)) for part in share])


def _hedge(canvas: Canvas, view: View, wall_z: float, rng: np.random.Generator) -> None:
    depth, leaves = wall_z + 0.6, 1500
    canvas.fill(_quad(view, -30, 30, -0.5, 1.7, depth), (46, 68, 40))
    up = rng.uniform(0.0, 1.95, leaves)
    at = np.stack([rng.uniform(-24, 24, leaves), up, np.full(leaves, depth)], axis=1)
    tones = 0.55 + 0.28 * up + 0.15 * (np.arange(leaves) % 3)
    foliage(canvas, view, at, rng.uniform(0.1, 0.3, leaves), [shaded((70, 100, 56), float(tone)) for tone in tones])


def _furniture(view: View, wall_z: float, rng: np.random.Generator) -> list[Post]:
    depth = float(rng.uniform(10.6, 11.4))
    side = view.half_width_m(depth) * float(rng.choice([-1, 1])) * float(rng.uniform(0.35, 0.75))
    posts = [Post(side, depth, 4.6, 0.16, (74, 80, 84), "post")]
    for _ in range(int(rng.integers(1, 4))):
        z = wall_z - 3.4
        x = float(rng.uniform(-0.9, 0.9)) * view.half_width_m(z)
        posts.append(Post(x, z, 0.55, float(rng.uniform(0.9, 1.8)), (128, 104, 84), "planter"))
    for step in range(int(rng.integers(0, 4))):
        x = -view.half_width_m(12.0) * 0.6 + 2.4 * step
        posts.append(Post(x, 12.0, 0.85, 0.14, (196, 176, 60), "post"))
    return posts
