from __future__ import annotations

import numpy as np
import pytest

from detection.vision.gate import REPEAT_S, MotionGate
from detection.vision.types import Image

WIDTH, HEIGHT = 1280, 720


def scene(noise: float = 2.0, seed: int = 0, level: float = 1.0) -> Image:
    """A street-like picture of large and small edges, with the noise of its own moment."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    plain = 90 + 40 * ((columns // 160 + rows // 120) % 2) + 15 * np.sin(columns / 9) * (rows > HEIGHT // 2)
    grain = np.random.default_rng(seed).normal(0, noise, (HEIGHT, WIDTH))
    return np.repeat((plain * level + grain).clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def with_figure(image: Image, left: int, top: int, width: int, height: int, grey: int) -> Image:
    image = image.copy()
    image[top : top + height, left : left + width] = grey
    return image


def test_a_still_picture_with_noise_is_looked_at_once_a_second() -> None:
    gate = MotionGate()
    passed = [k / 5 for k in range(16) if gate.passes(scene(noise=6, seed=k), k / 5)]
    assert passed == pytest.approx([0, REPEAT_S, 2 * REPEAT_S, 3 * REPEAT_S])


def test_a_trembling_camera_does_not_open_the_gate() -> None:
    gate = MotionGate()
    assert gate.passes(scene(seed=1), 0)
    assert not gate.passes(np.roll(scene(seed=2), 1, axis=1), 0.2)


@pytest.mark.parametrize(("width", "height", "grey"), [(8, 20, 220), (14, 34, 60), (12, 12, 10), (600, 500, 200)])
def test_small_and_large_newcomers_pass_at_once(width: int, height: int, grey: int) -> None:
    gate = MotionGate()
    assert gate.passes(scene(seed=1), 0)
    assert gate.passes(with_figure(scene(seed=2), 400, 130, width, height, grey), 0.2)


def test_a_newcomer_in_the_dark_and_in_noise_passes() -> None:
    gate = MotionGate()
    assert gate.passes(scene(noise=8, seed=1, level=0.15), 0)
    assert not gate.passes(scene(noise=8, seed=3, level=0.15), 0.2)
    assert gate.passes(with_figure(scene(noise=8, seed=2, level=0.15), 700, 300, 24, 60, 40), 0.4)


def test_one_who_creeps_adds_up() -> None:
    gate = MotionGate()
    assert gate.passes(with_figure(scene(seed=1), 300, 130, 14, 34, 220), 0)
    passed = [gate.passes(with_figure(scene(seed=k), 300 + 2 * k, 130, 14, 34, 220), k * 0.05) for k in range(2, 9)]
    assert any(passed)


def test_one_who_leaves_passes_too() -> None:
    gate = MotionGate()
    assert gate.passes(with_figure(scene(seed=1), 300, 130, 14, 34, 220), 0)
    assert gate.passes(scene(seed=2), 0.2)


def test_tiny_pictures_are_no_trouble() -> None:
    gate = MotionGate()
    image = np.zeros((1, 700, 3), np.uint8)
    assert gate.passes(image, 0)
    assert not gate.passes(image, 0.5)
