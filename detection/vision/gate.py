"""Whether a picture differs from the last one that was looked at, told much faster than by looking."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from detection.vision.types import Image

Grey = npt.NDArray[np.float32]

GRID = 320  # pixels of the longer side that is compared: finer than what detectors of 640 pixels can make out
REPEAT_S = 1.0  # an answer is repeated for no longer than this
LEAST_CHANGE = 4.0  # grey levels of 255, over a patch of 3 x 3 grid pixels
NOISE_FACTOR = 6.0  # how far beyond the picture's own noise a patch must change
HIGHEST_BAR = 24.0  # grey levels: a change of this size passes in any noise
SHAKE = 0.5  # grid pixels that a camera on a pole may tremble by
NEIGHBOURS = np.ones((3, 3), np.uint8)


class MotionGate:
    """Lets pictures pass that may show something new.

    Compares with the last picture passed, not with the one before, so that slow movement adds up. What counts is the
    patch that changed most, so that one small mover in a large picture is enough; the bar rises with the noise.
    """

    def __init__(self) -> None:
        self._passed: Grey | None = None
        self._passed_s = 0.0

    def passes(self, image: Image, time_s: float) -> bool:
        """Whether this picture must be looked at; RGB of any size, which stays the same from one call to the next."""
        small = _small_grey(image)
        stale = self._passed is None or time_s - self._passed_s > REPEAT_S - 1e-6
        if self._passed is not None and not stale and not _differs(small, self._passed):
            return False
        self._passed, self._passed_s = small, time_s
        return True


def _small_grey(image: Image) -> Grey:
    height, width = image.shape[:2]
    scale = min(1.0, GRID / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cast(Grey, cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32))


def _differs(now: Grey, before: Grey) -> bool:
    changes = np.abs(cv2.blur(now - before, (3, 3)))
    # The middle of all changes is what noise does, however much of the picture moves; a mover that fills most of it
    # would raise the bar for itself, hence the cap.
    noise = float(np.median(changes[::2, ::2])) * 1.4826
    # A camera that trembles shifts every edge a little: what half a grid pixel's shift explains does not count.
    shaken = SHAKE * cv2.morphologyEx(before, cv2.MORPH_GRADIENT, NEIGHBOURS)
    return float((changes - shaken).max()) > min(max(LEAST_CHANGE, NOISE_FACTOR * noise), HIGHEST_BAR)
