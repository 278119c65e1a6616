"""The motion detector: what it finds in drawn scenes, and what it must not take for motion."""

from __future__ import annotations

import numpy as np
import pytest

from detection.vision.detector import load_detector
from detection.vision.draw import draw_scene
from detection.vision.motion import BATCH, MotionDetector
from detection.vision.types import Detection, Image, Params
from tests.vision.scoring import covered, overlap


def look(images: list[Image], batch: int = BATCH) -> list[list[Detection]]:
    detector = MotionDetector(None, Params())
    return [boxes for at in range(0, len(images), batch) for boxes in detector.detect(images[at : at + batch])]


def still_pictures(count: int, noise: float = 2.0, seed: int = 0) -> list[Image]:
    """A yard in which nothing moves, with the grain of a sensor."""
    yard = next(iter(draw_scene(seed, 480, 270, 1, 1)))[0].astype(np.float32)
    rng = np.random.default_rng(1)
    return [(yard + rng.normal(0, noise, yard.shape)).clip(0, 255).astype(np.uint8) for _ in range(count)]


def with_square(
    images: list[Image], size: int = 24, step: int = 7, colour: int = 230
) -> tuple[list[Image], list[Detection]]:
    """A bright square that crosses the pictures, and where it is in each."""
    out, truth = [], []
    for number, image in enumerate(images):
        x, y = 10 + number * step, 120
        image = image.copy()
        image[y : y + size, x : x + size] = colour
        out.append(image)
        truth.append(Detection(x, y, x + size, y + size, 1, "motion"))
    return out, truth


def test_movers_of_drawn_scenes_are_found_from_the_first_second_on():
    hits = wanted = early_hits = early_wanted = 0
    for seed in (101, 103, 104):
        frames = list(draw_scene(seed, 480, 270, 8, 5, parked=False))
        found = look([image for image, _ in frames])
        for number, (_, truth) in enumerate(frames):
            for box in truth:
                near = frames[max(0, number - 1)][1] + frames[min(len(frames) - 1, number + 1)][1]
                if sum(overlap(box, other) > 0.85 for other in near) >= 2:
                    continue  # it pauses
                hit = any(covered(box, other) > 0.5 for other in found[number])
                hits, wanted = hits + hit, wanted + 1
                if number < 5:
                    early_hits, early_wanted = early_hits + hit, early_wanted + 1
    assert wanted > 200
    assert hits / wanted > 0.88
    assert early_hits / early_wanted > 0.8


def test_most_of_what_is_found_is_a_mover():
    right = answers = 0
    for seed in (104, 105):
        frames = list(draw_scene(seed, 480, 270, 8, 5, parked=False))
        for boxes, (_, truth) in zip(look([image for image, _ in frames]), frames, strict=True):
            right += sum(any(covered(box, other) > 0.4 for other in truth) for box in boxes)
            answers += len(boxes)
    assert answers > 100
    assert right / answers > 0.8


def test_a_mover_is_boxed_tightly_in_every_picture():
    images, truth = with_square(still_pictures(40))
    for boxes, square in zip(look(images), truth, strict=True):
        assert len(boxes) == 1
        assert overlap(boxes[0], square) > 0.7
        assert boxes[0].label == "motion"
        assert 0.6 < boxes[0].score <= 1


def test_boxes_are_in_the_pixels_of_large_pictures():
    images, truth = with_square(still_pictures(12))
    large = [np.repeat(np.repeat(image, 3, axis=0), 3, axis=1) for image in images]
    for boxes, square in zip(look(large), truth, strict=True):
        thrice = Detection(square.x1 * 3, square.y1 * 3, square.x2 * 3, square.y2 * 3, 1, "motion")
        assert max(overlap(box, thrice) for box in boxes) > 0.7


@pytest.mark.parametrize("noise", [0.0, 2.0, 6.0])
def test_grain_is_not_motion(noise):
    assert sum(len(boxes) for boxes in look(still_pictures(32, noise))) == 0


def test_slow_light_is_not_motion():
    images = still_pictures(64)
    fading = [(image * (1 - 0.5 * number / 64)).astype(np.uint8) for number, image in enumerate(images)]
    assert sum(len(boxes) for boxes in look(fading)) == 0


@pytest.mark.parametrize("at", [5, 16, 23])
def test_a_light_switched_on_is_not_motion_and_movers_are_found_after_it(at):
    images, truth = with_square(still_pictures(40))
    lit = [(image * 0.35).astype(np.uint8) if number < at else image for number, image in enumerate(images)]
    found = look(lit)
    assert all(len(boxes) <= 1 for boxes in found)
    hits = [any(overlap(box, square) > 0.5 for box in boxes) for boxes, square in zip(found, truth, strict=True)]
    assert sum(hits) >= 36


def test_another_view_starts_afresh():
    one, other = still_pictures(10, seed=0), still_pictures(10, seed=7)
    assert sum(len(boxes) for boxes in look(one + other)) == 0


def test_pictures_of_another_size_start_afresh():
    small = still_pictures(6)
    large = [np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)[:400] for image in still_pictures(6)]
    assert [len(boxes) for boxes in look(small + large)] == [0] * 12


def test_what_was_uncovered_is_not_motion_for_long():
    """A car that stood drives away: the ground it leaves differs from the background but does not move."""
    images = still_pictures(40)
    for image in images[:20]:
        image[100:140, 200:280] = (180, 30, 30)
    found = look(images)
    assert sum(len(boxes) for boxes in found[24:]) == 0


def test_one_picture_at_a_time_works_too():
    images, truth = with_square(still_pictures(20))
    found = look(images, batch=1)
    hits = [any(overlap(box, square) > 0.5 for box in boxes) for boxes, square in zip(found, truth, strict=True)]
    assert sum(hits[4:]) >= 14


def test_faint_motion_scores_below_strong_motion_and_the_threshold_drops_it():
    faint, _ = with_square(still_pictures(16, noise=0.5), size=10)
    images = [np.where(image == 230, 0, image).astype(np.uint8) for image in faint]
    strong = [box.score for boxes in look(faint) for box in boxes]
    assert strong
    low = [(image * 0.12).astype(np.uint8) for image in images]
    weak = [box.score for boxes in look(low) for box in boxes]
    assert np.mean(weak or [0]) < np.mean(strong)
    picky = MotionDetector(None, Params(min_score=0.99))
    assert picky.detect(low) == [[] for _ in low]


def test_reset_forgets_the_background():
    detector = load_detector("motion", None, Params())
    assert detector.needs_motion
    assert detector.labels == ("motion",)
    detector.detect(still_pictures(8))
    detector.reset()
    images, _ = with_square(still_pictures(1))
    assert detector.detect(images) == [[]], "one picture alone shows no motion"
    assert detector.detect([]) == []
