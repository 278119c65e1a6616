"""What a detector is, and the ones there are."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from detection.vision.types import Detection, DetectorError, Image, Params


class Detector(Protocol):
    """Finds objects in pictures."""

    labels: tuple[str, ...]
    batch: int  # how many pictures a call is best given
    needs_motion: bool  # true where one picture alone says nothing, so that an image cannot be looked at

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """The detections of each picture, in the order given, best score first.

        Boxes are in the pixels of the picture given. Raises DetectorError when it could not look; an empty list
        always means that it looked and found nothing.
        """
        ...

    def reset(self) -> None:
        """Forget what earlier pictures showed; called before each span."""
        ...


# Imported on first use: OpenVINO and torch take hundreds of megabytes, and the web process never needs them.
RUNTIMES: dict[str, str] = {
    "openvino": "detection.vision.openvino:OpenVinoDetector",
    "ultralytics": "detection.vision.ultralytics:UltralyticsDetector",
    "motion": "detection.vision.motion:MotionDetector",
}


def load_detector(runtime: str, weights: Path | None, params: Params) -> Detector:
    """The detector of a runtime with these weights, ready to look.

    ``weights`` is a folder for ``openvino`` (the .xml, .bin and metadata.yaml), a file for ``ultralytics``, None for
    ``motion``. Raises DetectorError where the runtime is unknown or the weights do not load.
    """
    try:
        module, _, name = RUNTIMES[runtime].partition(":")
    except KeyError:
        known = ", ".join(RUNTIMES)
        raise DetectorError(f"There is no detector “{runtime}”; there are {known}.", permanent=True) from None
    return cast(Detector, getattr(import_module(module), name)(weights, params))
