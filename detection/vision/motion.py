"""The detector without weights: regions that move before a still background, all labelled ``motion``.

The background is the median of pictures over some seconds (temporal median filter; Cucchiara et al., "Detecting moving
objects, ghosts, and shadows in video streams", IEEE PAMI 25(10), 2003, from which the shadow test comes, too). A batch
is looked at as a whole, so that its later pictures show what lies behind what its first ones hide: no warm-up is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from detection.vision.types import Detection, Image, Params

Float: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.uint8]

WORK_SIDE_PX = 480  # pictures are looked at no larger than this
BATCH = 16
KEPT = 24  # older pictures that the background remembers,
KEEP_EVERY = 4  # one of so many: at five pictures a second about twenty seconds
CONTRAST = (9.0, 40.0)  # grey levels a pixel must differ by at the least, and what is enough anywhere
NOISE_FACTOR = 7.0  # between these, so many times what it differs by when it is quiet
WHOLE_PICTURE = 0.4  # more than this share changed is a change of light or a moved camera, not an object
GAIN = (0.2, 5.0)  # how much darker or brighter the same scene may become
LEAST_AREA_PX = 14  # of the reduced picture
LEAST_MOVING = 0.04  # share of a region that must have changed lately: what was uncovered or came to rest does not
SHADOW = (0.4, 0.94)  # brightness of a shadow relative to the ground without it
SHADOW_TINT = 0.035


class MotionDetector:
    """Regions that move. Keeps what it saw, so pictures must come in order of time; ``reset`` starts afresh."""

    labels: tuple[str, ...] = ("motion",)
    batch = BATCH
    needs_motion = True

    def __init__(self, weights: Path | None, params: Params) -> None:
        """``weights`` is not used: there are none. Boxes that score below ``params.min_score`` are dropped."""
        self.params = params
        self.history: list[Float] = []
        self.recent: list[Float] = []
        self.seen = 0

    def reset(self) -> None:
        """Forget the background."""
        self.history, self.recent, self.seen = [], [], 0

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """The moving regions of each picture (height x width x 3, RGB, uint8), best score first, in its pixels."""
        found: list[list[Detection]] = []
        reduced = [_reduced(image) for image in images]
        start = 0
        for stop in [*self._cuts(reduced), len(reduced)]:
            if stop > start:
                found += self._look(reduced[start:stop], images[start:stop])
            if stop < len(reduced):
                self.reset()
            start = stop
        return found

    def _cuts(self, pictures: list[Float]) -> list[int]:
        """Where a picture has little to do with the one before: light switched, camera moved, another size."""
        cuts = []
        before = self.recent[-1] if self.recent else None
        for number, picture in enumerate(pictures):
            if before is not None and _changed_share(before, picture) > WHOLE_PICTURE:
                cuts.append(number)
            before = picture
        return cuts

    def _look(self, pictures: list[Float], images: Sequence[Image]) -> list[list[Detection]]:
        # In one light, or a lamp switched half-way would leave a background that no picture ever looked like.
        chosen = self.history + pictures[:: 2 if self.history else 1]
        stack = np.stack([_relit(picture, pictures[-1]) for picture in chosen])
        background = np.median(stack, axis=0).astype(np.float32)
        threshold = _threshold([_difference(picture, background) for picture in stack])
        around = self.recent + pictures
        found = []
        for number, (picture, image) in enumerate(zip(pictures, images, strict=True), len(self.recent)):
            moving = np.zeros(picture.shape[:2], np.uint8)
            for other in (number - 2, number + 2) if number >= 2 else (number + 2, number + 1):
                if 0 <= other < len(around):
                    moving |= (_difference(_relit(around[other], picture), picture) > threshold).astype(np.uint8)
            boxes = _regions(picture, _relit(background, picture), threshold, moving)
            found.append(_placed(boxes, picture.shape, image.shape, self.params.min_score))
        self._remember(pictures)
        return found

    def _remember(self, pictures: list[Float]) -> None:
        for picture in pictures:
            if self.seen % KEEP_EVERY == 0:
                self.history.append(picture)
            self.seen += 1
        self.history = self.history[-KEPT:]
        self.recent = (self.recent + pictures)[-2:]


def _reduced(image: Image) -> Float:
    height, width = image.shape[:2]
    scale = min(1.0, WORK_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (3, 3), 0).astype(np.float32)


def _threshold(differences: list[Float]) -> Float:
    """What a pixel must differ by. Its quietest quarter tells its noise, even where something passes mostly."""
    quarter = len(differences) // 4
    quiet = np.partition(np.stack(differences), quarter, axis=0)[quarter]
    return np.asarray(np.clip(NOISE_FACTOR * cv2.blur(quiet, (5, 5)), *CONTRAST), np.float32)


def _difference(one: Float, other: Float) -> Float:
    """The largest difference of the three colours, per pixel."""
    red, green, blue = cv2.split(cv2.absdiff(one, other))
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.float32)


def _relit(source: Float, target: Float) -> Float:
    """``source`` as the light of ``target`` would show it: per colour the gain and offset that fit most pixels."""
    out = np.empty_like(source)
    for colour in range(3):
        gain, offset = _light(source[::8, ::8, colour].ravel(), target[::8, ::8, colour].ravel())
        out[..., colour] = gain * source[..., colour] + offset
    return out


def _light(x: Float, y: Float) -> tuple[float, float]:
    """Gain and offset of the line ``y = gain x + offset`` through most of the pixels."""
    low_x, high_x = np.quantile(x, (0.1, 0.9))
    low_y, high_y = np.quantile(y, (0.1, 0.9))
    gain = float(np.clip((high_y - low_y) / max(1.0, high_x - low_x), *GAIN))
    offset = float(np.median(y - gain * x))
    for _ in range(3):
        # Pixels that fit badly belong to what moved; the fit is of the rest.
        wrong = np.abs(gain * x + offset - y)
        fits = wrong <= max(2.0, float(np.quantile(wrong, 0.6)))
        mean_x, mean_y = float(x[fits].mean()), float(y[fits].mean())
        spread = float(((x[fits] - mean_x) ** 2).mean())
        if spread > 25:
            gain = float(np.clip(((x[fits] - mean_x) * (y[fits] - mean_y)).mean() / spread, *GAIN))
        offset = mean_y - gain * mean_x
    return gain, offset


def _changed_share(before: Float, picture: Float) -> float:
    if before.shape != picture.shape:
        return 1.0
    return float((_difference(_relit(before, picture), picture) > 2 * CONTRAST[0]).mean())


def _shadows(picture: Float, background: Float) -> Mask:
    """Pixels that are the background made darker and nothing else: same tint, some part of the brightness."""
    bright = picture[..., 0] + picture[..., 1] + picture[..., 2] + 1
    bright_before = (background[..., 0] + background[..., 1] + background[..., 2]).clip(0) + 1
    ratio = bright / bright_before
    tint = _difference(picture / bright[..., None], background / bright_before[..., None])
    darker = (ratio > SHADOW[0]) & (ratio < SHADOW[1])
    return np.asarray(darker & (tint < SHADOW_TINT), np.uint8)


def _regions(
    picture: Float, background: Float, threshold: Float, moving: Mask
) -> list[tuple[int, int, int, int, float]]:
    """Boxes (x, y, width, height, score) of the reduced picture where it differs from the background and moves."""
    strength = _difference(picture, background) / threshold
    mask = (strength > 1).astype(np.uint8)
    if mask.mean() > WHOLE_PICTURE:
        return []
    solid = mask & ~_shadows(picture, background)
    joined = cv2.morphologyEx(_without_specks(mask), cv2.MORPH_CLOSE, np.ones((7, 5), np.uint8))
    count, owner, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    found = []
    for number in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[number])
        inside = np.s_[y : y + height, x : x + width]
        mine = (owner[inside] == number) & (mask[inside] > 0)
        if area < LEAST_AREA_PX or float((moving[inside] > 0)[mine].mean()) < LEAST_MOVING:
            continue
        found += _cast_off_shadow(x, y, mine, solid[inside] > 0, strength[inside])
    return _merged(found)


def _without_specks(mask: Mask) -> Mask:
    _, owner, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= 4
    keep[0] = False
    return np.asarray(keep[owner], np.uint8)


def _cast_off_shadow(
    x: int, y: int, mine: npt.NDArray[np.bool_], solid: npt.NDArray[np.bool_], strength: Float
) -> list[tuple[int, int, int, int, float]]:
    """The box of a region without its shadow; all of it where hardly anything would be left (dark before dark)."""
    body = _without_specks((mine & solid).astype(np.uint8)) > 0
    if body.sum() < max(LEAST_AREA_PX, 0.2 * mine.sum()):
        body = mine
    rows, columns = np.nonzero(body.any(axis=1))[0], np.nonzero(body.any(axis=0))[0]
    size = min(1.0, float(body.sum()) / 60)
    score = (1 - float(np.exp(-strength[body].mean() / 2))) * (0.5 + 0.5 * size)
    top, left = int(rows[0]), int(columns[0])
    return [(x + left, y + top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top, score)]


def _merged(boxes: list[tuple[int, int, int, int, float]]) -> list[tuple[int, int, int, int, float]]:
    """Fragments of one mover joined: boxes that share columns and lie close above each other, or inside each other."""
    boxes = sorted(boxes, key=lambda box: -box[2] * box[3])
    merged: list[tuple[int, int, int, int, float]] = []
    for box in boxes:
        for number, other in enumerate(merged):
            if _belongs(box, other):
                x1, y1 = min(box[0], other[0]), min(box[1], other[1])
                x2, y2 = max(box[0] + box[2], other[0] + other[2]), max(box[1] + box[3], other[1] + other[3])
                merged[number] = (x1, y1, x2 - x1, y2 - y1, max(box[4], other[4]))
                break
        else:
            merged.append(box)
    return merged


def _belongs(small: tuple[int, int, int, int, float], large: tuple[int, int, int, int, float]) -> bool:
    shared = min(small[0] + small[2], large[0] + large[2]) - max(small[0], large[0])
    gap = max(small[1], large[1]) - min(small[1] + small[3], large[1] + large[3])
    # Something far narrower is no part of it: a figure before or behind a car.
    alike = small[2] >= 0.3 * large[2] or gap <= -0.8 * small[3]
    return alike and shared >= 0.6 * small[2] and gap <= 0.15 * large[3]


def _placed(
    boxes: list[tuple[int, int, int, int, float]], small: tuple[int, ...], full: tuple[int, ...], min_score: float
) -> list[Detection]:
    across, down = full[1] / small[1], full[0] / small[0]
    found = [
        Detection(x * across, y * down, (x + width) * across, (y + height) * down, score, "motion")
        for x, y, width, height, score in boxes
        if score >= min_score
    ]
    return sorted(found, key=lambda detection: -detection.score)
