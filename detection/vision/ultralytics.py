"""The detector for any weights that Ultralytics loads: .pt, .onnx, .engine. The road to the GPU."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from detection.vision.nms import suppress
from detection.vision.types import Detection, DetectorError, Image, Params

TASKS_WITH_BOXES = {"detect", "segment", "pose"}
MOST_DETECTIONS = 300


def quiet_ultralytics() -> None:
    """Set what keeps Ultralytics to itself: no banner, no network, no pip, no settings in the home folder.

    Its environment variables are read when it is first imported, so this comes before any import of it.
    """
    os.environ.setdefault("YOLO_VERBOSE", "false")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_OFFLINE", "true")
    if "YOLO_CONFIG_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="nightjar-ultralytics-")
        os.environ["YOLO_CONFIG_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


class UltralyticsDetector:
    """Pictures in, boxes out, by ``YOLO.predict`` of Ultralytics 8.4 (docs.ultralytics.com/modes/predict).

    Runs on the first GPU where torch sees one, else on the CPU. Weights with an NMS-free head (YOLO10, YOLO26) use it;
    others go through Ultralytics' own non-maximum suppression at ``params.iou``, which needs torchvision.
    """

    needs_motion = False

    def __init__(self, weights: Path | None, params: Params) -> None:
        """Load ``weights``; raises DetectorError (permanent) where they are missing or do not load."""
        if weights is None or not weights.is_file():
            raise DetectorError(f"There is no weights file {weights or ''}; add the model again.", permanent=True)
        self.params = params
        try:
            quiet_ultralytics()
            import torch
            from ultralytics.models import YOLO

            self.device = "cuda:0" if torch.cuda.is_available() else "cpu"
            self.model: Any = YOLO(str(weights), task=None if weights.suffix == ".pt" else "detect")
            names: dict[int, str] = dict(self.model.names)
        except Exception as error:
            # Unpickling runs through most of torch and Ultralytics: whatever it raises, the file did not load.
            raise DetectorError(
                f"{weights.name} could not be loaded by Ultralytics: {error}", permanent=True
            ) from error
        if self.model.task not in TASKS_WITH_BOXES:
            raise DetectorError(
                f"{weights.name} is a model for “{self.model.task}”, which gives no boxes; use one for detection.",
                permanent=True,
            )
        self.labels: tuple[str, ...] = tuple(names[number] for number in sorted(names))
        self.batch = 16 if self.device != "cpu" else 4
        self.nms_free = has_nms_free_head(self.model)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """The detections of each picture (height x width x 3, RGB, uint8), best score first, in its pixels.

        Raises DetectorError: permanent where torchvision is missing for these weights, else (memory, device) not.
        """
        found: list[list[Detection]] = []
        # Pictures of one size share a batch: Ultralytics pads mixed sizes to a square, and the answer to a picture
        # must not depend on its neighbours.
        for _, same in groupby(images, key=lambda image: image.shape):
            found += self._detect_same_size(list(same))
        return found

    def _detect_same_size(self, images: list[Image]) -> list[list[Detection]]:
        try:
            results = self.model.predict(
                [np.ascontiguousarray(image[..., ::-1]) for image in images],
                conf=self.params.min_score, iou=self.params.iou, max_det=MOST_DETECTIONS, device=self.device,
                nms=False if self.nms_free else None, verbose=False, save=False,
            )  # fmt: skip
        except Exception as error:
            raise _explained(error) from error
        if len(results) != len(images):
            raise DetectorError(f"The model answered {len(results)} of {len(images)} pictures.", permanent=False)
        return [self._read(result.boxes, image) for result, image in zip(results, images, strict=True)]

    def _read(self, boxes: Any, image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        rows = boxes.data.cpu().numpy().astype(np.float64)
        rows[:, [0, 2]] = rows[:, [0, 2]].clip(0, width)
        rows[:, [1, 3]] = rows[:, [1, 3]].clip(0, height)
        # An NMS-free head is trained to answer once for each object, and now and then answers twice.
        keep = suppress(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.intp), 0.0, self.params.iou)
        return [
            Detection(x1, y1, x2, y2, score, self.labels[int(label)])
            for x1, y1, x2, y2, score, label in rows[keep].tolist()
        ]

    def reset(self) -> None:
        """Nothing: each picture is looked at by itself."""


def has_nms_free_head(model: Any) -> bool:
    """Whether the last layer of a .pt has the one-to-one branch of YOLO10 and YOLO26; exports have theirs built in."""
    layers = getattr(getattr(model, "model", None), "model", None)
    return layers is not None and getattr(layers[-1], "one2one_cv2", None) is not None


def _explained(error: Exception) -> DetectorError:
    if "torchvision" in str(error):
        return DetectorError(
            "These weights need torchvision, which does not load here. Install the torchvision that belongs to this "
            "torch, or use an NMS-free model such as yolo26n, or its OpenVINO export.",
            permanent=True,
        )
    return DetectorError(f"The model could not look: {type(error).__name__}: {error}", permanent=False)


def read_metadata(file: Path) -> dict[str, Any]:
    """What Ultralytics noted in the metadata.yaml of a model it exported; empty where it holds no keys.

    Raises DetectorError (permanent) where it cannot be read.
    """
    import yaml

    try:
        metadata = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DetectorError(
            "The model's metadata.yaml, which names its labels, cannot be read.", permanent=True
        ) from error
    return metadata if isinstance(metadata, dict) else {}
